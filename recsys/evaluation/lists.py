"""The top-k lists themselves: a block of users' lists, and what all lists together recommend."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import TypeVar

import numpy as np
import scipy.sparse as sp
import torch

from recsys.evaluation.candidates import Candidates
from recsys.evaluation.facts import Facts
from recsys.evaluation.ranking import TopK, equal_rows

Metric = TypeVar("Metric", bound=Callable)


def of_all_lists(metric: Metric) -> Metric:
    """Mark a metric as one of all lists together: `metric(lists: ListStatistics, k: int) -> float`."""
    metric.of_all_lists = True  # type: ignore[attr-defined]
    return metric


def of_each_list(metric: Metric) -> Metric:
    """Mark a metric as one of each list's items, relevant or not: `metric(lists: RankedLists, k: int) -> (b,)`."""
    metric.of_each_list = True  # type: ignore[attr-defined]
    return metric


def takes(kind: str) -> Callable[[Metric], Metric]:
    """Mark a metric as one of something that its name says, as in "ild.image@20"; it gets that name after k.

    Args:
        kind: "modality", "item group" or "user group".
    """

    def mark(metric: Metric) -> Metric:
        metric.takes = kind  # type: ignore[attr-defined]
        return metric

    return mark


def needs(name: str) -> Callable[[Metric], Metric]:
    """Mark a metric of all lists as one that reads each user's value of another one at the same cut-off."""

    def mark(metric: Metric) -> Metric:
        metric.needs = name  # type: ignore[attr-defined]
        return metric

    return mark


class RankedLists:
    """The top-K lists of a block of b users among n candidates, for metrics of what is listed.

    Ties: each order of the items of a tie group is as likely as any other, and values are expectations.

    Args:
        scores: (b, n) masked scores.
        top: their top K.
        facts: of all items.
        candidates, low: the ranking, and the place of the block's first user in it.
        located: for each pair of the block to find, the start of its tie group, K outside the top K.
    """

    def __init__(
        self,
        scores: torch.Tensor,
        top: TopK,
        facts: Facts,
        candidates: Candidates,
        low: int,
        located: np.ndarray,
    ):
        self.scores, self.top, self.facts = scores, top, facts
        self.candidates, self.low, self._located = candidates, low, located

    def __len__(self) -> int:
        return len(self.scores)

    @property
    def users(self) -> np.ndarray:
        """(b,) int64 numbers of the users."""
        return self.candidates.users[self.low : self.low + len(self)]

    def of_candidates(self, values: np.ndarray | sp.csr_array) -> np.ndarray | sp.csr_array:
        """(n, ...) rows of the candidates, of (n_items, ...) rows of all items."""
        columns = self.candidates.columns
        return values if columns is None else values[columns]

    @cached_property
    def ranked(self) -> np.ndarray:
        """(b, K) bool: ranks that hold a candidate; the others lie past the user's last one."""
        return np.asarray(self.top.values > -np.inf)

    @cached_property
    def listed(self) -> np.ndarray:
        """(b, K) bool: ranks whose item is in a tie group that lies within the first K."""
        top = self.top
        in_crossing = np.zeros(top.start.shape, dtype=bool)
        in_crossing[top.crossing] = top.start[top.crossing] == top.start[top.crossing, -1:]
        return self.ranked & ~in_crossing

    @cached_property
    def _lengths(self) -> np.ndarray:
        return self.ranked.cumsum(axis=1)

    def length(self, k: int) -> np.ndarray:
        """(b,) int64: items of the list of k, fewer than k where there are fewer candidates; at least 1."""
        return np.maximum(self._lengths[:, k - 1], 1)

    @cached_property
    def crossing(self) -> np.ndarray | None:
        """(c, n) float64: for each of `top.crossing` a 1 where the item is in the tie group that goes on past rank K;
        None where no group does."""
        top = self.top
        if not len(top.crossing):
            return None
        tied = equal_rows(self.scores, top.crossing, top.values[top.crossing, -1])
        return np.asarray(tied.cpu().numpy(), dtype=np.float64)

    def enters(self, k: int) -> np.ndarray:
        """(b, K) float64: probability that an item of the rank's tie group is in the list of k."""
        return np.clip((k - self.top.start) / self.top.size, 0.0, 1.0)

    def mean(self, values: np.ndarray, k: int) -> np.ndarray:
        """(b,) float64: expected mean over the list of k.

        Args:
            values: (n_items,) float64.
        """
        values = self.of_candidates(values)
        enters = self.enters(k)
        total = (np.where(self.listed, enters, 0.0) * values[self.top.items]).sum(axis=1)
        if self.crossing is not None:
            total[self.top.crossing] += enters[self.top.crossing, -1] * (self.crossing @ values)
        return total / self.length(k)

    @cached_property
    def _pairs(self) -> slice:
        indptr = self.candidates.truth.indptr
        return slice(indptr[self.low], indptr[self.low + len(self)])

    @property
    def pair_row(self) -> np.ndarray:
        """(p,) int64: for each pair to find, its user's place in the block."""
        return self.candidates.pair_row[self._pairs] - self.low

    @property
    def pair_column(self) -> np.ndarray:
        """(p,) its item's column among the candidates."""
        return self.candidates.truth.indices[self._pairs]

    def found(self, k: int) -> np.ndarray:
        """(p,) float64: for each pair to find, the probability that it is in the list of k."""
        inside = self._located < self.top.start.shape[1]
        start = np.where(inside, self._located, 0)
        size = self.top.size[self.pair_row, start]
        return np.where(inside, np.clip((k - start) / size, 0.0, 1.0), 0.0)

    @cached_property
    def by_popularity(self) -> RankedLists:
        """The same users' lists of the same candidates, ranked by training count."""
        row = torch.from_numpy(np.asarray(self.of_candidates(self.facts.item_counts), dtype=np.float32))
        scores = row.repeat(len(self), 1)
        high, k = self.low + len(self), self.top.start.shape[1]
        top = self.candidates.rank(scores, self.low, high, k)
        located = self.candidates.locate(scores, top, self.low, high)
        return RankedLists(scores, top, self.facts, self.candidates, self.low, located)


class ListStatistics:
    """What metrics of all lists together read. Gathers over blocks of users; ties count with the probability that an
    item enters the list, tied items being ordered independently for each user.

    Args:
        ks: the cut-offs.
        facts: of all items and users.
        candidates: the ranking of the whole catalogue.
    """

    def __init__(self, ks: Sequence[int], facts: Facts, candidates: Candidates):
        self.ks = tuple(ks)
        self.facts = facts
        self._candidates = candidates
        shape = len(self.ks), len(facts.item_counts)
        self._log_miss, self._exposure, self._found = np.zeros(shape), np.zeros(shape), np.zeros(shape)
        self._popularity, self._popularity_of_known = np.zeros(len(self.ks)), np.zeros(len(self.ks))
        self._n_users = 0
        self.user_values: Mapping[str, np.ndarray] = {}

    def add(self, lists: RankedLists) -> None:
        """Count one block: lists of at least every k items."""
        top, counts, crossing = lists.top, self.facts.item_counts, lists.crossing
        self._n_users += len(lists)
        known = np.diff(self._candidates.seen.indptr[lists.low : lists.low + len(lists) + 1]) > 0
        for n, k in enumerate(self.ks):
            enters, listed = lists.enters(k), lists.listed
            with np.errstate(divide="ignore"):  # log 0: an item that is surely listed
                np.add.at(self._log_miss[n], top.items[listed], np.log1p(-enters[listed]))
            self._exposure[n] += np.bincount(top.items[listed], enters[listed], minlength=len(counts))
            if crossing is not None:
                # The crossing group is larger than the places left to it, so this probability is below 1.
                share = enters[top.crossing, -1]
                self._log_miss[n] += np.log1p(-share) @ crossing
                self._exposure[n] += share @ crossing
            of_lists = lists.mean(counts, k)
            self._popularity[n] += of_lists.sum()
            self._popularity_of_known[n] += of_lists[known].sum()
            self._found[n] += np.bincount(lists.pair_column, lists.found(k), minlength=len(counts))

    @property
    def item_counts(self) -> np.ndarray:
        """(n_items,) float64: training interactions of each item."""
        return self.facts.item_counts

    @property
    def users(self) -> np.ndarray:
        """(m,) int64: the users whose lists these are."""
        return self._candidates.users

    def listed(self, k: int) -> np.ndarray:
        """(n_items,) float64: probability that the item stands in at least one user's top k."""
        return 1.0 - np.exp(self._log_miss[self.ks.index(k)])

    def exposure(self, k: int) -> np.ndarray:
        """(n_items,) float64: expected number of users whose top k holds the item."""
        return self._exposure[self.ks.index(k)]

    def found(self, k: int) -> np.ndarray:
        """(n_items,) float64: expected number of users whose top k holds the item, among those who have it to find."""
        return self._found[self.ks.index(k)]

    def mean_count(self, k: int) -> float:
        """Mean over users of the mean training count of the items in their top k."""
        return float(self._popularity[self.ks.index(k)] / self._n_users)

    @property
    def wanted(self) -> np.ndarray:
        """(n_items,) int64: users who have the item to find."""
        return np.bincount(self._candidates.truth.indices, minlength=len(self.item_counts))

    @property
    def candidates(self) -> np.ndarray:
        """(n_items,) int64: users to whom the item can be recommended."""
        seen = np.bincount(self._candidates.seen.indices, minlength=len(self.item_counts))
        return len(self.users) - seen

    def mean_counts_of_known(self, k: int) -> tuple[float, float]:
        """Mean training count of the items in a user's top k, and of those that the user is known to have, each the
        mean over users who have any."""
        seen = self._candidates.seen
        sizes = np.diff(seen.indptr)
        has = sizes > 0
        known = (seen @ self.item_counts)[has] / sizes[has]
        of_lists = self._popularity_of_known[self.ks.index(k)] / max(has.sum(), 1)
        return float(of_lists), float(known.mean()) if has.any() else 0.0
