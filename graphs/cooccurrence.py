"""The collaborative item graph, and its infusion into semantic ones."""

from __future__ import annotations

import scipy.sparse as sp

from recsys.errors import GraphError
from recsys.graphs.knn import knn, neighbour_graph
from recsys.graphs.normalise import normalised
from recsys.graphs.operator import canonical


def cooccurrence_graph(interactions: sp.csr_matrix, k: int, *, block: int | None = None) -> sp.csr_matrix:
    """The k strongest cosine co-occurrences of each item, (n_items, n_items) float32 CSR, no diagonal.

    The weight of (i, j) is |U_i and U_j| / sqrt(|U_i| |U_j|) for binary interactions, i.e. the cosine of the
    columns of R; ties go to the lower index, items without interactions keep empty rows. R^T R is formed in
    row blocks only. (Semantic item graph enhancement, arXiv 2508.06154, as read from its abstract.)
    """
    items = canonical(interactions.T)
    indices, similarities = knn(items, items, k, exclude_self=True, positive_only=True, block=block)
    return neighbour_graph(indices, similarities, items.shape[0])


def infuse(
    semantic: sp.csr_matrix, collaborative: sp.csr_matrix, beta: float, normalise: str | None = "symmetric-k"
) -> sp.csr_matrix:
    """normalise((1 - beta) S + beta C) over the union of both graphs' edges (arXiv 2508.06154).

    Args:
        beta: share of the collaborative graph, 0 to 1.
        normalise: as `recsys.graphs.normalise.normalised`.

    Raises:
        GraphError: beta outside [0, 1], or graphs over different items.
    """
    if not 0 <= beta <= 1:
        raise GraphError(f"beta must lie in [0, 1], got {beta}")
    if semantic.shape != collaborative.shape:
        raise GraphError(f"graphs over different items: {semantic.shape} and {collaborative.shape}")
    mixed = canonical(semantic * (1.0 - beta) + collaborative * beta)
    return normalised(mixed, normalise)
