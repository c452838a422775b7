"""Degree normalisations of sparse graphs; rows without edges stay zero."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp

from recsys.errors import GraphError


def inverse_power(degree: np.ndarray, power: float) -> np.ndarray:
    """degree ** -power (float64), and 0 where the degree is 0: an isolated node has no edge to scale."""
    out = np.zeros(len(degree), dtype=np.float64)
    np.power(degree, -power, out=out, where=degree > 0)
    return out


def degrees(matrix: sp.csr_matrix, axis: int) -> np.ndarray:
    """Sums of the entries over `axis`, float64, one-dimensional."""
    return np.asarray(matrix.sum(axis=axis, dtype=np.float64)).ravel()


def scale(matrix: sp.csr_matrix, rows: np.ndarray | None, columns: np.ndarray | None) -> sp.csr_matrix:
    """diag(rows) matrix diag(columns) in float32, without a sparse product."""
    data = matrix.data.astype(np.float64)
    if rows is not None:
        data *= np.repeat(rows, np.diff(matrix.indptr))
    if columns is not None:
        data *= columns[matrix.indices]
    return sp.csr_matrix((data.astype(np.float32), matrix.indices, matrix.indptr), shape=matrix.shape)


def row_normalise(matrix: sp.csr_matrix) -> sp.csr_matrix:
    """D^-1 A: every row with edges sums to 1 (a random walk)."""
    return scale(matrix, inverse_power(degrees(matrix, 1), 1.0), None)


def symmetric_normalise(matrix: sp.csr_matrix) -> sp.csr_matrix:
    """D^-1/2 A D^-1/2 with D the row degree, on either side, of a square A (symmetric or not)."""
    half = inverse_power(degrees(matrix, 1), 0.5)
    return scale(matrix, half, half)


def normalised(graph: sp.csr_matrix, name: str | None) -> sp.csr_matrix:
    """The normalisation `name` of an item graph S whose edges need not be mutual.

    "symmetric-k": D^-1/2 S D^-1/2 with the row sums D on both sides (for k edges of weight 1 a row: S / k);
    "symmetric": the same of max(S, S^T); "row": D^-1 S; None: S as it is.
    """
    if name is None:
        return graph
    if name == "row":
        return row_normalise(graph)
    if name == "symmetric-k":
        return symmetric_normalise(graph)
    if name == "symmetric":
        return symmetric_normalise(graph.maximum(graph.T).tocsr())
    raise GraphError(f"unknown normalisation {name!r}: expected 'symmetric-k', 'symmetric', 'row' or None")
