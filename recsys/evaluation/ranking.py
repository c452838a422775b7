"""From a block of scores to ranked top-K lists with their tie groups, as `recsys.evaluation.hits` explains them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch


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
