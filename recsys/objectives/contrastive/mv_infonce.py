"""MV-InfoNCE: all views of a node in one term."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import normalize

from recsys.errors import UserError
from recsys.objectives.fused import fused, gram_gradient, gram_sums, safe_dtype


def mv_infonce(views: Sequence[Tensor], temperature: float = 0.2, *, block: int | None = None) -> Tensor:
    """-mean_i [ log A_i - log sum_l sum_{(j,m) != (i,l)} exp(u_il . u_jm / tau) ], A_i as in `log_agreement`.

    "A Principled Framework for Multi-View Contrastive Learning", 2025, arXiv 2507.06979. One term for
    each node, in which all views interact.

    Args:
        views: N >= 2 tensors (n, d), row i of each the same node; normalised here.
        temperature: tau, at least 1/600.
        block: rows at a time; the value does not depend on it.

    Raises:
        UserError: fewer than two views, views of different shapes, or a temperature out of range.
    """
    units, scale = unit_views(views, temperature)

    def run(nodes: Tensor, wanted: tuple[bool]):
        # The N n rows form one symmetric matrix without its diagonal; a node's denominator sums its N rows.
        sums = gram_sums(nodes, scale, block).view(len(units), -1).sum(0)
        weight = sums.reciprocal().repeat(len(units))
        gradient = gram_gradient(nodes, scale, weight, block) if wanted[0] else None
        return sums.log().sum(dtype=torch.float64), (gradient,)

    partition = fused(run, units.flatten(0, 1)) / units.shape[1]
    return (partition - log_agreement(units, scale).mean()).to(views[0].dtype)


def unit_views(views: Sequence[Tensor], temperature: float) -> tuple[Tensor, float]:
    """The views as unit rows (N, n, d), in a precision that is safe for the exponent scale 1/tau."""
    shapes = {tuple(v.shape) for v in views}
    if len(views) < 2 or len(shapes) > 1:
        raise UserError(f"got {len(views)} views of shapes {sorted(shapes)}; give at least two of one shape")
    scale = 1.0 / temperature if temperature > 0 else 0.0
    dtype = safe_dtype(views[0].dtype, scale)
    return normalize(torch.stack([v.to(dtype) for v in views]), dim=2), scale


def log_agreement(units: Tensor, scale: float) -> Tensor:
    """(n,) log A_i = log sum_{l != l'} exp(u_il . u_il' / tau) for unit rows (N, n, d)."""
    logits = torch.einsum("lnd,mnd->nlm", units, units) * scale
    same = torch.eye(len(units), dtype=torch.bool, device=units.device)
    return logits.masked_fill(same, -torch.inf).flatten(1).logsumexp(1)
