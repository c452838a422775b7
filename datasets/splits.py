"""Splits: which interactions train, validate and test, and which users and items are cold."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

NO_ROWS = np.empty(0, dtype=np.int64)


@dataclass(frozen=True, eq=False)
class Split:
    """Row numbers into `Dataset.interactions`, disjoint, sorted.

    Attributes:
        protocol, seed: how the split was made.
        train, valid, test: int64 row numbers.
        valid_support, test_support: interactions handed over at evaluation time only (cold-user protocol):
            a cold user's history, never trained on, never counted as an answer.
        cold_users: (n_users,) bool, users without a training interaction.
        cold_items: (n_items,) bool, items without a training interaction.
        valid_pool, test_pool: (n_items,) bool, the cold items that "ranked among cold items" ranks in that part.
    """

    protocol: str
    seed: int
    train: np.ndarray
    valid: np.ndarray
    test: np.ndarray
    cold_users: np.ndarray
    cold_items: np.ndarray
    valid_pool: np.ndarray
    test_pool: np.ndarray
    valid_support: np.ndarray = NO_ROWS
    test_support: np.ndarray = NO_ROWS
