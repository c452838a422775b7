"""Vectors for people whom training has not seen, by their histories: what a model's `encode_users` gives, in NumPy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import scipy.sparse as sp

STEPS = 20
"""Of conjugate gradients, as `recsys.solvers.als.FOLD_IN_STEPS`."""


@dataclass(frozen=True)
class FoldIn:
    """A ridge regression from sum_i v_i / sqrt(n), v the vectors of n items.

    Attributes:
        items: (n_items, d) float32.
        known: (n_items,) float32, 1 for the items that count.
        weights: (d, e) float64.
        mean_seen, mean_target: (d,) and (e,) float64; who has no history gets the latter.
    """

    items: np.ndarray
    known: np.ndarray
    weights: np.ndarray
    mean_seen: np.ndarray
    mean_target: np.ndarray

    def __call__(self, history: sp.csr_array) -> np.ndarray:
        """(n, e) float32."""
        history = counted(history, self.known)
        folded = self.mean_target + (gathered(history, self.items) - self.mean_seen) @ self.weights
        folded[np.diff(history.indptr) == 0] = self.mean_target
        return folded.astype(np.float32)


@dataclass(frozen=True)
class LeastSquares:
    """x of (gram + confidence sum_i v_i v_i^T) x = (1 + confidence) sum_i v_i, the sums over a history: WMF's rule.

    "Collaborative Filtering for Implicit Feedback Datasets", Hu et al., ICDM 2008, equation 4, by as many conjugate
    gradients as the model takes.

    Attributes:
        items: (n_items, d) float32 vectors v.
        known: (n_items,) float32, 1 for the items that count.
        gram: (d, d) float64 V^T V + reg I.
        confidence: how much more an interaction weighs than none.
        mean: (d,) float32, who has no history gets it.
    """

    items: np.ndarray
    known: np.ndarray
    gram: np.ndarray
    confidence: float
    mean: np.ndarray

    def __call__(self, history: sp.csr_array) -> np.ndarray:
        """(n, d) float32."""
        history = counted(history, self.known)
        counts = np.diff(history.indptr)
        rows = np.repeat(np.arange(len(counts)), counts)
        vectors = np.asarray(self.items[history.indices], dtype=np.float64)
        sums = sp.csr_array((np.ones(len(rows)), (rows, np.arange(len(rows)))), (len(counts), len(rows)))

        def times(x: np.ndarray) -> np.ndarray:
            dots = np.einsum("nd,nd->n", x[rows], vectors)
            return x @ self.gram + self.confidence * (sums @ (dots[:, None] * vectors))

        residual = (1 + self.confidence) * (sums @ vectors)
        solved, direction = np.zeros_like(residual), residual.copy()
        left = np.square(residual).sum(axis=1, keepdims=True)
        for _ in range(STEPS):
            image = times(direction)
            curve = (direction * image).sum(axis=1, keepdims=True)
            step = np.divide(left, curve, out=np.zeros_like(left), where=curve > 0)
            solved += step * direction
            residual -= step * image
            now = np.square(residual).sum(axis=1, keepdims=True)
            direction = residual + np.divide(now, left, out=np.zeros_like(left), where=left > 0) * direction
            left = now
        solved[counts == 0] = self.mean
        return solved.astype(np.float32)


Pooling = Literal["sum", "mean", "unit"]
Activation = Literal["none", "sigmoid", "tanh"]


@dataclass(frozen=True)
class Pooled:
    """Dense layers on what a history's rows of a table come to: a_k(... a_1(W_1 a_0(gain p + shift) + b_1) ...).

    Attributes:
        table: (n_items, d) float32.
        known: (n_items,) float32, 1 for the items that count.
        pooling: p is the rows' "sum", their "mean", or their sum at length 1 ("unit"); 0 of no rows.
        gain, shift: (d,) float32; of no rows gain p + shift is `nothing`.
        nothing: (d,) float32.
        weights, biases: of each layer, (d_k, d_k+1) and (d_k+1,).
        activations: a_0, a_1, ...: "none", "sigmoid" or "tanh".
        one: a last column of ones, which an item's bias meets.
    """

    table: np.ndarray
    known: np.ndarray
    pooling: Pooling
    gain: np.ndarray
    shift: np.ndarray
    nothing: np.ndarray
    weights: list[np.ndarray]
    biases: list[np.ndarray]
    activations: list[Activation]
    one: bool

    def __call__(self, history: sp.csr_array) -> np.ndarray:
        """(n, e) float32."""
        history = counted(history, self.known)
        counts = np.diff(history.indptr)[:, None]
        x = np.asarray(history @ self.table, dtype=np.float32)
        if self.pooling == "mean":
            x /= np.maximum(counts, 1)
        elif self.pooling == "unit":
            x /= np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)
        x = np.where(counts > 0, x * self.gain + self.shift, self.nothing)
        x = activated(x, self.activations[0])
        for weights, bias, name in zip(self.weights, self.biases, self.activations[1:], strict=True):
            x = activated(x @ weights + bias, name)
        return np.concatenate([x, np.ones_like(x[:, :1])], axis=1) if self.one else x


@dataclass(frozen=True)
class Beside:
    """Several models' vectors of one history, side by side."""

    encoders: list[UserEncoder]

    def __call__(self, history: sp.csr_array) -> np.ndarray:
        """(n, e) float32."""
        return np.concatenate([encoder(history) for encoder in self.encoders], axis=1)


UserEncoder = FoldIn | LeastSquares | Pooled | Beside
"""How a bundle of vectors places people by what they took."""


def counted(history: sp.csr_array, known: np.ndarray) -> sp.csr_array:
    """A history without the items that do not count."""
    kept = sp.csr_array(history @ sp.diags_array(np.asarray(known)))
    kept.eliminate_zeros()
    return kept


def gathered(history: sp.csr_array, items: np.ndarray) -> np.ndarray:
    """(n, d) float64: sum of each row's item vectors over the square root of their number."""
    counts = np.maximum(np.asarray(history.sum(axis=1)).ravel(), 1)
    return ((history @ items) / np.sqrt(counts)[:, None]).astype(np.float64)


def activated(x: np.ndarray, name: Activation) -> np.ndarray:
    """An activation of rows.

    Example:
        >>> activated(np.zeros(1), "sigmoid").tolist()
        [0.5]
    """
    if name == "sigmoid":
        return np.asarray(0.5 * (1 + np.tanh(0.5 * x)))  # without an overflow
    return np.tanh(x) if name == "tanh" else x
