"""GRAM: agreement of any number of modalities as the volume that their vectors span."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor
from torch.nn.functional import normalize

from recsys.errors import UserError
from recsys.objectives.fused import LOG2E, block_rows, fused, safe_dtype


def gram(
    anchor: Tensor,
    others: Sequence[Tensor],
    temperature: float = 0.07,
    *,
    label_smoothing: float = 0.1,
    mask: Tensor | None = None,
    eps: float = 1e-6,
    block: int | None = None,
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
        block: rows at a time; the value does not depend on it.

    Raises:
        UserError: no other modality was given, shapes differ, or the temperature is out of range.
    """
    if not others or any(o.shape != anchor.shape for o in others):
        shapes = [tuple(o.shape) for o in others]
        raise UserError(f"gram got an anchor {tuple(anchor.shape)} and others {shapes}; give all one shape")
    if temperature <= 0:
        raise UserError(f"gram got a temperature of {temperature:g}; it must be positive")
    dtype = safe_dtype(anchor.dtype, 2 / temperature)  # a volume of unit vectors is 1 at most
    unit = normalize(anchor.to(dtype), dim=1)
    vectors = normalize(torch.stack(list(others)).to(dtype), dim=2)
    if mask is not None:
        vectors = vectors * mask[:, :, None]
    with torch.autocast(anchor.device.type, enabled=False):
        inner = torch.einsum("lnd,mnd->nlm", vectors, vectors)
    if mask is not None:
        # A missing modality becomes a unit vector orthogonal to everything, which leaves the volume alone.
        inner = inner + torch.diag_embed((~mask).t().to(inner.dtype))
    run = partial(
        _value_and_gradients, scale=1 / temperature, smoothing=label_smoothing, eps=eps, block=block
    )
    value = fused(run, unit, vectors, _adjugate(inner), _determinant(inner))
    return value.to(anchor.dtype)


def _value_and_gradients(
    anchor: Tensor,
    others: Tensor,
    adjugate: Tensor,
    determinant: Tensor,
    wanted: tuple[bool, ...],
    *,
    scale: float,
    smoothing: float,
    eps: float,
    block: int | None,
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """The loss and its gradients, of anchors (n, d), others (M, n, d), adj(C) (n, M, M) and det(C) (n,).

    V^2 = det C_j - b^T adj(C_j) b + eps with b_m = a_i . x_mj; with adj = R R^T the form is sum_m (a_i . w_mj)^2,
    w_mj = sum_l R_lm x_lj. With W the loss' gradient to the form, that of a_i is 2 sum_m (W * b_m) z_m, z_mj =
    sum_l adj_ml x_lj, and all others follow from H_m = (W * b_m)^T a.
    All volumes are kept, since no column's softmax is known before the last block: memory is O(n^2).
    """
    count, n = len(others), len(anchor)
    turned = torch.einsum("nml,lnd->mnd", adjugate, others)
    values, axes = torch.linalg.eigh(adjugate)
    roots = torch.einsum("nlm,lnd->mnd", axes * values.clamp_min(0).sqrt().unsqueeze(1), others)
    size = min(block_rows((count + 2) * n, anchor.device, block), n)
    volume, sums, column_sums = anchor.new_empty(n, n), anchor.new_empty(n), anchor.new_zeros(n)
    first, second = anchor.new_empty(size, n), anchor.new_empty(size, n)
    own = torch.arange(n, device=anchor.device)
    parts = [slice(start, min(start + size, n)) for start in range(0, n, size)]
    for part in parts:
        height = part.stop - part.start
        squared = volume[part].copy_(determinant.expand(height, n))
        for turns in roots:
            inner = torch.mm(anchor[part], turns.t(), out=first[:height])
            squared.addcmul_(inner, inner, value=-1)
        # Rounding can leave a dependent set slightly below zero.
        squared.clamp_min_(0).add_(eps).sqrt_()
        kernel = torch.mul(squared, -scale * LOG2E, out=first[:height]).exp2_()
        torch.sum(kernel, 1, out=sums[part])
        column_sums += kernel.sum(0)
    total = (sums.log().sum(dtype=torch.float64) + column_sums.log().sum(dtype=torch.float64)) / (2 * n)
    matched = volume[own, own].sum(dtype=torch.float64) / n
    value = total + scale * ((1 - smoothing) * matched + smoothing * volume.sum(dtype=torch.float64) / n**2)
    to_anchor, to_determinant = torch.zeros_like(anchor), torch.zeros_like(determinant)
    pulled = torch.zeros_like(others)
    least = torch.tensor(eps, dtype=volume.dtype, device=volume.device).sqrt()
    for part in parts if any(wanted) else ():
        height = part.stop - part.start
        rows = volume[part]
        weight = torch.mul(rows, -scale * LOG2E, out=first[:height]).exp2_()
        weight.mul_((1 / (2 * n) / sums[part])[:, None] + 1 / (2 * n) / column_sums)
        weight.sub_(smoothing / n**2)
        diagonal = own[part, None]
        weight.scatter_add_(1, diagonal, weight.new_full((height, 1), -(1 - smoothing) / n))
        weight.div_(rows).mul_(scale / 2).masked_fill_(rows <= least, 0.0)
        to_determinant -= weight.sum(0)
        for number in range(count):
            inner = torch.mm(anchor[part], others[number].t(), out=second[:height]).mul_(weight)
            to_anchor[part].addmm_(inner, turned[number], alpha=2)
            pulled[number].addmm_(inner.t(), anchor[part])
    to_others = 2 * torch.einsum("nml,lnd->mnd", adjugate, pulled)
    to_adjugate = torch.einsum("lnd,mnd->nml", others, pulled)
    return value, (to_anchor, to_others, to_adjugate, to_determinant)


def volumes(anchor: Tensor, others: Tensor, eps: float = 0.0) -> Tensor:
    """(n, n) V(a_i; X_j) of unit rows anchor (n, d) and others (M, n, d), for whoever wants to see them."""
    inner = torch.einsum("lnd,mnd->nlm", others, others)
    to_anchor = torch.einsum("nd,mkd->mnk", anchor, others)
    removed = torch.einsum("lnk,klm,mnk->nk", to_anchor, _adjugate(inner), to_anchor)
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
