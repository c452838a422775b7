"""Weighted matrix factorisation of implicit feedback: preference vectors for models that start from some."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp
import torch
from scipy.sparse.linalg import svds
from torch import Tensor
from torch.nn.functional import embedding_bag

from recsys.graphs.operator import torch_csr

FOLD_IN_STEPS, WARM_STEPS = 20, 8
"""Of conjugate gradients, from nothing (the first factors were found with thirty), and from rows that are nearly right:
both leave less than 0.00005 of the largest factor."""
TOLERANCE = 0.01
"""Of the singular values that a factorisation starts from."""


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


def folded_in(
    history: sp.csr_array,
    items: np.ndarray,
    *,
    confidence: float,
    reg: float,
    start: np.ndarray | None = None,
) -> np.ndarray:
    """(n, width) float32 vectors of users with this history (n, n_items) beside items as they stand: equation 4.

    Args:
        start: (n, width) float32, the users beside items that have changed a little since; None: nothing is known.
    """
    steps = FOLD_IN_STEPS if start is None else WARM_STEPS
    if start is None:
        start = np.zeros((history.shape[0], items.shape[1]), dtype=np.float32)
    return _solve(sp.csr_array(history, dtype=np.float32), start, items, confidence, reg, steps)


def _singular_vectors(matrix: sp.csr_array, width: int) -> np.ndarray:
    """(n_items, width) float32: V S^(1/2) of the largest singular values; columns of zeros where there are no more."""
    least = min(matrix.shape)
    first = np.ones(least, dtype=np.float32)
    _, values, rows = svds(matrix, k=min(width, least - 1), v0=first, tol=TOLERANCE)
    vectors = rows.T * np.sqrt(values)
    return np.pad(vectors, ((0, 0), (0, width - len(values)))).astype(np.float32)


def _solve(
    matrix: sp.csr_array, x: np.ndarray, other: np.ndarray, confidence: float, reg: float, steps: int = 3
) -> np.ndarray:
    """Conjugate gradients on all rows at once: (V^T V + confidence sum_i v_i v_i^T + reg I) x = b, row by row."""
    # In rows: the kernels below take several times as long on the transpose of an array of columns.
    solved, vectors = torch.from_numpy(np.array(x, order="C")), torch.from_numpy(other).contiguous()
    gram = vectors.T @ vectors + reg * torch.eye(vectors.shape[1])
    starts, columns = (torch.from_numpy(a.astype(np.int64)) for a in (matrix.indptr, matrix.indices))
    pattern = torch_csr((starts, columns, torch.zeros(matrix.nnz)), matrix.shape)

    def gathered(weights: Tensor) -> Tensor:
        """(n, width): each row's sum of its columns' vectors by these weights (nnz,)."""
        return embedding_bag(
            columns, vectors, starts, mode="sum", per_sample_weights=weights, include_last_offset=True
        )

    def times(x: Tensor) -> Tensor:
        # The products of the pairs that hold an entry, without a copy of their vectors.
        dots = torch.sparse.sampled_addmm(pattern, x, vectors.T, alpha=confidence).values()
        return torch.addmm(gathered(dots), x, gram)

    residual = gathered((1 + confidence) * torch.from_numpy(matrix.data)) - times(solved)
    direction = residual.clone()
    left = _squares(residual)
    for _ in range(steps):
        image = times(direction)
        curve = torch.linalg.vecdot(direction, image).unsqueeze(1)
        step = torch.where(curve > 0, left / curve, 0.0)
        solved.addcmul_(step, direction)
        residual.addcmul_(step, image, value=-1)
        now = _squares(residual)
        direction.mul_(torch.where(left > 0, now / left, 0.0)).add_(residual)
        left = now
    return solved.numpy()


def _squares(rows: Tensor) -> Tensor:
    """(n, 1) squared norms of rows (n, d)."""
    return torch.linalg.vecdot(rows, rows).unsqueeze(1)
