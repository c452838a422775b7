"""A small data set in the shape of a large one, to measure on it what the large one will cost."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd

from recsys.datasets.dataset import Dataset


def shrunk(dataset: Dataset, interactions: int, seed: int = 0) -> Dataset:
    """A data set with about so many interactions: the same share of the users and of the items, drawn at random, each
    with its features and attributes, and each about as active or as popular as it is.

    Who took what is drawn anew, an item in proportion to its interactions (the configuration model of random graphs),
    so that a small part of a sparse graph is no sparser than the whole. Of a pair drawn twice one is kept. Ratings,
    times and labels are those of interactions drawn at random.

    Args:
        interactions: at most those that there are; `dataset` itself is given back for as many.
        seed: of what is drawn.

    Example:
        >>> import recsys
        >>> small = shrunk(recsys.toy_data(), 540)
        >>> small.n_users, small.n_items, len(small.interactions) <= 540
        (45, 30, True)
    """
    whole = len(dataset.interactions)
    if interactions >= whole:
        return dataset
    rng, share = np.random.default_rng(seed), interactions / whole
    users, items = (
        np.sort(rng.choice(n, max(2, round(share * n)), replace=False)) if n > 2 else np.arange(n)
        for n in (dataset.n_users, dataset.n_items)
    )
    activity = np.bincount(dataset.interactions["user"], minlength=dataset.n_users)[users]
    popularity = np.cumsum(np.bincount(dataset.interactions["item"], minlength=dataset.n_items)[items])
    user = np.repeat(np.arange(len(users)), activity)
    # Every item as often as its share says, but for rounding: drawn freely, more items would be left with none.
    drawn = (rng.permutation(len(user)) + rng.random()) / len(user)
    item = np.searchsorted(popularity, drawn * popularity[-1], side="right")
    keys = np.unique(user * len(items) + item)
    rest = dataset.interactions.drop(columns=["user", "item"])
    rows = rest.iloc[rng.integers(0, whole, len(keys))].reset_index(drop=True)
    pairs = pd.DataFrame({"user": keys // len(items), "item": keys % len(items)})
    return replace(
        dataset,
        interactions=pd.concat([pairs, rows], axis=1),
        user_ids=dataset.user_ids[users],
        item_ids=dataset.item_ids[items],
        modalities={
            name: replace(modality.rows(items), made_of=modality.made_of)
            for name, modality in dataset.modalities.items()
        },
        user_attributes=_rows(dataset.user_attributes, users),
        item_attributes=_rows(dataset.item_attributes, items),
        origin=None,
    )


def _rows(attributes: pd.DataFrame, kept: np.ndarray) -> pd.DataFrame:
    return attributes.iloc[kept].reset_index(drop=True) if len(attributes) else attributes
