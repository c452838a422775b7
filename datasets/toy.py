"""A small data set that is made, not read: for examples and first steps."""

from __future__ import annotations

import numpy as np
import pandas as pd

from recsys.datasets.dataset import Dataset

TASTES = {
    "kitchen": ("pan", "kettle", "knife", "bowl", "spoon"),
    "garden": ("rake", "hose", "pot", "seeds", "gloves"),
    "desk": ("lamp", "pen", "paper", "ruler", "stapler"),
}
COLOURS = ("red", "blue", "green", "black")


def toy_data(n_users: int = 90, seed: int = 0) -> Dataset:
    """A shop of 60 products in three departments; each customer likes one of them, and takes other things now and
    then. Products have a title and a department, and every tenth has not been bought yet.

    Args:
        n_users: customers.
        seed: of what they take.

    Stability: stable.

    Example:
        >>> import recsys
        >>> recsys.toy_data()
        <Dataset toy: 90 users, 60 items, 1,080 interactions, modalities: title, department>
    """
    rng = np.random.default_rng(seed)
    rows = [
        (f"{colour} {noun}", kind) for kind, nouns in TASTES.items() for noun in nouns for colour in COLOURS
    ]
    products = pd.DataFrame(rows, columns=["title", "department"])
    products.insert(0, "sku", [f"p{number:02}" for number in range(len(products))])
    kinds = products["department"].factorize()[0]
    offered = np.arange(len(products)) % 10 != 9
    clicks = []
    for user in range(n_users):
        liked = np.where(kinds == user % len(TASTES), 9.0, 1.0) * offered
        taken = rng.choice(len(products), 12, replace=False, p=liked / liked.sum())
        clicks += [(f"u{user}", products["sku"][item], day) for day, item in enumerate(taken)]
    return Dataset.from_frame(
        pd.DataFrame(clicks, columns=["user", "sku", "day"]),
        item="sku",
        timestamp="day",
        items=products,
        content={"title": "text", "department": "category"},
        name="toy",
    )
