"""Cosine k-nearest neighbours in row blocks, exact up to a size, and the item graphs made of them.

A block of queries is compared with the whole base by one matrix product; only k neighbours a row are kept, so
memory is O(n k + block n + n d), never O(n^2). The float32 product only proposes candidates: what is returned
is the cosine computed in float64 and rounded to a multiple of 2^-24, ties going to the lower index, so the
result depends neither on the block size nor on how the product was threaded.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

import numpy as np
import scipy.sparse as sp

from recsys.errors import GraphError
from recsys.graphs.approximate import CellSearch, approximate, wanted
from recsys.graphs.normalise import normalised
from recsys.graphs.operator import canonical
from recsys.graphs.similarity import DenseRows, DenseSearch, Features, SparseSearch, as_rows, decode

SPENT = {"exact": 0.0, "approximate": 0.0}
"""Seconds that this process's searches took so far; they grow with the rows otherwise than all else does."""


def knn(
    queries: Features,
    base: Features,
    k: int,
    *,
    query_mask: np.ndarray | None = None,
    base_mask: np.ndarray | None = None,
    exclude_self: bool = False,
    positive_only: bool = False,
    block: int | None = None,
    search: str = "auto",
    notes: list[str] | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """The k rows of `base` of largest cosine with each row of `queries`, best first, ties to the lower index.

    A row that is masked out or all zero has no neighbours and is nobody's neighbour.

    Args:
        queries: (n_q, d) features, a dense array or CSR; dense ones of which under a tenth is non-zero are
            treated as CSR.
        base: (n_b, d) features.
        query_mask, base_mask: (n,) bool, True where the row is present; all rows where None.
        exclude_self: queries and base are the same rows, and row i is not a neighbour of itself.
        positive_only: only similarities above 0.
        block: query rows a block; chosen so that a block takes 32 MiB where None.
        search: "exact"; "approximate", by FAISS, of dense features; "auto": approximate where the exact search would
            take more than about two minutes. The same inputs give the same neighbours, with values and ties as in the
            exact search, which serves where FAISS is missing or no faster; see `recsys.graphs.approximate`.
        notes: takes a line on how well an approximate search does: its measured recall.

    Returns:
        indices (n_q, k) int64, -1 where there is no further neighbour, and similarities (n_q, k) float32,
        0 there.

    Raises:
        GraphError: k below 1, an unknown search, shapes that do not fit, or features that are not finite.
    """
    if search not in ("auto", "exact", "approximate"):
        raise GraphError(f"unknown search {search!r}: expected 'auto', 'exact' or 'approximate'")
    if k < 1:
        raise GraphError(f"k must be at least 1, got {k}")
    start = time.perf_counter()
    left = as_rows(queries, query_mask, "query")
    right = left if queries is base and query_mask is base_mask else as_rows(base, base_mask, "base")
    if left.width != right.width:
        raise GraphError(f"queries are {left.width} wide and the base {right.width}: they must be equal")
    if exclude_self and left.count != right.count:
        raise GraphError(f"exclude_self needs the same rows twice, got {left.count} and {right.count}")
    indices = np.full((left.count, k), -1, dtype=np.int64)
    similarities = np.zeros((left.count, k), dtype=np.float32)
    query_ids, base_ids = np.flatnonzero(left.present), right.without_spare_copies(k + 1)
    if len(query_ids) == 0 or len(base_ids) == 0:
        return indices, similarities
    position = np.full(right.count, -1, dtype=np.int64)
    position[base_ids] = np.arange(len(base_ids))
    own = position[query_ids] if exclude_self else None
    finder: DenseSearch | SparseSearch | CellSearch
    if isinstance(left, DenseRows) and isinstance(right, DenseRows):
        finder = DenseSearch(left, right, base_ids, k)
        if wanted(search, len(query_ids), len(base_ids), left.width):
            finder, note = approximate(finder, query_ids, own)
            if notes is not None:
                notes.append(note)
    else:
        finder = SparseSearch(left.sparse(), right.sparse(), base_ids, k, positive_only)
    rows = block or finder.default_block
    for first in range(0, len(query_ids), rows):
        part = slice(first, first + rows)
        ids = query_ids[part]
        neighbours, score = decode(finder.best(ids, None if own is None else own[part]), positive_only)
        indices[ids, : neighbours.shape[1]] = np.where(neighbours >= 0, base_ids[neighbours], -1)
        similarities[ids, : neighbours.shape[1]] = score
    SPENT["approximate" if isinstance(finder, CellSearch) else "exact"] += time.perf_counter() - start
    return indices, similarities


def knn_graph(
    features: Features,
    k: int,
    mask: np.ndarray | None = None,
    *,
    include_self: bool = True,
    weight: str = "binary",
    normalise: str | None = "symmetric-k",
    positive_only: bool = False,
    block: int | None = None,
    search: str = "auto",
    notes: list[str] | None = None,
) -> sp.csr_matrix:
    """The k-NN item graph of one modality, (n, n) float32 CSR; the row of an absent item is empty.

    Args:
        include_self: the item itself is the first of its k neighbours (LATTICE, arXiv 2104.09036, FREEDOM,
            arXiv 2211.06924, and MMHCL, arXiv 2504.16576); otherwise k others.
        weight: "binary", every edge 1 (FREEDOM, MMHCL), or "cosine", the similarity (LATTICE; positive only).
        normalise: "symmetric-k": D^-1/2 S D^-1/2 with the row sums on both sides (S is not symmetric);
            "symmetric": the same of max(S, S^T); "row": D^-1 S; None: S itself.
        search, notes: as `knn`.

    Raises:
        GraphError: as `knn`, or an unknown weight or normalisation.
    """
    if weight not in ("binary", "cosine"):
        raise GraphError(f"unknown weight {weight!r}: expected 'binary' or 'cosine'")
    others = k - 1 if include_self else k
    n = features.shape[0]
    indices = np.empty((n, 0), dtype=np.int64)
    similarities = np.empty((n, 0), dtype=np.float32)
    if others != 0:
        indices, similarities = knn(
            features,
            features,
            others,
            query_mask=mask,
            base_mask=mask,
            exclude_self=True,
            positive_only=positive_only or weight == "cosine",
            block=block,
            search=search,
            notes=notes,
        )
    if include_self:
        own = np.where(as_rows(features, mask, "feature").present, np.arange(n), -1)
        indices = np.column_stack([own, indices])
        similarities = np.column_stack([(own >= 0).astype(np.float32), similarities])
    graph = neighbour_graph(indices, None if weight == "binary" else similarities, n)
    return normalised(graph, normalise)


def membership_graph(
    features: Features, k: int, mask: np.ndarray | None = None, *, notes: list[str] | None = None
) -> sp.csr_matrix:
    """(n, n) float32 CSR: row i marks the k items of largest positive cosine with item i, itself among them unless k
    copies of it come first. The columns are the hyperedges of MMHCL (arXiv 2504.16576)."""
    indices, _ = knn(features, features, k, query_mask=mask, base_mask=mask, positive_only=True, notes=notes)
    return neighbour_graph(indices, None, len(indices))


def neighbour_graph(indices: np.ndarray, weights: np.ndarray | None, n_columns: int) -> sp.csr_matrix:
    """(n, n_columns) float32 CSR of neighbour lists (n, k), -1 for none; edges 1 where weights is None."""
    held = indices >= 0
    indptr = np.concatenate([[0], np.cumsum(held.sum(axis=1))])
    data = np.ones(int(indptr[-1]), np.float32) if weights is None else weights[held].astype(np.float32)
    graph = sp.csr_matrix((data, indices[held], indptr), shape=(len(indices), n_columns))
    graph.sort_indices()
    return graph


def averages(
    lists: Mapping[str, np.ndarray],
    masks: Mapping[str, np.ndarray],
    weights: Mapping[str, float],
    k: int,
    n_columns: int,
) -> sp.csr_array:
    """(n, n_columns) CSR: row i averages, over the modalities that item i has and by their weights, its k nearest items
    by that modality, 1/k each; a row without neighbours is empty.

    Args:
        lists: modality -> (n, k) int64 neighbours, -1 for none.
        masks: modality -> (n,) bool, the items that have it.
    """
    n = len(next(iter(lists.values())))
    total = sp.csr_array((n, n_columns), dtype=np.float32)
    weight = np.zeros(n, dtype=np.float32)
    for name, indices in lists.items():
        total = total + neighbour_graph(indices, None, n_columns) * np.float32(weights[name] / k)
        weight += np.float32(weights[name]) * masks[name]
    scale = np.divide(1, weight, out=np.zeros_like(weight), where=weight > 0)
    total = sp.csr_array(sp.diags_array(scale) @ total)
    total.eliminate_zeros()
    return total


def item_graph(graphs: Sequence[sp.csr_matrix], weights: Sequence[float]) -> sp.csr_matrix:
    """The weighted sum of normalised graphs over the same items, one a modality (FREEDOM, eq. 5)."""
    if len(graphs) != len(weights) or not graphs:
        raise GraphError(f"an item graph needs one weight a graph, got {len(weights)} for {len(graphs)}")
    if len({graph.shape for graph in graphs}) > 1:
        raise GraphError(f"item graphs of different shapes: {[graph.shape for graph in graphs]}")
    total = graphs[0] * float(weights[0])
    for graph, weight in zip(graphs[1:], weights[1:], strict=True):
        total = total + graph * float(weight)
    return canonical(total)
