"""Hypergraphs as incidence matrices H (nodes x hyperedges), and propagation by normalised H H^T."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor, nn

from recsys.errors import GraphError
from recsys.graphs.knn import neighbour_graph
from recsys.graphs.normalise import degrees, inverse_power, scale
from recsys.graphs.operator import SparseOperator, canonical

# Forming, normalising and transposing an edge of H H^T: the peak seen, in bytes an edge.
BYTES_PER_EDGE = 40
# H H^T is formed and counted where its upper bound is at most this many times the implicit form's work.
WORTH_COUNTING = 4


def user_hypergraph(interactions: sp.csr_matrix) -> sp.csr_matrix:
    """Users joined by items: H = R made binary, one hyperedge an item (MMHCL, arXiv 2504.16576)."""
    incidence = canonical(interactions)
    incidence.eliminate_zeros()
    incidence.data[:] = 1.0
    return incidence


def item_hypergraph(neighbours: Sequence[np.ndarray]) -> sp.csr_matrix:
    """Items joined by shared neighbours: H = [N^1 | ... | N^M], (n, n M) binary (MMHCL, arXiv 2504.16576).

    Row i of N^m marks the neighbours of item i in modality m, so that hyperedge (j, m) holds the items which
    count j among their nearest; a modality that j lacks leaves (j, m) empty.

    Args:
        neighbours: for each modality (n, k_m) int64 as `knn` returns them, -1 for none.
    """
    if not neighbours or len({len(indices) for indices in neighbours}) != 1:
        raise GraphError(f"one neighbour list an item and modality, got {[len(part) for part in neighbours]}")
    n = len(neighbours[0])
    return join_hyperedges([neighbour_graph(indices, None, n) for indices in neighbours])


def attribute_hyperedges(values: np.ndarray | sp.csr_matrix, max_size: int | None = None) -> sp.csr_matrix:
    """One hyperedge a value (category, genre, tag, knowledge entity) over the nodes that have it, binary.

    Args:
        values: (n,) integer labels, -1 for none, or an (n, n_values) sparse matrix, non-zero where held.
        max_size: hyperedges of more nodes are left out, as are those of fewer than two.
    """
    if sp.issparse(values):
        incidence = user_hypergraph(values)
    else:
        labels = np.asarray(values)
        if labels.ndim != 1 or not np.issubdtype(labels.dtype, np.integer):
            raise GraphError(
                f"labels must be a vector of integers, got {labels.dtype} of shape {labels.shape}"
            )
        incidence = neighbour_graph(labels[:, None].astype(np.int64), None, int(labels.max(initial=-1)) + 1)
    size = degrees(incidence, 0)
    keep = (size >= 2) & (size <= (max_size if max_size is not None else np.inf))
    return canonical(incidence[:, np.flatnonzero(keep)])


def join_hyperedges(parts: Sequence[sp.csr_matrix]) -> sp.csr_matrix:
    """The hyperedges of all parts over the same nodes: the incidence matrices side by side."""
    if len({part.shape[0] for part in parts}) != 1:
        raise GraphError(f"hyperedges over different nodes: {[part.shape for part in parts]}")
    return canonical(sp.hstack(list(parts), format="csr"))


@dataclass(frozen=True)
class Forecast:
    """What H H^T would take, known without forming it."""

    edges: int  # non-zeros of H H^T, an upper bound: exact where no two nodes share two hyperedges
    bytes: int  # peak memory of building the explicit operator, by that bound
    explicit_work: int  # rows of width d read and written by the explicit product, by that bound
    implicit_work: int  # the same of H (H^T x)


def forecast(incidence: sp.csr_matrix) -> Forecast:
    """Bounds of size and work of H H^T: a node has at most as many neighbours as its hyperedges have members."""
    n, n_edges = incidence.shape
    pattern = sp.csr_matrix(
        (np.ones(incidence.nnz), incidence.indices, incidence.indptr), shape=incidence.shape
    )
    reached = pattern @ degrees(pattern, 0)
    alone = np.diff(
        incidence.indptr
    )  # each of a node's hyperedges counts the node itself: one diagonal entry
    edges = int(np.minimum(reached - alone + (alone > 0), n).sum())
    return Forecast(edges, edges * BYTES_PER_EDGE, edges + n, 2 * incidence.nnz + n_edges + n)


def propagation(
    incidence: sp.csr_matrix,
    *,
    normalise: str,
    zero_diagonal: bool,
    form: str = "auto",
    max_bytes: int | None = None,
) -> SparseOperator | HypergraphOperator:
    """The normalised H H^T of a hypergraph, as one sparse matrix or as two products with H; both are exact.

    Args:
        incidence: H, (n, n_hyperedges), non-negative.
        normalise: "random-walk", D^-1 A (MMHCL's users), or "symmetric", D^-1/2 A D^-1/2 (its items), D being
            the row sums of A = H H^T, without its diagonal where that is set to 0.
        zero_diagonal: set the diagonal of H H^T to 0 first.
        form: "explicit", "implicit", or "auto": whichever reads and writes fewer rows per product.
        max_bytes: memory that building the explicit form may take; half of the machine's where None.

    Raises:
        GraphError: an unknown name, negative incidence, or an explicit form beyond `max_bytes`.
    """
    if normalise not in ("random-walk", "symmetric"):
        raise GraphError(f"unknown normalisation {normalise!r}: expected 'random-walk' or 'symmetric'")
    if form not in ("auto", "explicit", "implicit"):
        raise GraphError(f"unknown form {form!r}: expected 'auto', 'explicit' or 'implicit'")
    incidence = canonical(incidence)
    incidence.eliminate_zeros()
    if incidence.nnz and incidence.data.min() < 0:
        raise GraphError("a hypergraph's incidence must not be negative")
    implicit = HypergraphOperator(incidence, normalise, zero_diagonal)
    expected = forecast(incidence)
    limit = max_bytes if max_bytes is not None else _half_of_memory()
    if form == "explicit" and expected.bytes > limit:
        raise GraphError(
            f"H H^T of {incidence.shape[0]} nodes would have up to {expected.edges} edges and take "
            f"{expected.bytes} bytes, over the limit of {limit}: use form='implicit' or drop large hyperedges"
        )
    explicit_pays = (
        expected.explicit_work <= WORTH_COUNTING * expected.implicit_work and expected.bytes <= limit
    )
    if form == "implicit" or (form == "auto" and not explicit_pays):
        return implicit
    matrix = explicit_matrix(incidence, normalise, zero_diagonal)
    if form == "auto" and matrix.nnz + incidence.shape[0] > expected.implicit_work:
        return implicit
    return SparseOperator(matrix, symmetric=normalise == "symmetric")


def explicit_matrix(incidence: sp.csr_matrix, normalise: str, zero_diagonal: bool) -> sp.csr_matrix:
    """The normalised H H^T itself, (n, n) float32 CSR; `propagation` documents the arguments."""
    product = canonical(incidence @ incidence.T)
    if zero_diagonal:
        rows = np.repeat(np.arange(product.shape[0]), np.diff(product.indptr))
        product.data[rows == product.indices] = 0.0
        product.eliminate_zeros()
    left, right = _scales(degrees(product, 1), normalise)
    return scale(product, left, right)


class HypergraphOperator(nn.Module):
    """x -> D^-1 (H H^T - diagonal) x, or D^-1/2 (...) D^-1/2 x, without forming H H^T.

    The same calls and gradient as `SparseOperator`: two products with H per call, and no saved activations.
    `propagation` documents the arguments.
    """

    diagonal: Tensor | None

    def __init__(self, incidence: sp.csr_matrix, normalise: str, zero_diagonal: bool) -> None:
        super().__init__()
        incidence = canonical(incidence)
        wide = incidence.astype(np.float64)
        diagonal = degrees(wide.multiply(wide).tocsr(), 1)
        degree = wide @ degrees(wide, 0) - (diagonal if zero_diagonal else 0.0)
        # What is left of a node that shares no hyperedge is a rounding error of the difference, not a degree.
        degree[degree < 1e-9 * diagonal] = 0.0
        left, right = _scales(degree, normalise)
        self.left = SparseOperator(scale(incidence, left, None))
        self.right = self.left if right is not None else SparseOperator(incidence)
        own = diagonal * left * (right if right is not None else 1.0)
        kept = torch.from_numpy(own.astype(np.float32)).unsqueeze(1) if zero_diagonal else None
        self.register_buffer("diagonal", kept, persistent=False)

    @property
    def shape(self) -> tuple[int, int]:
        return (self.left.shape[0], self.left.shape[0])

    @property
    def nnz(self) -> int:
        """Stored entries read by one product."""
        return self.left.nnz + self.right.nnz

    @property
    def T(self) -> HypergraphOperator:
        """The transposed operator; it shares this one's buffers."""
        other = HypergraphOperator.__new__(HypergraphOperator)
        nn.Module.__init__(other)
        other.left, other.right = self.right, self.left
        other.register_buffer("diagonal", self.diagonal, persistent=False)
        return other

    def forward(self, x: Tensor) -> Tensor:
        """The product with x (n, d), (n, d)."""
        y = self.left(self.right.adjoint(x))
        return y if self.diagonal is None else torch.addcmul(y, self.diagonal, x, value=-1)

    def __matmul__(self, x: Tensor) -> Tensor:
        return self(x)


def _scales(degree: np.ndarray, normalise: str) -> tuple[np.ndarray, np.ndarray | None]:
    if normalise == "random-walk":
        return inverse_power(degree, 1.0), None
    half = inverse_power(degree, 0.5)
    return half, half


def _half_of_memory() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
