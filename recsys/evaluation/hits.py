"""Where a user's relevant items stand in a ranking in which ties are known, not hidden: what metrics read.

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
