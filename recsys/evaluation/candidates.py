"""Who is ranked among what: users with ground truth, their candidates, and their lists block by block."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp
import torch

from recsys.errors import UserError
from recsys.evaluation.lists import ListStatistics
from recsys.evaluation.ranking import LOWEST, TopK, top_k
from recsys.evaluation.scorers import Scorer


class Candidates:
    """Users with ground truth among some candidate items, and the pairs to find in their lists.

    Attributes:
        users: (b,) int64, ascending.
        truth, seen: (b, n) CSR, a row for each of `users`, a column for each candidate.
        pair_row: (p,) int64, for each pair in `truth`, its position in `users`.
        n_candidates: (b,) int64, candidates that are not masked.
    """

    def __init__(self, truth: sp.csr_array, seen: sp.csr_array, columns: np.ndarray | None = None):
        if columns is not None:
            truth, seen = truth[:, columns], seen[:, columns]
        self.columns = columns
        self.users = np.flatnonzero(np.diff(truth.indptr)).astype(np.int64)
        self.truth, self.seen = truth[self.users], seen[self.users]
        self.n_items = truth.shape[1]
        self.pair_row = np.repeat(np.arange(len(self.users)), np.diff(self.truth.indptr))
        self.n_candidates = self.n_items - np.diff(self.seen.indptr).astype(np.int64)

    def rank(self, scores: torch.Tensor, low: int, high: int, k: int) -> TopK:
        """Top K of users[low:high], whose scores are the rows of `scores` (overwritten)."""
        masked = torch.as_tensor(_flat(self.seen, low, high), device=scores.device)
        flat = scores.view(-1)
        flat.index_fill_(0, masked, -np.inf)
        top = top_k(scores, k)
        bad = np.flatnonzero(np.isnan(top.values[:, 0]))
        if len(bad):
            raise UserError(
                f"scores of user {self.users[low + bad[0]]} are NaN: the model has diverged or its input "
                "holds NaN; check the features, or lower the learning rate"
            )
        last = np.minimum(k, self.n_candidates[low:high]) - 1
        if np.any(top.values[np.arange(high - low), last] == -np.inf):
            # A scorer's own -inf means "lowest", not "masked": such items stay candidates.
            scores.clamp_(min=LOWEST)
            flat.index_fill_(0, masked, -np.inf)
            top = top_k(scores, k)
        return top

    def locate(self, scores: torch.Tensor, top: TopK, low: int, high: int) -> np.ndarray:
        """For each pair of users[low:high]: start of its tie group, or K outside the top K."""
        pairs = torch.as_tensor(_flat(self.truth, low, high), device=scores.device)
        pair_scores = scores.view(-1)[pairs].cpu().numpy()
        first, end = self.truth.indptr[low], self.truth.indptr[high]
        return top.locate(self.pair_row[first:end] - low, pair_scores)


def _flat(matrix: sp.csr_array, low: int, high: int) -> np.ndarray:
    """Flat positions of the entries of rows low..high in the dense block of those rows."""
    indptr = matrix.indptr[low : high + 1].astype(np.int64)
    rows = np.repeat(np.arange(high - low, dtype=np.int64) * matrix.shape[1], np.diff(indptr))
    return rows + matrix.indices[indptr[0] : indptr[-1]]


class ChunkOfLists:
    """Top-K lists of a run of users, in each of the rankings that the groups need.

    What is kept of each block goes into arrays made beforehand: a small array that outlives its block would lie behind
    the block's scores in memory and keep their place from being used again.

    Args:
        rankings: may repeat.
        k: length of the lists.
        users: (c,) int64, ascending, the run's users.
    """

    def __init__(self, rankings: list[Candidates], k: int, users: np.ndarray):
        self._k = k
        # Rankings among fewer candidates come before the one among all, which may mask in place.
        unique = list(dict.fromkeys(rankings))
        self._main = next(r for r in unique if r.columns is None)
        self._rankings = [r for r in unique if r is not self._main]
        self._low: dict[Candidates, int] = {}
        self._tie_groups: dict[Candidates, np.ndarray] = {}
        self._located: dict[Candidates, np.ndarray] = {}
        for ranking in unique:
            low, high = (
                np.searchsorted(ranking.users, users[0]),
                np.searchsorted(ranking.users, users[-1], "right"),
            )
            self._low[ranking] = int(low)
            self._tie_groups[ranking] = np.empty((2, high - low, k), dtype=np.int64)
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
        top = self._rank(self._main, scores, low + len(users))
        if lists.ks:
            lists.add(scores, top)

    def _rank(self, ranking: Candidates, scores: torch.Tensor, high: int) -> TopK:
        low, first = self._next[ranking], self._low[ranking]
        top = ranking.rank(scores, low, high, self._k)
        start, size = self._tie_groups[ranking]
        start[low - first : high - first], size[low - first : high - first] = top.start, top.size
        ends = ranking.truth.indptr[[low, high]] - ranking.truth.indptr[first]
        self._located[ranking][slice(*ends)] = ranking.locate(scores, top, low, high)
        self._next[ranking] = high
        return top

    def of(self, ranking: Candidates) -> tuple[np.ndarray, np.ndarray, np.ndarray, int]:
        """Start and size of the tie groups, (c, K) each as in `RankedHits`, places of the ground truth, and the number
        of the first user."""
        return *self._tie_groups[ranking], self._located[ranking], self._low[ranking]
