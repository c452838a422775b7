"""A toy set of bundles whose right completion is known: three kinds of bundles that never mix."""

import numpy as np
import pandas as pd
import pytest

from recsys.datasets.dataset import Bundles, Dataset, Modality

KINDS, BUNDLES, ITEMS = 3, 20, 12


@pytest.fixture(scope="session")
def bundled() -> Dataset:
    """60 bundles of 4 of their kind's 12 items, taken by 30 users; what users took is what their bundles hold.
    Item 36 is in no bundle and has no feature."""
    rng = np.random.default_rng(5)
    rows = [
        (kind * BUNDLES + b, kind * ITEMS + i)
        for kind in range(KINDS)
        for b in range(BUNDLES)
        for i in rng.permutation(ITEMS)[:4]
    ]
    items = pd.DataFrame(rows, columns=["bundle", "item"], dtype=np.int64).sort_values(["bundle", "item"])
    items = items.reset_index(drop=True)
    owners = pd.DataFrame({"user": np.arange(60) // 2, "bundle": np.arange(60)})
    feedback = owners.merge(items, on="bundle")[["user", "item"]].drop_duplicates()
    n = KINDS * ITEMS + 1
    kinds = np.eye(KINDS, dtype=np.float32)[np.minimum(np.arange(n) // ITEMS, KINDS - 1)]
    features = (np.tile(kinds, 2) + rng.normal(0, 0.05, (n, 6))).astype(np.float32)
    present = np.arange(n) < n - 1
    return Dataset(
        "bundled",
        feedback.sort_values(["user", "item"], ignore_index=True),
        np.array([f"u{k}" for k in range(30)]),
        np.array([f"i{k}" for k in range(n)]),
        {"look": Modality(features * present[:, None], present)},
        item_attributes=pd.DataFrame({"title": [f"Item {k}" for k in range(n)]}),
        bundles=Bundles(items, np.array([f"b{k}" for k in range(60)]), owners),
    )
