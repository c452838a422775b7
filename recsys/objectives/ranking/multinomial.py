"""The multinomial likelihood of sets of items, its scores made in blocks."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

_BLOCK = 2**22  # scores held at once


def log_partition(
    queries: Tensor, keys: Tensor, excluded: tuple[Tensor, Tensor] | None = None, *, block: int | None = None
) -> Tensor:
    """(b,) log sum_j exp(q_i . k_j), without the pairs (i, j) excluded.

    The (b, n) scores are made in blocks of keys, again on the way back: memory is O(b x block).

    Args:
        queries, keys: (b, d), (n, d).
        excluded: rows and columns, int64 (p,) each.
        block: keys at a time; None keeps a block near 4 million scores. The value does not depend on it.
    """
    block = block or max(1, _BLOCK // max(len(queries), 1))
    parts = []
    for start in range(0, len(keys), block):
        part = keys[start : start + block]
        cell = None
        if excluded is not None:
            rows, columns = excluded
            inside = (columns >= start) & (columns < start + len(part))
            cell = rows[inside] * len(part) + columns[inside] - start
        if len(keys) <= block:
            return _block(queries, part, cell)
        parts.append(checkpoint(_block, queries, part, cell, use_reentrant=False))
    return torch.stack(parts).logsumexp(0)


def _block(queries: Tensor, keys: Tensor, cell: Tensor | None) -> Tensor:
    scores = queries @ keys.T
    if cell is not None and len(cell):
        scores = scores.flatten().index_fill(0, cell, -torch.inf).view(scores.shape)
    return scores.logsumexp(1)


def multinomial(log_partitions: Tensor, scores: Tensor, rows: Tensor) -> Tensor:
    """mean over rows of the mean over a row's items of -log softmax.

    "Variational Autoencoders for Collaborative Filtering", Liang et al., WWW 2018, arXiv 1802.05814, equation 2,
    divided by the items of the row as in CLHE (WSDM 2024).

    Args:
        log_partitions: (b,).
        scores: (p,) of the observed pairs.
        rows: (p,) int64, the row of each; rows without any do not count.
    """
    counts = torch.bincount(rows, minlength=len(log_partitions)).to(scores.dtype)
    terms = (log_partitions[rows] - scores) / counts[rows]
    return terms.sum() / (counts > 0).sum().clamp(min=1)
