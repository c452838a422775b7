"""From a block of scores to ranked top-K lists in which ties are known, not hidden.

Items with equal scores form a tie group that stands at consecutive ranks in an unknown order. All that a
metric needs of it is where the group starts, how many items it has (over the whole row, also beyond rank K)
and how many of them are relevant: the metrics are expectations over all orders of each group (McSherry and
Najork, "Computing information retrieval performance measures efficiently in the presence of tied scores",
ECIR 2008). Where nothing ties, every group has one item and the values are the usual ones.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch

LOWEST = torch.finfo(torch.float32).min
"""Score of an item that the model cannot score: below every score, above the masked items (-inf)."""


@dataclass(frozen=True, eq=False)
class RankedHits:
    """What every metric reads: for b users, the tie group at each of the ranks 1..K and its relevant items.

    Attributes:
        start: (b, K) int64, number of items ranked above the group (its first rank, counted from 0).
        size: (b, K) int64, items in the group; 1 where nothing ties, and past the user's last candidate.
        relevant: (b, K) int64, relevant items in the group; 0 past the user's last candidate.
        n_relevant: (b,) int64, relevant items of the user in all, at least 1.
    """

    start: np.ndarray
    size: np.ndarray
    relevant: np.ndarray
    n_relevant: np.ndarray

    @cached_property
    def expected(self) -> np.ndarray:
        """(b, K) float64: probability that the item at this rank is relevant."""
        return self.relevant / self.size

    @cached_property
    def offset(self) -> np.ndarray:
        """(b, K) int64: items of the same group at the ranks before this one."""
        return np.arange(self.start.shape[1]) - self.start

    @cached_property
    def hazard(self) -> np.ndarray:
        """(b, K) float64: probability that this rank is relevant if no rank before it is. In a group of g
        items, m of them relevant, that has shown j irrelevant ones, the next is relevant with m / (g - j)."""
        return np.minimum(self.relevant / (self.size - self.offset), 1.0)

    @cached_property
    def none(self) -> np.ndarray:
        """(b, K + 1) float64: probability that none of the first 0, 1, ..., K ranks is relevant."""
        none = np.ones((len(self.hazard), self.hazard.shape[1] + 1))
        np.cumprod(1.0 - self.hazard, axis=1, out=none[:, 1:])
        return none


def constant_hits(n_candidates: np.ndarray, n_relevant: np.ndarray, k: int) -> RankedHits:
    """The hits of a scorer that scores all candidates alike: one tie group, the chance level.

    Args:
        n_candidates, n_relevant: (b,) int64.
    """
    rank = np.arange(k)
    inside = rank < n_candidates[:, None]
    return RankedHits(
        start=np.where(inside, 0, rank),
        size=np.where(inside, n_candidates[:, None], 1),
        relevant=np.where(inside, n_relevant[:, None], 0),
        n_relevant=n_relevant,
    )


@dataclass(frozen=True, eq=False)
class TopK:
    """The top K of each row, best first, with their tie groups.

    Attributes:
        items: (b, K) int64 columns of the block; in a tie group that crosses rank K an arbitrary choice.
        values: (b, K) float32 scores; -inf past the row's last candidate.
        start, size: (b, K) int64, as in `RankedHits`.
        crossing: row numbers whose last tie group goes on past rank K.
    """

    items: np.ndarray
    values: np.ndarray
    start: np.ndarray
    size: np.ndarray
    crossing: np.ndarray

    def locate(self, rows: np.ndarray, scores: np.ndarray) -> np.ndarray:
        """Where given items stand: the start of their tie group, or K for those outside the top K.

        Args:
            rows: (p,) int64 row of each item.
            scores: (p,) float32 its score in that row.
        """
        k = self.values.shape[1]
        last = self.values[rows, -1]
        ranks = np.full(len(rows), k, dtype=np.int64)
        # Ties with the last rank may be thousands, but they share one group that is already known;
        # above it there are fewer than K items a row, so the comparison below stays small.
        at_last = (scores == last) & (scores > -np.inf)
        ranks[at_last] = self.start[rows[at_last], -1]
        above = np.flatnonzero(scores > last)
        ranks[above] = (self.values[rows[above]] > scores[above, None]).sum(axis=1)
        return ranks


def top_k(scores: torch.Tensor, k: int) -> TopK:
    """Rank each row of `scores` (b, n) float32; -inf marks an item that must never be ranked.

    NaN ranks first (as in torch.topk), so that a caller can find it in column 0 of `values`.
    """
    n_rows, n_items = scores.shape
    taken = min(k + 1, n_items)
    best = scores.topk(taken, dim=1)
    values = best.values.cpu().numpy()
    items = best.indices.cpu().numpy()
    if taken < k + 1:
        values = np.pad(values, ((0, 0), (0, k + 1 - taken)), constant_values=-np.inf)
        items = np.pad(items, ((0, 0), (0, k + 1 - taken)))
    same = (values[:, 1:] == values[:, :-1]) & (values[:, 1:] > -np.inf)
    rank = np.arange(k)
    start = np.broadcast_to(rank, (n_rows, k)).copy()
    size = np.ones((n_rows, k), dtype=np.int64)
    tied = np.flatnonzero(same.any(axis=1))
    if len(tied):
        start[tied], size[tied] = _groups(same[tied])
    crossing = np.flatnonzero(same[:, -1])
    if len(crossing):
        full = _count_equal(scores, crossing, values[crossing, k - 1])
        in_last = start[crossing] == start[crossing, -1:]
        size[crossing] = np.where(in_last, full[:, None], size[crossing])
    return TopK(items[:, :k], values[:, :k], start, size, crossing)


def _groups(same: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Start and size of the tie group at each rank; `same[:, t]`: ranks t and t + 1 tie. The size of a
    group that goes on past the last rank counts only the ranks seen."""
    k = same.shape[1]
    rank = np.arange(k)
    opens = np.ones_like(same)
    opens[:, 1:] = ~same[:, :-1]
    start = np.maximum.accumulate(np.where(opens, rank, 0), axis=1)
    end = np.where(same, k, rank + 1)
    end = np.minimum.accumulate(end[:, ::-1], axis=1)[:, ::-1]
    return start, end - start


def equal_rows(scores: torch.Tensor, rows: np.ndarray, values: np.ndarray) -> torch.Tensor:
    """(r, n) bool: which items of the given rows have exactly the given score."""
    target = torch.as_tensor(values, device=scores.device)[:, None]
    if len(rows) == len(scores):
        return scores == target
    return scores[torch.as_tensor(rows, device=scores.device)] == target


def _count_equal(scores: torch.Tensor, rows: np.ndarray, values: np.ndarray) -> np.ndarray:
    return equal_rows(scores, rows, values).sum(dim=1).cpu().numpy()


def ordered_top_k(scores: torch.Tensor, k: int) -> tuple[np.ndarray, np.ndarray]:
    """(b, k) places and scores of each row's largest, best first, ties in the order of the items."""
    bits = scores.add(0.0).view(torch.int32)  # + 0.0: minus zero is zero
    ordered = torch.where(bits < 0, bits ^ 0x7FFFFFFF, bits).long()
    # One integer a score and its place, so that an ordinary top-k puts ties in order.
    keys = (ordered << 32).sub_(torch.arange(scores.shape[1], device=scores.device))
    places = keys.topk(min(k, scores.shape[1]), dim=1).indices
    return places.cpu().numpy(), scores.gather(1, places).cpu().numpy()
