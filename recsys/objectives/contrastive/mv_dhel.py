"""MV-DHEL: agreement across views, repulsion within each view."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from recsys.errors import UserError
from recsys.objectives.contrastive.mv_infonce import log_agreement, unit_views
from recsys.objectives.fused import fused, gram_gradient, gram_sums


def mv_dhel(views: Sequence[Tensor], temperature: float = 0.2, *, block: int | None = None) -> Tensor:
    """-mean_i [ log A_i - sum_l log sum_{j != i} exp(u_il . u_jl / tau) ], A_i as in `mv_infonce`.

    "A Principled Framework for Multi-View Contrastive Learning", 2025, arXiv 2507.06979. Negatives come
    from the same view only, which decouples alignment from uniformity and costs n^2 N instead of n^2 N^2.

    Args:
        views: N >= 2 tensors (n, d), n >= 2, row i of each the same node; normalised here.
        temperature: tau, at least 1/600.
        block: rows at a time; the value does not depend on it.

    Raises:
        UserError: fewer than two views or rows, views of different shapes, or a temperature out of range.
    """
    units, scale = unit_views(views, temperature)
    if units.shape[1] < 2:
        raise UserError("mv_dhel got a single node, which has no negatives; give at least two")

    def run(nodes: Tensor, wanted: tuple[bool]):
        sums = gram_sums(nodes, scale, block)
        gradient = gram_gradient(nodes, scale, sums.reciprocal(), block) if wanted[0] else None
        return sums.log().sum(dtype=torch.float64), (gradient,)

    partition = sum(fused(run, view) for view in units) / units.shape[1]
    return (partition - log_agreement(units, scale).mean()).to(views[0].dtype)
