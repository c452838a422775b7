"""A written data set reads back as the same data set; `describe` counts what is there."""

import os
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys.datasets.cards import Card, find_card, load_dataset, verify
from recsys.datasets.convert import convert
from recsys.datasets.dataset import Bundles, Dataset, Modality
from recsys.datasets.describe import describe
from recsys.datasets.splits import Split
from recsys.errors import DataError


def assert_same(one: Dataset, other: Dataset) -> None:
    pd.testing.assert_frame_equal(one.interactions, other.interactions)
    pd.testing.assert_frame_equal(one.user_attributes, other.user_attributes, check_index_type=False)
    pd.testing.assert_frame_equal(one.item_attributes, other.item_attributes, check_index_type=False)
    assert (
        one.user_ids.tolist() == other.user_ids.tolist() and one.item_ids.tolist() == other.item_ids.tolist()
    )
    assert list(one.modalities) == list(other.modalities)
    for name, modality in one.modalities.items():
        again = other.modalities[name]
        assert again.is_sparse == modality.is_sparse and again.features.dtype == np.float32
        assert abs(modality.features - again.features).max() == 0
        np.testing.assert_array_equal(modality.mask, again.mask)


def example(seed: int = 0, name: str = "example") -> Dataset:
    """Five users, six items in no sorted order, one dense and one sparse modality."""
    rng = np.random.default_rng(seed)
    pairs = np.sort(rng.choice(30, size=12, replace=False))
    interactions = pd.DataFrame({"user": pairs // 6, "item": pairs % 6})
    interactions["rating"] = rng.integers(1, 6, 12).astype(np.float32)
    interactions["timestamp"] = rng.integers(0, 10**9, 12).astype(np.float64)
    interactions["label"] = rng.integers(0, 3, 12).astype(np.int8)
    image = rng.normal(size=(6, 3)).astype(np.float32)
    mask = np.array([True, True, False, True, True, True])
    image[~mask] = 0
    tags = sp.csr_array(sp.random(6, 40, density=0.2, rng=rng, format="csr", dtype=np.float32))
    tags_mask = np.diff(tags.indptr) > 0
    return Dataset(
        name,
        interactions,
        np.array(["u9", "u10", "é", "u1", "NA"]),
        np.array(["i5", "10", "9", "q", "x y", "z"]),
        {"tags": Modality(tags, tags_mask), "image": Modality(image, mask)},
        pd.DataFrame({"age": [1.0, np.nan, 3.0, 4.0, 5.0]}),
        pd.DataFrame({"title": ["a", "", "c", "d", "e", "f"], "item_id": range(6)}),
    )


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_what_is_written_is_read_back(tmp_path_factory, seed):
    root = tmp_path_factory.mktemp("root")
    dataset = example(seed)
    convert(dataset, root / "copy")
    again = load_dataset("copy", root)
    assert_same(dataset, again)
    assert again.notes == ()  # items outside the mask are known to be missing: nothing to mend


def test_the_card_carries_sums_and_provenance(tmp_path):
    card = convert(example(), tmp_path / "deep" / "copy", like=find_card("tiktok"))
    assert find_card("copy", tmp_path / "deep") == card
    assert card.licence == find_card("tiktok").licence and card.citation == find_card("tiktok").citation
    assert set(verify("copy", tmp_path / "deep")) == {
        "interactions.parquet",
        "users.parquet",
        "items.parquet",
        "tags_feat.npz",
        "tags_mask.npy",
        "image_feat.npy",
        "image_mask.npy",
    }
    assert_same(example(), load_dataset(str(tmp_path / "deep" / "copy" / "card.yaml")))
    assert os.listdir(tmp_path / "deep") == ["copy"]


def test_a_data_set_of_interactions_alone(tmp_path):
    source = Dataset("bare", pd.DataFrame({"user": [0], "item": [1]}), np.array(["a"]), np.array(["x", "y"]))
    convert(source, tmp_path / "bare")
    again = load_dataset("bare", tmp_path)
    assert again.interactions.equals(source.interactions) and again.item_ids.tolist() == ["x", "y"]
    assert again.item_attributes.shape == (2, 0)


def test_an_existing_folder_is_left_alone(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("precious")
    with pytest.raises(DataError, match=r"mine exists already"):
        convert(example(), tmp_path / "mine")
    assert os.listdir(tmp_path / "mine") == ["thesis.txt"]


def test_a_failure_leaves_nothing(tmp_path, monkeypatch):
    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "save", full)
    with pytest.raises(DataError, match=r"cannot be written \(.*No space left on device\); nothing was left"):
        convert(example(), tmp_path / "copy")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["a b", ".x"])
def test_names_must_be_plain(tmp_path, name):
    with pytest.raises(DataError, match="the name must be"):
        convert(example(), tmp_path / name)
    bad = Dataset("d", example().interactions, example().user_ids, example().item_ids, {
        "../up": Modality(np.ones((6, 1), np.float32), np.ones(6, bool))})  # fmt: skip
    with pytest.raises(DataError, match=r"modality '\.\./up'"):
        convert(bad, tmp_path / "copy")


def test_bundles_are_not_lost_in_silence(tmp_path):
    pairs = pd.DataFrame({"bundle": [0, 0], "item": [0, 1]})
    bundled = replace(example(), bundles=Bundles(pairs, np.array(["b"])))
    with pytest.raises(DataError, match="has bundles, which the converted form cannot hold"):
        convert(bundled, tmp_path / "copy")
    assert not (tmp_path / "copy").exists()


def test_describe_counts(tmp_path):
    interactions = pd.DataFrame({"user": [0, 0, 2], "item": [0, 1, 3]})
    mask = np.array([True, False, True, True])
    dataset = Dataset(
        "d",
        interactions,
        np.array(["a", "b", "c"]),
        np.array(["w", "x", "y", "z"]),
        {"image": Modality(np.where(mask[:, None], 1, 0).astype(np.float32).repeat(2, 1), mask)},
    )
    cold = np.array([False, True, True, True])
    rows = [np.array([0]), np.array([1]), np.array([2])]
    split = Split("cold-item", 0, *rows, np.array([False, True, True]), cold, cold, cold)
    found = describe(dataset, {"cold-item": split})
    assert (found["users"], found["items"], found["interactions"]) == (3, 4, 3)
    assert found["sparsity"] == 1 - 3 / 12
    assert (found["users_without_interactions"], found["items_without_interactions"]) == (1, 1)
    assert found["modalities"] == {
        "image": {"width": 2, "items": 3, "coverage": 3 / 4, "sparse": False, "made_from": "unknown"}
    }
    assert found["splits"]["cold-item"] == {
        "train": 1, "valid": 1, "test": 1, "cold_users": 2, "cold_items": 3, "cold_items_in_test": 1,
    }  # fmt: skip


def test_a_card_survives_being_written(tmp_path):
    card = Card(name="a", reader="table", options={"interactions": "é.csv"}, files={"é.csv": None})
    assert Card.model_validate(card.model_dump(mode="json")) == card
