"""Mixup contrast: a mixture of two items must be found near both, in proportion."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import normalize

from recsys.encoders.beta import symmetric_beta
from recsys.errors import UserError
from recsys.objectives.fused import fused, log_partitions_both_ways, safe_dtype


def mixup(
    views: Sequence[Tensor],
    temperature: float = 0.1,
    *,
    generator: torch.Generator,
    alpha: float = 0.15,
    share: float = 0.5,
) -> Tensor:
    """Mean of `mixed_contrast` over neighbouring modalities of a cycle, each mixed and contrasted with the other.

    M3CoL: "Harnessing Shared Relations via Multimodal Mixup Contrastive Learning", 2024, arXiv 2409.17777; alpha,
    share and temperature are the published code's defaults. It adds the terms up, two for two modalities; the mean
    here leaves the weight of the objective to whoever uses it.

    Args:
        views: two or more modalities, each (n, d), row i of each the same item, of whatever length.
        temperature: tau.
        generator: source of the mixing ratios, b ~ Beta(alpha, alpha), of the partners, and of who is mixed.
        alpha: parameter of the mixing ratio.
        share: probability that a row is mixed; the others have b = 1.

    Raises:
        UserError: fewer than two views, or views of different shapes.
    """
    shapes = {tuple(v.shape) for v in views}
    if len(views) < 2 or len(shapes) > 1:
        raise UserError(f"got {len(views)} views of shapes {sorted(shapes)}; give at least two of one shape")
    count = len(views)
    directions = {(a, (a + 1) % count) for a in range(count)} | {((a + 1) % count, a) for a in range(count)}
    losses = []
    for a, b in sorted(directions):
        x, y = views[a], views[b]
        partner = torch.randperm(len(x), generator=generator, device=generator.device).to(x.device)
        ratio = symmetric_beta(len(x), alpha, generator)
        ratio[torch.rand(len(x), generator=generator, device=generator.device) >= share] = 1
        ratio = ratio.to(x)
        losses.append(mixed_contrast(x, y, ratio, partner, temperature))
    return torch.stack(losses).mean()


def mixed_contrast(x: Tensor, y: Tensor, ratio: Tensor, partner: Tensor, temperature: float) -> Tensor:
    """-mean_i [ b_i log p(i, i) + (1 - b_i) log p(i, pi(i)) ], log p the mean of two log softmaxes.

    The logits are cos(b_i x_i + (1 - b_i) x_pi(i), y_j) / tau; one softmax is over the y_j of a mixture (rows), the
    other over the mixtures of a y_j (columns). Vectors are mixed as they come and normalised afterwards, so a longer
    one counts for more in the mixture. Where a row is its own partner the whole weight stays on its own pair; the
    published code, which writes 1 - b over b there, loses b of it.

    Args:
        x, y: (n, d) vectors of two modalities.
        ratio: (n,) mixing ratios b.
        partner: (n,) row pi(i) that each row is mixed with, int64, a permutation.
        temperature: tau.
    """
    scale = 1 / temperature if temperature > 0 else 0.0
    dtype, n = safe_dtype(x.dtype, scale), len(x)
    raw, ratio = x.to(dtype), ratio.to(dtype)
    mixed = normalize(ratio[:, None] * raw + (1 - ratio[:, None]) * raw[partner], dim=1)
    y = normalize(y.to(dtype), dim=1)
    # Each target weighs its column's log sum, half of it; a row's targets weigh 1 together.
    columns = ratio.scatter_add(0, partner, 1 - ratio) / (2 * n)
    rows = torch.full_like(columns, 1 / (2 * n))

    def run(mixed: Tensor, y: Tensor, wanted: tuple[bool, bool]):
        return log_partitions_both_ways(mixed, y, scale, rows, columns, wanted=wanted)

    target = ratio[:, None] * y + (1 - ratio[:, None]) * y[partner]
    agreement = (mixed * target).sum(1).mean() * scale
    return (fused(run, mixed, y) - agreement).to(x.dtype)
