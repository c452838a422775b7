"""Item features made at load, from counts and from facts, without looking at any interaction.

They are made by one thread: a decomposition's last bits depend on the number of threads.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace

import numpy as np
import scipy.sparse as sp

from recsys.datasets.content.stored import whole
from recsys.datasets.dataset import Modality

NEGLIGIBLE = 1e-6
"""A row whose norm after the reduction is below this share of the largest holds rounding errors only."""


def reduced(matrix: sp.csr_array, width: int, seed: int, fit_on: sp.csr_array | None = None) -> Modality:
    """(n_items, <= width) dense float32: `matrix` itself where it is that narrow, else its truncated SVD.

    Items whose row is empty, or of which the kept components see nothing, are masked.

    Args:
        fit_on: the rows whose components are taken; `matrix` itself where None.
    """
    if matrix.shape[1] <= width:
        features = np.asarray(matrix.todense(), dtype=np.float32)
        largest = np.linalg.norm(features, axis=1).max(initial=0)
    else:
        from sklearn.decomposition import TruncatedSVD
        from threadpoolctl import threadpool_limits

        basis = matrix if fit_on is None else fit_on
        svd = TruncatedSVD(n_components=min(width, *basis.shape), random_state=seed)
        with threadpool_limits(1):
            fitted = svd.fit_transform(basis).astype(np.float32)
            features = fitted if basis is matrix else svd.transform(matrix).astype(np.float32)
        largest = np.linalg.norm(fitted, axis=1).max(initial=0)
    norm = np.linalg.norm(features, axis=1)
    mask = (np.diff(matrix.indptr) > 0) & (norm > NEGLIGIBLE * largest)
    features[~mask] = 0
    return Modality(np.ascontiguousarray(features), mask)


def facts_modality(items: np.ndarray, facts: np.ndarray, n_items: int, width: int, seed: int) -> Modality:
    """Binary items x facts matrix, reduced to `width` columns.

    Args:
        items, facts: (n,) int64 numbers of the item and the fact of each statement; repeats count once.
    """
    ones = np.ones(len(items), dtype=np.float32)
    matrix = sp.coo_array((ones, (items, facts)), shape=(n_items, int(facts.max(initial=-1)) + 1)).tocsr()
    matrix.data[:] = 1
    matrix.sort_indices()
    parts = (matrix.indptr.astype(np.int64), matrix.indices.astype(np.int64), f"facts {width} {seed}")
    key = checksum(*parts)
    return replace(whole(key, "facts", lambda: reduced(matrix, width, seed)), made_of=key)


def checksum(*parts: np.ndarray | str) -> str:
    """SHA-256 of arrays and texts, each with its length."""
    digest = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else np.ascontiguousarray(part).tobytes()
        digest.update(f"{len(data)} ".encode() + data)
    return digest.hexdigest()


def normalise_rows(matrix: sp.csr_array) -> sp.csr_array:
    """Rows scaled to unit length; empty rows stay empty."""
    norm = np.sqrt(matrix.multiply(matrix).sum(axis=1))
    matrix = matrix.copy()
    matrix.data /= np.repeat(np.where(norm > 0, norm, 1), np.diff(matrix.indptr)).astype(matrix.dtype)
    return matrix
