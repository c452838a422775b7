"""The largest of many scores, without torch: as `recsys.evaluation.ranking.ordered_top_k`."""

from __future__ import annotations

import numpy as np

GROUP = 64
"""Columns whose largest score stands for them while the largest of many are sought."""


def top_k(scores: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """(b, k) places and scores of each row's largest, best first, ties in the order of the items.

    Example:
        >>> top_k(np.array([[1.0, 3.0, 3.0]], dtype=np.float32), 2)[0].tolist()
        [[1, 2]]
    """
    b, n = scores.shape
    groups = n // GROUP
    if groups < 2 * k:
        return _top_k(scores, k)
    # The k-th largest of the groups' largest is no larger than the k-th largest score: what is below cannot matter.
    largest = scores[:, : groups * GROUP].reshape(b, groups, GROUP).max(axis=2)
    least = np.partition(largest, groups - k, axis=1)[:, groups - k]
    places, values = np.empty((b, k), dtype=np.int64), np.empty((b, k), dtype=np.float32)
    for row, limit in enumerate(least):
        kept = np.flatnonzero(scores[row] >= limit)
        chosen, best = _top_k(scores[row][kept][None], k)
        places[row], values[row] = kept[chosen[0]], best[0]
    return places, values


def _top_k(scores: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """`top_k` by one integer a score and its place, which an ordinary partition puts in order."""
    bits = (np.ascontiguousarray(scores, dtype=np.float32) + np.float32(0)).view(
        np.int32
    )  # minus zero is zero
    ordered = np.where(bits < 0, bits ^ np.int32(0x7FFFFFFF), bits).astype(np.int64)
    keys = (ordered << 32) - np.arange(scores.shape[1])
    k = min(k, scores.shape[1])
    if k < keys.shape[1]:
        places = np.argpartition(keys, -k, axis=1)[:, -k:]
    else:
        places = np.broadcast_to(np.arange(k), keys.shape)
    order = np.argsort(-np.take_along_axis(keys, places, axis=1), axis=1)
    places = np.take_along_axis(places, order, axis=1)
    return places, np.take_along_axis(scores, places, axis=1)
