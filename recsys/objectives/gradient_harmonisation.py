"""Gradient harmonisation: cross-modal terms that pull a vector in opposite directions are reconciled."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from recsys.errors import UserError


def gradient_harmonisation(losses: Sequence[Tensor], vectors: Tensor) -> tuple[Tensor, Tensor]:
    """The sum of the losses, with harmonised gradients on `vectors`, and the share of conflicts.

    "Scaling Multimodal Pre-Training via Cross-Modality Gradient Harmonization", NeurIPS 2022,
    arXiv 2211.02077. Only the abstract was at hand: the equation is our reading, see `harmonise`.

    Args:
        losses: scalars computed from `vectors`. What they owe to anything else is not trained by them: their
            gradients go through `vectors` alone.
        vectors: (n, d) shared vectors that gradients flow through.

    Returns:
        A scalar to train on, and the share of (row, pair of losses) in conflict, for the log.

    Raises:
        UserError: there is no loss.
    """
    if not losses:
        raise UserError("gradient_harmonisation needs at least one loss")
    gradients = torch.stack([torch.autograd.grad(loss, vectors, retain_graph=True)[0] for loss in losses])
    harmonised, share = harmonise(gradients)
    pull = (vectors * harmonised.sum(0)).sum()
    return sum(loss.detach() for loss in losses) + pull - pull.detach(), share


def harmonise(gradients: Tensor) -> tuple[Tensor, Tensor]:
    """g_a <- g_a - (g_a . g_b)/||g_b||^2 g_b, row by row, for every b != a with g_a . g_b < 0, in order.

    Args:
        gradients: (T, n, d) gradients of T terms on the same n vectors.

    Returns:
        (T, n, d) gradients, no two terms' originals working against them where T = 2, and the share of
        (row, pair of terms) that were in conflict.
    """
    terms = len(gradients)
    inner = torch.einsum("and,bnd->abn", gradients, gradients)
    upper = torch.triu_indices(terms, terms, 1, device=gradients.device)
    conflicts = inner[upper[0], upper[1]] < 0
    share = conflicts.float().mean() if conflicts.numel() else inner.new_zeros(())
    result = gradients.clone()
    for a in range(terms):
        for b in range(terms):
            if a != b:
                along = (result[a] * gradients[b]).sum(1).clamp_max(0) / inner[b, b].clamp_min(1e-30)
                result[a] -= along[:, None] * gradients[b]
    return result, share
