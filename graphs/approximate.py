"""The approximate search under `knn`: FAISS proposes candidates from the cells of an inverted file, float64 cosines
decide among them.

The base is cut into about sqrt(n) cells by k-means ("Billion-scale similarity search with GPUs", Johnson et al.,
arXiv 1702.08734), and a query is compared with the rows of the few cells nearest to it. How many is measured: on a
sample of the queries the number doubles until the exact neighbours are found, and on another sample the recall of what
is given back is measured and told.
"""

from __future__ import annotations

from importlib.util import find_spec
from math import isqrt

import numpy as np
import torch
from threadpoolctl import threadpool_limits
from torch import Tensor

from recsys.graphs.similarity import HIDDEN, DenseSearch
from recsys.optional_imports import require

EXACT_WORK = 2**42
"""Multiplications (pairs of rows times width) that the exact search does at most: two minutes on two cores of 2020."""
WANTED, SAMPLE = 0.98, 1000
"""Recall that the number of cells is raised to, and queries that it is measured on."""
MOST = 16
"""Of one cell in so many the comparisons take as long as the exact search's blocks."""
POINTS = 64
"""Rows a cell that k-means sees."""
SEED = 0


def wanted(search: str, queries: int, base: int, width: int) -> bool:
    """Whether `search`, as in `knn`, means the approximate one for so many pairs."""
    return search == "approximate" or (search == "auto" and queries * base * width > EXACT_WORK)


def approximate(
    exact: DenseSearch, ids: np.ndarray, own: np.ndarray | None
) -> tuple[DenseSearch | CellSearch, str]:
    """What is to answer in place of `exact`, and a note of how well it does.

    It is `exact` itself where FAISS is not installed, and where so many cells would have to be searched that nothing
    is saved.

    Args:
        ids: (n,) the queries.
        own: (n,) positions that a query must not find; None: none.
    """
    rows = f"nearest neighbours of {len(ids):,} rows among {len(exact.base_ids):,}"
    if find_spec("faiss") is None:
        return (
            exact,
            f"{rows}: exact search, for FAISS is missing; pip install 'recsys[faiss]' for a faster one",
        )
    search = CellSearch(exact)
    drawn = np.random.default_rng(SEED).permutation(len(ids))[: 2 * SAMPLE]
    tuning, testing = drawn[::2], drawn[1::2] if len(drawn) > 1 else drawn
    truth = _of_sample(exact, ids, own, tuning)
    while recall(_of_sample(search, ids, own, tuning), truth) < WANTED:
        search.probes *= 2
        if search.probes * MOST > search.cells:
            return exact, f"{rows}: exact search, for an approximate one of these features would be no faster"
    found = recall(_of_sample(search, ids, own, testing), _of_sample(exact, ids, own, testing))
    return search, (
        f"{rows}: approximate search, recall {found:.3f} on {len(testing):,} of them "
        f"(FAISS {search.faiss.__version__}, {search.probes} of {search.cells:,} cells)"
    )


def recall(found: Tensor, truth: Tensor) -> float:
    """Share of the keys of `truth` (n, k) that are in the same row of `found` (n, k).

    Example:
        >>> recall(torch.tensor([[3, 2], [5, 4]]), torch.tensor([[3, 1], [5, 4]]))
        0.75
    """
    held = [row[row != HIDDEN] for row in truth.numpy()]
    hits = sum(int(np.isin(*pair).sum()) for pair in zip(held, found.numpy(), strict=True))
    return hits / max(sum(map(len, held)), 1)


def _of_sample(
    search: DenseSearch | CellSearch, ids: np.ndarray, own: np.ndarray | None, places: np.ndarray
) -> Tensor:
    """(n, k) keys of the queries at `places`, in blocks."""
    parts = np.split(places, range(search.default_block, len(places), search.default_block))
    return torch.cat([search.best(ids[part], None if own is None else own[part]) for part in parts])


class CellSearch:
    """A FAISS inverted file over the base of an exact search, with the same answer to `best`."""

    default_block = 2**14

    def __init__(self, exact: DenseSearch) -> None:
        self.exact, self.probes = exact, 1
        rows = exact.columns.T.numpy()
        self.cells = isqrt(len(rows))
        self.faiss = require("faiss", "faiss")
        flat = self.faiss.IndexFlatIP(rows.shape[1])
        self.index = self.faiss.IndexIVFFlat(flat, rows.shape[1], self.cells, self.faiss.METRIC_INNER_PRODUCT)
        self.index.cp.seed, self.index.cp.min_points_per_centroid = SEED + 1, 1
        self.index.cp.max_points_per_centroid = POINTS
        drawn = np.random.default_rng(SEED).permutation(len(rows))[: POINTS * self.cells]
        # The cells must not depend on the number of threads.
        with threadpool_limits(1):
            self.index.train(rows[np.sort(drawn)])
            self.index.add(rows)

    def best(self, ids: np.ndarray, own: np.ndarray | None) -> Tensor:
        """The k largest keys of queries `ids`, (b, k), descending, of those found; positions `own` are hidden."""
        self.faiss.omp_set_num_threads(torch.get_num_threads())
        self.index.nprobe = self.probes
        unit = self.exact.queries.unit(ids).numpy()
        value, position = map(torch.from_numpy, self.index.search(unit, self.exact.candidates))
        gone = position < 0
        if own is not None:
            gone |= position == torch.from_numpy(own)[:, None]
        keys = self.exact.rescore(ids, value.masked_fill_(gone, -torch.inf), position.clamp_(min=0))
        return keys.topk(self.exact.k, dim=1).values
