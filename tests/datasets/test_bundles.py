"""Bundles in the users' place: the view, its feedback's sources, and splits by bundle."""

from importlib.util import find_spec

import numpy as np
import pandas as pd
import pytest
import torch

from recsys.datasets.bundles import bundle_view, without_features
from recsys.datasets.cards import Card, load_dataset
from recsys.datasets.dataset import Bundles, Dataset, Modality
from recsys.datasets.readers import READERS
from recsys.datasets.splits import default_protocol, make_split, protocols
from recsys.errors import DataError

CONTENTS = [(0, 0), (0, 1), (1, 1), (1, 2), (2, 3), (2, 4), (3, 4)]
"""Bundles 0..3 of items 0..4; bundle 3 holds one item."""
OWNERS = [(0, 0), (0, 1), (1, 2)]
"""User 0 took bundles 0 and 1, user 1 took bundle 2; nobody took bundle 3."""
FEEDBACK = [(0, 0), (0, 1), (0, 2), (1, 3), (1, 4), (1, 0)]
"""What the owners' bundles hold, and user 1 with item 0, which comes from no bundle."""


def tiny() -> Dataset:
    items = pd.DataFrame(CONTENTS, columns=["bundle", "item"], dtype=np.int64)
    owners = pd.DataFrame(OWNERS, columns=["user", "bundle"], dtype=np.int64)
    return Dataset(
        "tiny",
        pd.DataFrame(FEEDBACK, columns=["user", "item"], dtype=np.int64),
        np.array(["a", "b"]),
        np.array(list("vwxyz")),
        bundles=Bundles(items, np.array(["p", "q", "r", "s"]), owners),
    )


def many(n=100, items=60, seed=0) -> Dataset:
    rng = np.random.default_rng(seed)
    rows = [(b, i) for b in range(n) for i in rng.permutation(items)[: 1 + b % 6]]
    frame = pd.DataFrame(rows, columns=["bundle", "item"], dtype=np.int64).sort_values(["bundle", "item"])
    return Dataset(
        "many",
        pd.DataFrame({"user": [0], "item": [0]}),
        np.array(["a"]),
        np.arange(items).astype(str),
        bundles=Bundles(frame.reset_index(drop=True), np.arange(n).astype(str)),
    )


def mask(*numbers, n=4):
    out = np.zeros(n, dtype=bool)
    out[list(numbers)] = True
    return out


def pairs(matrix):
    return set(zip(*(axis.tolist() for axis in matrix.nonzero()), strict=True))


def test_bundles_stand_in_the_users_place():
    view = bundle_view(tiny())
    assert view.user_ids.tolist() == ["p", "q", "r", "s"] and view.item_ids.tolist() == list("vwxyz")
    assert view.lengths.tolist() == [2, 2, 2, 1]
    assert list(zip(view.interactions["user"], view.interactions["item"], strict=True)) == CONTENTS
    assert pairs(view.feedback.matrix) == set(FEEDBACK)
    assert bundle_view(view) is view


def test_a_data_set_without_bundles_says_so():
    plain = Dataset("plain", pd.DataFrame({"user": [0], "item": [0]}), np.array(["a"]), np.array(["v"]))
    with pytest.raises(DataError, match="'plain' has no bundles"):
        bundle_view(plain)


@pytest.mark.parametrize(
    ("bundles", "kept"),
    [
        (mask(0, 1, 2, 3), set(FEEDBACK)),
        (mask(0, 2), set(FEEDBACK) - {(0, 2)}),  # item 1 is in bundle 0 too
        (mask(1), {(0, 1), (0, 2), (1, 0)}),
        (mask(), {(1, 0)}),  # the pair that no bundle tells
    ],
)
def test_feedback_within_bundles_is_what_those_tell(bundles, kept):
    feedback = bundle_view(tiny()).feedback
    assert pairs(feedback.within(bundles).matrix) == kept
    np.testing.assert_array_equal(feedback.within(bundles).sources(bundles), bundles)


def test_sources_name_the_bundles_that_a_pair_can_only_come_from():
    feedback = bundle_view(tiny()).feedback
    np.testing.assert_array_equal(feedback.sources(mask(0, 2)), mask(0, 1, 2))
    np.testing.assert_array_equal(feedback.sources(mask(0, 1)), mask(0, 1, 2))


def test_whole_bundles_train_and_held_out_ones_are_divided():
    view = bundle_view(many())
    split = make_split(view, "random", 3)
    bundles = view.interactions["user"].to_numpy()
    whole = (view.lengths >= 2).sum()
    for part in ("valid", "test"):
        answers = np.bincount(bundles[getattr(split, part)], minlength=view.n_users)
        given = np.bincount(bundles[getattr(split, f"{part}_support")], minlength=view.n_users)
        used = answers > 0
        assert used.sum() == round(0.1 * whole)
        np.testing.assert_array_equal((answers + given)[used], view.lengths[used])
        np.testing.assert_array_equal(given[used], view.lengths[used] // 2)
        assert not given[~used].any()
        assert split.cold_users[used].all()
    single = view.lengths == 1
    assert np.isin(np.flatnonzero(single), bundles[split.train]).all()
    total = sum(len(getattr(split, p)) for p in ("train", "valid", "test", "valid_support", "test_support"))
    assert total == len(view.interactions)


def test_the_seed_decides_the_split():
    view = bundle_view(many())
    one, same, other = (make_split(view, "random", seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one.test, same.test)
    assert set(one.test) != set(other.test)


def test_cold_items_answer_and_are_in_no_training_bundle():
    view = bundle_view(many(300))
    split = make_split(view, "cold-item", 0)
    items, bundles = (view.interactions[c].to_numpy() for c in ("item", "user"))
    for part in ("valid", "test"):
        assert getattr(split, f"{part}_pool")[items[getattr(split, part)]].all()
        support = getattr(split, f"{part}_support")
        assert not (split.valid_pool | split.test_pool)[items[support]].any()
        assert set(bundles[getattr(split, part)]) == set(bundles[support])
    assert not np.isin(items[split.train], items[split.test]).any()


def test_bundles_have_protocols_of_their_own():
    view = bundle_view(many())
    assert default_protocol(view) == "random" and set(protocols(view)) == {
        "predefined",
        "random",
        "cold-item",
        "none",
    }
    with pytest.raises(DataError, match="no split of bundles 'leave-one-out'"):
        make_split(view, "leave-one-out")
    with pytest.raises(DataError, match="no predefined split of bundles"):
        make_split(view, "predefined")
    with pytest.raises(DataError, match=r"given=1\.5: expected a share"):
        make_split(view, "random", given=1.5)


def test_items_that_no_modality_tells_of():
    one = Modality(np.eye(3, 2, dtype=np.float32), np.array([True, True, False]))
    assert without_features([one], 3).tolist() == [False, False, True]
    assert without_features([], 2).tolist() == [True, True]


def write_csv(folder, bundle_item="b1,1\nb1,2\nb2,2\n", user_bundle="u,b1\nu,b9\n"):
    (folder / "bundle_item.csv").write_text("bundle ID,item ID\n" + bundle_item)
    (folder / "user_bundle.csv").write_text("user ID,bundle ID\n" + user_bundle)
    (folder / "user_item.csv").write_text("user ID,item ID\nu,1\nu,2\n")
    (folder / "item_titles.csv").write_text('item ID,titles\n1,"red, fox"\n2,blue fox\n3,\n')
    (folder / "item_categories.csv").write_text('item ID,categories\n1,"[[Fox,Red]]"\n2,"[[Fox]]"\n')


def read_csv(folder, **options):
    return READERS.get("bundle-csv")(folder, Card(name="tiny", reader="bundle-csv", options=options))


def test_empty_bundles_are_left_out_and_single_ones_counted(tmp_path):
    write_csv(tmp_path)
    dataset = read_csv(tmp_path)
    assert dataset.bundles.ids.tolist() == ["b1", "b2"]
    assert any("1 bundles without an item left out" in note for note in dataset.notes)
    assert any("1 bundles hold one item; they only train" in note for note in dataset.notes)


def test_an_item_without_any_feature_is_masked(tmp_path):
    write_csv(tmp_path)
    dataset = read_csv(tmp_path)
    assert dataset.item_attributes["title"].tolist() == ["red, fox", "blue fox", ""]
    assert {name: m.mask.tolist() for name, m in dataset.modalities.items()} == {
        "title": [True, True, False],
        "category": [True, True, False],
    }
    assert without_features(dataset.modalities.values(), 3).tolist() == [False, False, True]


def test_width_0_keeps_the_sparse_weights(tmp_path):
    write_csv(tmp_path)
    modality = read_csv(tmp_path, width=0).modalities["title"]
    assert modality.is_sparse and modality.mask.tolist() == [True, True, False]


def write_clhe(folder, test_gt="3,4\n"):
    (folder / "count.json").write_text('{"#U": 2, "#B": 5, "#I": 5}')
    (folder / "ui_full.txt").write_text("0, 1, 2\n1, 0\n")
    np.save(folder / "bi_train.npy", np.array([[0, 0], [0, 1], [1, 1], [1, 2]]))
    for name, text in (("valid_input", "2,0\n"), ("valid_gt", "2,3\n"), ("test_input", "3 1\n")):
        (folder / f"bi_{name}.txt").write_text(text)
    (folder / "bi_test_gt.txt").write_text(test_gt)
    torch.save(torch.eye(5, 3), folder / "content_feature.pt")


def test_clhe_keeps_its_published_split(tmp_path):
    write_clhe(tmp_path)
    dataset = READERS.get("clhe")(tmp_path, Card(name="tiny", reader="clhe"))
    view = bundle_view(dataset)
    split = make_split(view, default_protocol(view))
    assert split.protocol == "predefined"
    found = {
        part: [tuple(r) for r in view.interactions.iloc[getattr(split, part)][["user", "item"]].to_numpy()]
        for part in ("train", "valid_support", "valid", "test_support", "test")
    }
    assert found == {
        "train": [(0, 0), (0, 1), (1, 1), (1, 2)],
        "valid_support": [(2, 0)],
        "valid": [(2, 3)],
        "test_support": [(3, 1)],
        "test": [(3, 4)],
    }
    assert any("1 bundles without an item" in note for note in dataset.notes)
    assert dataset.modalities["content"].mask.tolist() == [True, True, True, False, False]


def test_clhe_faults_are_named(tmp_path):
    write_clhe(tmp_path, test_gt="3,1\n")
    with pytest.raises(DataError, match="bundle 3 with item 1 lies in two parts"):
        READERS.get("clhe")(tmp_path, Card(name="tiny", reader="clhe"))
    write_clhe(tmp_path, test_gt="3,9\n")
    with pytest.raises(DataError, match=r"bi_test_gt\.txt: line 1: item 9 is beyond the 5 rows of count"):
        READERS.get("clhe")(tmp_path, Card(name="tiny", reader="clhe"))


def test_real_feedback_is_what_the_owners_bundles_hold(shared_data):
    dataset = load_dataset("bundle-electronic", shared_data)
    view = bundle_view(dataset)
    assert (view.n_users, view.n_items, len(view.interactions)) == (1750, 3499, 6165)
    nobody = np.zeros(view.n_users, dtype=bool)
    assert view.feedback.within(nobody).matrix.nnz == 0
    split = make_split(view, "random")
    kept = view.feedback.within(~split.cold_users)
    assert 0 < kept.matrix.nnz < view.feedback.matrix.nnz
    np.testing.assert_array_equal(kept.sources(~split.cold_users), ~split.cold_users)


def test_sentence_vectors_come_from_a_package_or_say_which(tmp_path):
    write_csv(tmp_path)
    if not find_spec("tokenizers") or not find_spec("wordllama"):
        with pytest.raises(DataError, match=r"item_titles\.csv: .* pip install recsys\[text\]"):
            read_csv(tmp_path, text="sentence")
        return
    modality = read_csv(tmp_path, text="sentence").modalities["title"]
    assert modality.features.shape == (3, 256) and modality.mask.tolist() == [True, True, False]
    np.testing.assert_allclose(np.linalg.norm(modality.features[:2], axis=1), 1, rtol=1e-5)
