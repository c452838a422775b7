"""GRAM: agreement of any number of modalities as the volume that their vectors span."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, normalize

from recsys.errors import UserError


def gram(
    anchor: Tensor,
    others: Sequence[Tensor],
    temperature: float = 0.07,
    *,
    label_smoothing: float = 0.1,
    mask: Tensor | None = None,
    eps: float = 1e-6,
) -> Tensor:
    """Half the sum of the two cross-entropies on logits -V(a_i; X_j)/tau, V = sqrt(det G + eps).

    "Gramian Multimodal Representation Learning and Alignment", 2024, arXiv 2412.11959; G is the Gram matrix of
    anchor a_i and item j's other vectors X_j. Departure: det G = det C_j - b^T adj(C_j) b, with C_j the Gram
    matrix of X_j and b = X_j a_i, so determinants are taken for n items instead of n^2 pairs.

    Args:
        anchor: (n, d) anchor vectors, normalised here.
        others: the items' other modalities, each (n, d), normalised here; meant for four or fewer.
        temperature: tau.
        label_smoothing: share of the target that all n items have alike, 0.1 as in the published loss; 0: none.
        mask: (M, n) bool, False where an item lacks a modality: its row and column of G are dropped.
        eps: keeps the root's gradient finite where vectors are dependent.

    Raises:
        UserError: no other modality was given, or shapes differ.
    """
    if not others or any(o.shape != anchor.shape for o in others):
        shapes = [tuple(o.shape) for o in others]
        raise UserError(f"gram got an anchor {tuple(anchor.shape)} and others {shapes}; give all one shape")
    logits = -volumes(normalize(anchor, dim=1), normalize(torch.stack(list(others)), dim=2), mask, eps)
    logits = logits / temperature
    target = torch.arange(len(anchor), device=anchor.device)
    both = (cross_entropy(rows, target, label_smoothing=label_smoothing) for rows in (logits, logits.t()))
    return sum(both, start=logits.new_zeros(())) / 2


def volumes(anchor: Tensor, others: Tensor, mask: Tensor | None = None, eps: float = 0.0) -> Tensor:
    """(n, n) V(a_i; X_j) for unit rows anchor (n, d) and others (M, n, d)."""
    if mask is not None:
        others = others * mask[:, :, None]
    inner = torch.einsum("lnd,mnd->nlm", others, others)
    if mask is not None:
        # A missing modality becomes a unit vector orthogonal to everything, which leaves the volume alone.
        inner = inner + torch.diag_embed((~mask).t().to(inner.dtype))
    to_anchor = torch.einsum("nd,mkd->mnk", anchor, others)
    removed = torch.einsum("lnk,klm,mnk->nk", to_anchor, _adjugate(inner), to_anchor)
    # Rounding can leave a dependent set slightly below zero.
    return (_determinant(inner) - removed).clamp_min(0).add(eps).sqrt()


def _determinant(matrix: Tensor) -> Tensor:
    """Determinants of (..., k, k) by expansion along the first row: no division, smooth where singular."""
    k = matrix.shape[-1]
    if k == 0:
        return matrix.new_ones(matrix.shape[:-2])
    terms = (matrix[..., 0, j] * _cofactor(matrix, 0, j) for j in range(k))
    return sum(terms, start=matrix.new_zeros(()))


def _cofactor(matrix: Tensor, row: int, column: int) -> Tensor:
    keep = [[i for i in range(matrix.shape[-1]) if i != left] for left in (row, column)]
    return (-1) ** (row + column) * _determinant(matrix[..., keep[0], :][..., keep[1]])


def _adjugate(matrix: Tensor) -> Tensor:
    """adj(C) = det(C) C^-1, defined for singular C too; C symmetric."""
    k = matrix.shape[-1]
    return torch.stack(
        [torch.stack([_cofactor(matrix, i, j) for j in range(k)], dim=-1) for i in range(k)], dim=-2
    )
