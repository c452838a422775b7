"""A toy data set whose right answer is known: three communities that never mix."""

import numpy as np
import pandas as pd
import pytest

from recsys.datasets.dataset import Dataset, Modality

COMMUNITIES, USERS, ITEMS = 3, 16, 12


@pytest.fixture(scope="session")
def toy() -> Dataset:
    """48 users and 36 items in three communities; each user takes 8 of its community's 12 items.

    Two modalities: `image` (dense) tells the community up to small noise; `tags` (one-hot community) is
    missing for every fifth item. A held-out item of the user's community is the only sensible answer.
    """
    rng = np.random.default_rng(7)
    rows = [
        (c * USERS + u, c * ITEMS + i)
        for c in range(COMMUNITIES)
        for u in range(USERS)
        for i in rng.permutation(ITEMS)[:8]
    ]
    frame = pd.DataFrame(rows, columns=["user", "item"], dtype=np.int64)
    frame["timestamp"] = rng.permutation(len(frame)).astype(np.float64)
    community = np.repeat(np.arange(COMMUNITIES), ITEMS)
    one_hot = np.eye(COMMUNITIES, dtype=np.float32)[community]
    noise = rng.normal(0, 0.05, (len(community), 8))
    image = (np.tile(one_hot, 3)[:, :8] + noise).astype(np.float32)
    present = np.arange(len(community)) % 5 > 0
    return Dataset(
        name="toy",
        interactions=frame.sort_values(["user", "item"], ignore_index=True),
        user_ids=np.array([f"u{n}" for n in range(COMMUNITIES * USERS)]),
        item_ids=np.array([f"i{n}" for n in range(COMMUNITIES * ITEMS)]),
        modalities={
            "image": Modality(image, np.ones(len(image), dtype=bool)),
            "tags": Modality(one_hot * present[:, None], present),
        },
        item_attributes=pd.DataFrame({"title": [f"Item {n}" for n in range(len(community))]}),
    )
