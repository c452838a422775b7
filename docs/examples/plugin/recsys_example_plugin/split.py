"""A split: row numbers of the interactions that train, validate and test."""

from typing import Annotated

import numpy as np

from recsys.datasets.dataset import Dataset


def every_nth(
    dataset: Dataset,
    rng: np.random.Generator,
    *,
    nth: Annotated[int, "of so many interactions of a user one tests and one validates"] = 5,
) -> dict[str, np.ndarray]:
    """Of each user's interactions, from a random one on, every nth tests and the next one validates."""
    users = dataset.interactions["user"].to_numpy()
    first = np.searchsorted(users, users)  # interactions are sorted by user
    place = (np.arange(len(users)) - first + rng.integers(nth)) % nth
    return {
        "test": np.flatnonzero(place == 0),
        "valid": np.flatnonzero(place == 1),
        "train": np.flatnonzero(place > 1),
    }
