"""What all the top-k lists together recommend: catalogue coverage and popularity."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np
import torch

from recsys.evaluation.ranking import TopK, equal_rows

Metric = TypeVar("Metric", bound=Callable)


def of_all_lists(metric: Metric) -> Metric:
    """Mark a metric as one of all lists together: `metric(lists: ListStatistics, k: int) -> float`."""
    metric.of_all_lists = True  # type: ignore[attr-defined]
    return metric


class ListStatistics:
    """What metrics of all lists together read. Gathers over blocks of users; ties count with the probability that an
    item enters the list, tied items being ordered independently for each user.

    Args:
        ks: the cut-offs.
        item_counts: (n_items,) training interactions of each item.
    """

    def __init__(self, ks: Sequence[int], item_counts: np.ndarray):
        self.ks = tuple(ks)
        self._counts = np.asarray(item_counts, dtype=np.float64)
        self._log_miss = np.zeros((len(self.ks), len(self._counts)))
        self._exposure = np.zeros((len(self.ks), len(self._counts)))
        self._popularity = np.zeros(len(self.ks))
        self._n_users = 0

    def add(self, scores: torch.Tensor, top: TopK) -> None:
        """Count one block: its masked scores (b, n_items) and their top K, K at least every k."""
        self._n_users += len(scores)
        in_crossing = np.zeros(top.start.shape, dtype=bool)
        in_crossing[top.crossing] = top.start[top.crossing] == top.start[top.crossing, -1:]
        listed = (top.values > -np.inf) & ~in_crossing
        length = (top.values > -np.inf).cumsum(axis=1)
        crossing = self._crossing_groups(scores, top)
        for n, k in enumerate(self.ks):
            enters = np.clip((k - top.start) / top.size, 0.0, 1.0)
            weight = np.where(listed, enters, 0.0)
            with np.errstate(divide="ignore"):  # log 0: an item that is surely listed
                np.add.at(self._log_miss[n], top.items[listed], np.log1p(-enters[listed]))
            self._exposure[n] += np.bincount(top.items[listed], enters[listed], minlength=len(self._counts))
            per_user = (weight * self._counts[top.items]).sum(axis=1)
            if crossing is not None:
                # The crossing group is larger than the places left to it, so this probability is below 1.
                share = enters[top.crossing, -1]
                self._log_miss[n] += np.log1p(-share) @ crossing
                self._exposure[n] += share @ crossing
                per_user[top.crossing] += share * (crossing @ self._counts)
            self._popularity[n] += (per_user / np.maximum(length[:, k - 1], 1)).sum()

    def _crossing_groups(self, scores: torch.Tensor, top: TopK) -> np.ndarray | None:
        if not len(top.crossing):
            return None
        return equal_rows(scores, top.crossing, top.values[top.crossing, -1]).cpu().numpy().astype(np.float64)

    @property
    def item_counts(self) -> np.ndarray:
        """(n_items,) float64: training interactions of each item."""
        return self._counts

    def listed(self, k: int) -> np.ndarray:
        """(n_items,) float64: probability that the item stands in at least one user's top k."""
        return 1.0 - np.exp(self._log_miss[self.ks.index(k)])

    def exposure(self, k: int) -> np.ndarray:
        """(n_items,) float64: expected number of users whose top k holds the item."""
        return self._exposure[self.ks.index(k)]

    def mean_count(self, k: int) -> float:
        """Mean over users of the mean training count of the items in their top k."""
        return float(self._popularity[self.ks.index(k)] / self._n_users)


@of_all_lists
def coverage(lists: ListStatistics, k: int) -> float:
    """Expected share of the catalogue that stands in at least one user's top k.
    Herlocker et al., Evaluating collaborative filtering recommender systems, ACM TOIS 22 (2004)."""
    return float(lists.listed(k).mean())


@of_all_lists
def popularity(lists: ListStatistics, k: int) -> float:
    """Mean over users of the mean training count of the items in their top k."""
    return lists.mean_count(k)
