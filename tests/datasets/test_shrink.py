import numpy as np
import pandas as pd
import pytest

import recsys
from recsys.datasets.shrink import shrunk


@pytest.fixture(scope="module")
def popular():
    """400 users of 20 interactions each, 300 items whose popularity falls as 1 / rank."""
    rng = np.random.default_rng(0)
    weights = 1 / np.arange(1, 301)
    users = np.repeat(np.arange(400), 20)
    items = np.concatenate(
        [rng.choice(300, 20, replace=False, p=weights / weights.sum()) for _ in range(400)]
    )
    clicks = pd.DataFrame({"user": users, "item": items, "at": np.arange(len(users)), "part": "train"})
    clicks.loc[::4, "part"] = "test"
    numbers = pd.DataFrame({"item": np.arange(300), "own": [[float(i), 1.0] for i in range(300)]})
    return recsys.Dataset.from_frame(
        clicks, timestamp="at", label="part", items=numbers, content={"own": "vector"}, name="popular"
    )


def test_a_copy_has_the_same_share_of_everything(popular):
    small = shrunk(popular, 2000)
    assert (small.n_users, small.n_items) == (100, 75)
    assert 1200 < len(small.interactions) <= 2000
    assert not small.interactions.duplicated(["user", "item"]).any()
    assert small.interactions["label"].eq(2).mean() == pytest.approx(0.25, abs=0.05)
    assert set(small.interactions["timestamp"]) <= set(popular.interactions["timestamp"])


def test_items_keep_their_features_and_ranks_of_popularity(popular):
    small = shrunk(popular, 4000)
    assert small.modalities["own"].features[:, 0].tolist() == [float(i) for i in small.item_ids]
    before = popular.interactions["item"].value_counts()
    places = {item: place for place, item in enumerate(popular.item_ids)}
    kept = np.array([before.get(places[item], 0) for item in small.item_ids])
    now = np.bincount(small.interactions["item"], minlength=small.n_items)
    assert np.corrcoef(kept, now)[0, 1] > 0.9
    assert not now[kept == 0].any()


def test_every_item_that_is_popular_enough_is_drawn():
    """1000 users of 4 interactions, all of 500 items equally often: drawn freely, an item in 55 would be left out."""
    clicks = pd.DataFrame({"user": np.repeat(np.arange(1000), 4), "item": np.arange(4000) % 500})
    small = shrunk(recsys.Dataset.from_frame(clicks, name="even"), 1000)
    assert (small.n_users, small.n_items) == (250, 125)
    assert np.bincount(small.interactions["item"], minlength=125).min() >= 6


def test_the_same_seed_draws_the_same_copy(popular):
    one, other = (shrunk(popular, 2000, seed=3).interactions for _ in range(2))
    pd.testing.assert_frame_equal(one, other)


def test_as_many_interactions_as_there_are_is_the_data_set_itself(popular):
    assert shrunk(popular, len(popular.interactions)) is popular
