"""Metrics: one of each user's list, one of all lists together. Each can be asked for at any cut-off."""

import numpy as np

from recsys.evaluation.hits import RankedHits
from recsys.evaluation.lists import ListStatistics, of_all_lists


def capped_recall(hits: RankedHits, k: int) -> np.ndarray:
    """sum rel_t / min(k, R): the share of what a list of k can hold; a perfect list has 1.
    Liang et al., Variational autoencoders for collaborative filtering, WWW 2018."""
    return hits.expected[:, :k].sum(axis=1) / np.minimum(hits.n_relevant, k)


@of_all_lists
def gini(lists: ListStatistics, k: int) -> float:
    """Gini index of how often items are listed: 0 where all are listed alike, near 1 where few take all."""
    exposure = np.sort(lists.exposure(k))
    n = len(exposure)
    return float((2 * np.arange(1, n + 1) - n - 1) @ exposure / (n * exposure.sum()))
