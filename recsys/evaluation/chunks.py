"""Lists of a run of users, block by block, in each of the rankings that an evaluation needs."""

from __future__ import annotations

import numpy as np
import torch

from recsys.evaluation.candidates import Candidates
from recsys.evaluation.facts import Facts
from recsys.evaluation.lists import ListStatistics, RankedLists
from recsys.evaluation.metrics import MetricName
from recsys.evaluation.scorers import Scorer


class ChunkOfLists:
    """Top-K lists of a run of users, in each of the rankings that the groups need.

    What is kept of each block goes into arrays made beforehand: a small array that outlives its block would lie behind
    the block's scores in memory and keep their place from being used again.

    Args:
        rankings: may repeat.
        k: length of the lists.
        users: (c,) int64, ascending, the run's users.
        facts: of all items.
        metrics: metrics of each list's items.
    """

    def __init__(
        self,
        rankings: list[Candidates],
        k: int,
        users: np.ndarray,
        facts: Facts,
        metrics: list[MetricName],
    ):
        self._k, self._facts, self._metrics = k, facts, metrics
        # Rankings among fewer candidates come before the one among all, which may mask in place.
        unique = list(dict.fromkeys(rankings))
        self._main = next(r for r in unique if r.columns is None)
        self._rankings = [r for r in unique if r is not self._main]
        self._low: dict[Candidates, int] = {}
        self._tie_groups: dict[Candidates, np.ndarray] = {}
        self._located: dict[Candidates, np.ndarray] = {}
        self._values: dict[Candidates, np.ndarray] = {}
        for ranking in unique:
            low, high = (
                np.searchsorted(ranking.users, users[0]),
                np.searchsorted(ranking.users, users[-1], "right"),
            )
            self._low[ranking] = int(low)
            self._tie_groups[ranking] = np.empty((2, high - low, k), dtype=np.int64)
            self._values[ranking] = np.empty((high - low, len(metrics)))
            self._located[ranking] = np.empty(
                int(np.diff(ranking.truth.indptr[[low, high]])[0]), dtype=np.int64
            )
        self._next = dict(self._low)

    def add(self, users: np.ndarray, scorer: Scorer, lists: ListStatistics) -> None:
        """Score and rank the next users, ascending."""
        scores = scorer(users).float().contiguous()
        for ranking in self._rankings:
            low = self._next[ranking]
            high = int(np.searchsorted(ranking.users, users[-1], side="right"))
            if high > low:
                rows = torch.as_tensor(np.searchsorted(users, ranking.users[low:high]), device=scores.device)
                columns = torch.as_tensor(ranking.columns, device=scores.device)
                self._rank(ranking, scores[rows[:, None], columns], high)
        low = self._next[self._main]
        ranked = self._rank(self._main, scores, low + len(users))
        if lists.ks:
            lists.add(ranked)

    def _rank(self, ranking: Candidates, scores: torch.Tensor, high: int) -> RankedLists:
        low, first = self._next[ranking], self._low[ranking]
        top = ranking.rank(scores, low, high, self._k)
        start, size = self._tie_groups[ranking]
        start[low - first : high - first], size[low - first : high - first] = top.start, top.size
        ends = ranking.truth.indptr[[low, high]] - ranking.truth.indptr[first]
        located = ranking.locate(scores, top, low, high)
        self._located[ranking][slice(*ends)] = located
        self._next[ranking] = high
        lists = RankedLists(scores, top, self._facts, ranking, low, located)
        for column, metric in enumerate(self._metrics):
            self._values[ranking][low - first : high - first, column] = metric.of(lists)
        return lists

    def of(self, ranking: Candidates) -> tuple[np.ndarray, np.ndarray, np.ndarray, int]:
        """Start and size of the tie groups, (c, K) each as in `RankedHits`, places of the ground truth, and the number
        of the first user."""
        return *self._tie_groups[ranking], self._located[ranking], self._low[ranking]

    def values(self, ranking: Candidates) -> np.ndarray:
        """(c, metrics) float64: values of the metrics of each list's items."""
        return self._values[ranking]
