"""Metrics of what stands in a user's list, relevant or not: one value a user, the expected value over tied orders.

Notation: the list holds L = min(k, candidates) items.
"""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp

from recsys.evaluation.lists import RankedLists, of_each_list, takes


@of_each_list
def novelty(lists: RankedLists, k: int) -> np.ndarray:
    """Mean over the list of -log2(n_i / n), the self-information of item i that n_i of n users took in training, in
    bits; an item that nobody took counts as one that one user took. Zhou et al., Solving the apparent
    diversity-accuracy dilemma of recommender systems, PNAS 107 (2010), arXiv 0808.2670."""
    return lists.mean(lists.facts.information, k)


@of_each_list
def long_tail(lists: RankedLists, k: int) -> np.ndarray:
    """Share of the list that lies outside the most popular fifth of the items with training interactions: the average
    percentage of long-tail items (APLT) of Abdollahpouri, Burke and Mobasher, Managing popularity bias in recommender
    systems with personalized re-ranking, FLAIRS 2019 (arXiv 1901.07555)."""
    return lists.mean((~lists.facts.head).astype(np.float64), k)


@of_each_list
@takes("modality")
def ild(lists: RankedLists, k: int, modality: str) -> np.ndarray:
    """Intra-list distance: mean over the pairs of the list of 1 - cosine of their features in a modality; pairs in
    which an item lacks it are left out, and a list without any pair counts 0. Smyth and McClave, Similarity vs.
    diversity, ICCBR 2001.

    Under ties it is the expected sum over the expected number of pairs. Two items of a tie group of g items, of which
    the list has room for m, are both listed with probability m(m-1) / (g(g-1)).
    """
    rows, has = (lists.of_candidates(part) for part in lists.facts.directions(modality))
    enters, top = lists.enters(k), lists.top
    groups = np.where(lists.listed, enters, 0.0)
    sure = _chosen(lists, groups >= 1.0)
    cut = _chosen(lists, (groups > 0.0) & (groups < 1.0))
    of_sure, of_cut = _Sums(sure, rows, has), _Sums(cut, rows, has)
    # The tie group that the list's end cuts: its size, and the places left to it.
    size, start = top.size[:, k - 1], top.start[:, k - 1]
    if lists.crossing is not None and (ends := enters[top.crossing, -1] > 0).any():
        of_cut.put(top.crossing[ends], _Sums(lists.crossing[ends], rows, has))
    places = np.minimum(lists.length(k) - start, size)
    one = places / size
    both = one * (places - 1) / np.maximum(size - 1, 1)
    cosines = of_sure.within + one * (of_sure.total * of_cut.total).sum(axis=1) + both * of_cut.within
    pairs = of_sure.pairs + one * of_sure.count * of_cut.count + both * of_cut.pairs
    return np.divide(pairs - cosines, pairs, out=np.zeros(len(lists)), where=pairs > 0)


class _Sums:
    """Of each row's chosen items that have a modality: how many, the sum of their unit vectors, and the number of their
    pairs and the sum of these pairs' cosines, (|sum x|^2 - count) / 2."""

    def __init__(self, chosen: sp.csr_array | np.ndarray, rows: np.ndarray | sp.csr_array, has: np.ndarray):
        total = chosen @ rows
        self.total = total.toarray() if sp.issparse(total) else total
        self.count = chosen @ has.astype(np.float64)
        self.pairs = self.count * (self.count - 1) / 2
        self.within = ((self.total * self.total).sum(axis=1) - self.count) / 2

    def put(self, places: np.ndarray, other: _Sums) -> None:
        """Replace the rows at `places`."""
        for name in ("total", "count", "pairs", "within"):
            getattr(self, name)[places] = getattr(other, name)


def _chosen(lists: RankedLists, ranks: np.ndarray) -> sp.csr_array:
    """(b, n) CSR with a one for each item that stands at a chosen rank."""
    rows, places = np.nonzero(ranks)
    columns = lists.top.items[rows, places]
    return sp.csr_array((np.ones(len(rows)), (rows, columns)), shape=(len(lists), lists.scores.shape[1]))


@of_each_list
def serendipity(lists: RankedLists, k: int) -> np.ndarray:
    """Share of the list that is relevant and unexpected: not among the k items that a ranking by training count gives
    the same user. Ge, Delgado-Battenfeld and Jannach, Beyond accuracy: evaluating recommender systems by coverage and
    serendipity, RecSys 2010, with the items of the test as the useful ones; divided by k, as precision is."""
    expected = lists.by_popularity.found(k)
    unexpected = lists.found(k) * (1.0 - expected)
    return np.bincount(lists.pair_row, unexpected, minlength=len(lists)) / k
