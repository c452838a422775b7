"""InfoNCE over all nodes: exact in bounded memory, value and gradient in one pass."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import normalize

from recsys.errors import UserError
from recsys.objectives.fused import fused, gram_gradient, gram_sums, log_partition, safe_dtype


def infonce(
    z: Tensor,
    other: Tensor,
    temperature: float = 0.2,
    *,
    intra: bool = False,
    symmetric: bool = False,
    anchors: Tensor | None = None,
    counts: Tensor | None = None,
    block: int | None = None,
) -> Tensor:
    """mean_i -log( exp(cos(z_i, z'_i)/tau) / sum_j exp(cos(z_i, z'_j)/tau) ).

    "Representation Learning with Contrastive Predictive Coding", van den Oord et al., 2018, arXiv 1807.03748.
    With `intra` the denominator also holds sum_{j != i} exp(cos(z_i, z_j)/tau), as in GRACE ("Deep Graph
    Contrastive Representation Learning", Zhu et al., 2020, arXiv 2006.04131, equation 1) and MMHCL
    (arXiv 2504.16576). All pairs count, exactly, in O(block x n) memory: see `recsys.objectives.fused`.

    Args:
        z, other: (n, d) two views of the same n nodes, row by row; any length, they are normalised here.
        temperature: tau, at least 1/600 (below 1/60 float32 input is computed in float64).
        intra: also take the other nodes of the same view as negatives.
        symmetric: the mean of both directions.
        anchors: (m,) row indices, int64: the mean is over these rows only, against all n nodes. Rows drawn
            uniformly make this an unbiased estimate of the full loss and of its gradient.
        counts: (n,) how often each row stands for itself, as if it and its view were repeated; once where None.
        block: rows at a time; the value does not depend on it. None chooses by the processor's cache.

    Returns:
        A scalar in the dtype of z.

    Raises:
        UserError: shapes differ, or the temperature is out of range.
    """
    if z.shape != other.shape or z.dim() != 2:
        raise UserError(
            f"infonce got views of shapes {tuple(z.shape)} and {tuple(other.shape)}; both must be (n, d)"
        )
    scale = 1.0 / temperature if temperature > 0 else 0.0
    dtype = safe_dtype(z.dtype, scale)
    x, y = normalize(z.to(dtype), dim=1), normalize(other.to(dtype), dim=1)
    if counts is not None:
        ways = [(x, y), (y, x)] if symmetric else [(x, y)]
        parts = [_counted(*way, scale, counts.to(dtype), anchors, intra, block) for way in ways]
        return torch.stack(parts).mean().to(z.dtype)
    if anchors is not None:
        value = _sampled(x, y, scale, anchors, intra, block)
        if symmetric:
            value = (value + _sampled(y, x, scale, anchors, intra, block)) / 2
    elif intra and symmetric:
        value = _joint(torch.cat([x, y]), scale, block) / (2 * len(x))
    else:
        value = _partition(x, y, scale, intra, block) / len(x)
        if symmetric:
            value = (value + _partition(y, x, scale, intra, block) / len(x)) / 2
    chosen = slice(None) if anchors is None else anchors
    positive = (x[chosen] * y[chosen]).sum(1).mean() * scale
    return (value - positive).to(z.dtype)


def _sampled(x: Tensor, y: Tensor, scale: float, anchors: Tensor, intra: bool, block: int | None) -> Tensor:
    """mean over the anchors of log D_i, all nodes as keys."""
    keys = torch.cat([y, x]) if intra else y
    own = anchors + len(y) if intra else None

    def run(rows: Tensor, keys: Tensor, wanted: tuple[bool, bool]):
        value, *gradients, _ = log_partition(rows, keys, scale, own=own, block=block, wanted=wanted)
        return value, gradients

    return fused(run, x[anchors], keys) / len(anchors)


def _counted(
    x: Tensor, y: Tensor, scale: float, counts: Tensor, anchors: Tensor | None, intra: bool, block: int | None
) -> Tensor:
    """One direction's loss over repeated nodes. A node's copies are negatives of each other within a view: as far from
    it as it is from itself, whatever the weights, and so without a gradient."""
    chosen = torch.arange(len(x), device=x.device) if anchors is None else anchors
    keys, times = (torch.cat([y, x]), counts.repeat(2)) if intra else (y, counts)
    own, added = (chosen + len(y), (counts[chosen] - 1) * math.exp(scale)) if intra else (None, None)
    shares = counts[chosen] / counts[chosen].sum()

    def run(rows: Tensor, keys: Tensor, wanted: tuple[bool, bool]):
        value, *gradients, _ = log_partition(
            rows, keys, scale, own=own, added=added, shares=shares, counts=times, block=block, wanted=wanted
        )
        return value, gradients

    rows, others = (x, y) if anchors is None else (x[anchors], y[anchors])
    return fused(run, rows, keys) - ((rows * others).sum(1) * shares).sum() * scale


def _partition(x: Tensor, y: Tensor, scale: float, intra: bool, block: int | None) -> Tensor:
    """sum_i log D_i of one direction over all nodes."""

    def run(x: Tensor, y: Tensor, wanted: tuple[bool, bool]):
        added = gram_sums(x, scale, block) if intra else None
        value, to_x, to_y, sums = log_partition(x, y, scale, added=added, block=block, wanted=wanted)
        if intra and wanted[0]:
            assert to_x is not None  # wanted[0] asks for it
            to_x += gram_gradient(x, scale, sums.reciprocal(), block)
        return value, (to_x, to_y)

    return fused(run, x, y)


def _joint(nodes: Tensor, scale: float, block: int | None) -> Tensor:
    """sum_i log D_i of both directions: the views stacked give one symmetric matrix without its diagonal."""

    def run(nodes: Tensor, wanted: tuple[bool]):
        sums = gram_sums(nodes, scale, block)
        to_nodes = gram_gradient(nodes, scale, sums.reciprocal(), block) if wanted[0] else None
        return sums.log().sum(dtype=torch.float64), (to_nodes,)

    return fused(run, nodes)
