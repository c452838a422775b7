"""Mixup contrast: a mixture of two items must be found near both, in proportion."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import normalize

from recsys.encoders.beta import symmetric_beta
from recsys.errors import UserError


def mixup(
    views: Sequence[Tensor], temperature: float = 0.1, *, generator: torch.Generator, alpha: float = 0.15
) -> Tensor:
    """Mean of `mixed_contrast` over neighbouring modalities of a cycle, both directions.

    M3CoL: "Harnessing Shared Relations via Multimodal Mixup Contrastive Learning", 2024, arXiv 2409.17777.

    Args:
        views: two or more modalities, each (n, d), row i of each the same item; normalised here.
        temperature: tau.
        generator: source of the mixing ratios, b ~ Beta(alpha, alpha), and of the partners.
        alpha: parameter of the mixing ratio.

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
        ratio = symmetric_beta(len(x), alpha, generator).to(x)
        losses.append(mixed_contrast(x, y, ratio, partner, temperature))
    return torch.stack(losses).mean()


def mixed_contrast(x: Tensor, y: Tensor, ratio: Tensor, partner: Tensor, temperature: float) -> Tensor:
    """-mean_i [ b_i log p_i(i) + (1 - b_i) log p_i(pi(i)) ], p_i = softmax_j cos(b_i x_i + (1-b_i) x_pi(i), y_j)/tau.

    Args:
        x, y: (n, d) vectors of two modalities.
        ratio: (n,) mixing ratios b.
        partner: (n,) row pi(i) that each row is mixed with, int64.
    """
    x, y = normalize(x, dim=1), normalize(y, dim=1)
    mixed = normalize(ratio[:, None] * x + (1 - ratio[:, None]) * x[partner], dim=1)
    log_p = (mixed @ y.t() / temperature).log_softmax(1)
    own, other = log_p.diagonal(), log_p.gather(1, partner[:, None])[:, 0]
    return -(ratio * own + (1 - ratio) * other).mean()
