"""Matrices of ones that say who has what."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp


def ones(rows: np.ndarray, columns: np.ndarray, shape: tuple[int, int]) -> sp.csr_array:
    """(n, m) float32 CSR with a one at each pair, each pair once."""
    return sp.csr_array((np.ones(len(rows), np.float32), (rows, columns)), shape=shape)


def keys(matrix: sp.csr_array) -> np.ndarray:
    """(nnz,) int64, row * width + column of each entry."""
    rows = np.repeat(np.arange(matrix.shape[0], dtype=np.int64), np.diff(matrix.indptr))
    return rows * matrix.shape[1] + matrix.indices


def wider(matrix: sp.csr_array, width: int) -> sp.csr_array:
    """With empty columns behind its own."""
    if matrix.shape[1] == width:
        return matrix
    return sp.csr_array((matrix.data, matrix.indices, matrix.indptr), shape=(matrix.shape[0], width))


def taller(matrix: sp.csr_array, height: int) -> sp.csr_array:
    """With empty rows below its own."""
    if matrix.shape[0] == height:
        return matrix
    more = np.full(height - matrix.shape[0], matrix.indptr[-1], matrix.indptr.dtype)
    return sp.csr_array(
        (matrix.data, matrix.indices, np.append(matrix.indptr, more)), shape=(height, matrix.shape[1])
    )


def union(one: sp.csr_array, other: sp.csr_array) -> sp.csr_array:
    """CSR of ones where either has an entry."""
    both = sp.csr_array(one + other)
    both.data = np.ones_like(both.data)
    both.sort_indices()
    return both
