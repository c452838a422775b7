"""Weighted matrix factorisation of implicit feedback: preference vectors for models that start from some."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp
from scipy.sparse.linalg import svds

EDGES = 1 << 18
"""Interactions whose two vectors are held side by side at a time."""
FOLD_IN_STEPS = 20
"""Of conjugate gradients, from nothing: the first factors were found with thirty."""


def weighted_factors(
    interactions: sp.csr_array,
    width: int,
    *,
    confidence: float = 10.0,
    reg: float = 50.0,
    sweeps: int = 10,
    seed: int | None = 0,
) -> tuple[np.ndarray, np.ndarray]:
    """(n_users, width) U and (n_items, width) V, float32: argmin sum_ui c_ui (r_ui - u . v)^2
    + reg (||U||^2 + ||V||^2) over all pairs, with c = 1 + confidence r.

    "Collaborative Filtering for Implicit Feedback Datasets", Hu et al., ICDM 2008, equation 3, by alternating
    least squares, each half-sweep three steps of conjugate gradients from where it stands ("Applications of the
    Conjugate Gradient Method for Implicit Feedback Collaborative Filtering", Takács et al., RecSys 2011). A
    user or item without interactions has a zero row.

    Args:
        seed: of the items' normal first rows; None starts from the items' singular vectors, which depend on nothing.
    """
    by_user = sp.csr_array(interactions, dtype=np.float32)
    by_item = sp.csr_array(by_user.T)
    if seed is None:
        items = _singular_vectors(by_user, width)
    else:
        rng = np.random.default_rng(seed)
        items = rng.normal(0, 1 / np.sqrt(width), (by_user.shape[1], width)).astype(np.float32)
    items *= (np.diff(by_item.indptr) > 0)[:, None]
    users = np.zeros((by_user.shape[0], width), dtype=np.float32)
    for _ in range(sweeps):
        users = _solve(by_user, users, items, confidence, reg)
        items = _solve(by_item, items, users, confidence, reg)
    return users, items


def folded_in(history: sp.csr_array, items: np.ndarray, *, confidence: float, reg: float) -> np.ndarray:
    """(n, width) float32 vectors of users with this history (n, n_items) beside items as they stand: equation 4."""
    start = np.zeros((history.shape[0], items.shape[1]), dtype=np.float32)
    return _solve(sp.csr_array(history, dtype=np.float32), start, items, confidence, reg, FOLD_IN_STEPS)


def _singular_vectors(matrix: sp.csr_array, width: int) -> np.ndarray:
    """(n_items, width) float32: V S^(1/2) of the largest singular values; columns of zeros where there are no more."""
    least = min(matrix.shape)
    _, values, rows = svds(matrix.astype(np.float64), k=min(width, least - 1), v0=np.ones(least))
    vectors = rows.T * np.sqrt(values)
    return np.pad(vectors, ((0, 0), (0, width - len(values)))).astype(np.float32)


def _solve(
    matrix: sp.csr_array, x: np.ndarray, other: np.ndarray, confidence: float, reg: float, steps: int = 3
) -> np.ndarray:
    """Conjugate gradients on all rows at once: (V^T V + confidence sum_i v_i v_i^T + reg I) x = b, row by row."""
    gram = other.T @ other + reg * np.eye(other.shape[1], dtype=np.float32)
    rows = np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr))

    def times(x: np.ndarray) -> np.ndarray:
        dots = np.empty(len(rows), dtype=np.float32)
        for start in range(0, len(rows), EDGES):
            part = slice(start, start + EDGES)
            np.einsum("nd,nd->n", x[rows[part]], other[matrix.indices[part]], out=dots[part])
        weighted = sp.csr_array((dots, matrix.indices, matrix.indptr), shape=matrix.shape)
        return x @ gram + confidence * (weighted @ other)

    residual = (1 + confidence) * (matrix @ other) - times(x)
    direction, x = residual.copy(), x.copy()
    left = np.square(residual).sum(1, keepdims=True)
    for _ in range(steps):
        image = times(direction)
        curve = (direction * image).sum(1, keepdims=True)
        step = np.divide(left, curve, out=np.zeros_like(left), where=curve > 0)
        x += step * direction
        residual -= step * image
        now = np.square(residual).sum(1, keepdims=True)
        direction = residual + np.divide(now, left, out=np.zeros_like(now), where=left > 0) * direction
        left = now
    return x
