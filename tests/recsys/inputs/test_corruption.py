"""Content with parts missing, with holes filled, and as a control: who loses what, and what is put in its place."""

from dataclasses import replace

import numpy as np
import pytest
import scipy.sparse as sp
import torch

from recsys.datasets.dataset import Modality
from recsys.datasets.splits import head_items, make_split
from recsys.errors import DataError, UserError
from recsys.inputs.corruption import ContentCorruption, corrupt
from recsys.models import MODELS
from recsys.runs.config import RunConfig
from recsys.runs.run import execute, load_run, prepare

FILLS = ("zero", "mean", "neighbours")


def corrupted(dataset, split="random", seeds=(0, 0), **content):
    made = make_split(dataset, split, 0)
    return corrupt(dataset, made, ContentCorruption(**content), seeds), made


def lost(dataset, changed, name):
    return dataset.modalities[name].mask & ~changed.modalities[name].mask


def test_nothing_asked_is_nothing_done(toy):
    assert corrupted(toy)[0] is toy


@pytest.mark.parametrize("rate", [0.25, 0.5, 1.0])
def test_at_random_each_modality_loses_its_share_and_rates_are_nested(toy, rate):
    changed, _ = corrupted(toy, missing=rate)
    more, _ = corrupted(toy, missing=1.0)
    for name, modality in toy.modalities.items():
        gone = lost(toy, changed, name)
        assert gone.sum() == round(rate * modality.mask.sum())
        assert (lost(toy, more, name) >= gone).all()
        left = changed.modalities[name]
        assert not left.features[~left.mask].any()
        np.testing.assert_array_equal(left.features[left.mask], modality.features[left.mask])
    other, _ = corrupted(toy, missing=rate, seeds=(0, 1))
    assert rate == 1 or (lost(toy, other, "image") != lost(toy, changed, "image")).any()


def test_noise_is_in_standard_deviations_and_one_draw_at_every_level(toy):
    holes = np.arange(toy.n_items) % 3 > 0
    features = np.where(holes[:, None], toy.modalities["image"].features, 0)
    some = replace(toy, modalities=toy.modalities | {"image": Modality(features, holes)})
    for name, modality in some.modalities.items():
        one, two = (corrupted(some, noise=level)[0].modalities[name] for level in (1.0, 2.0))
        before, once, twice = (
            m.features.data if m.is_sparse else m.features[m.mask] for m in (modality, one, two)
        )
        np.testing.assert_allclose(twice - before, 2 * (once - before), rtol=1e-3, atol=1e-5)
        assert (once - before).std() == pytest.approx(before.std(), rel=0.2)
        np.testing.assert_array_equal(one.mask, modality.mask)
        if modality.is_sparse:
            assert one.features.nnz == modality.features.nnz
        else:
            assert not one.features[~one.mask].any()
    assert corrupted(some, noise=1.0, seeds=(0, 1))[0].modalities["image"].features.std() > 0


def test_patterns_touch_whom_they_name(toy):
    gone = {}
    for pattern in ("test", "tail"):
        changed, split = corrupted(toy, "cold-item", missing=1.0, pattern=pattern)
        gone[pattern] = lost(toy, changed, "image")
    counts = np.bincount(toy.matrix(split.train).indices, minlength=toy.n_items)
    np.testing.assert_array_equal(gone["test"], split.cold_items)
    np.testing.assert_array_equal(gone["tail"], (counts > 0) & ~head_items(counts))
    changed, _ = corrupted(toy, missing=1.0, pattern="modality", modality="tags")
    assert not changed.modalities["tags"].mask.any() and changed.modalities["image"].mask.all()


def test_head_items_are_the_most_popular_fifth_of_the_warm():
    assert np.flatnonzero(head_items(np.array([0, 5, 5, 1, 2, 9, 1, 1, 1, 1, 1]))).tolist() == [1, 5]


@pytest.mark.parametrize("sparse", [False, True])
def test_holes_are_filled_with_zeros_means_and_neighbours(toy, sparse):
    """Two items of a community, by hand: a hole's nearest items by its image are its community's."""
    features = toy.modalities["tags"].features
    tags = Modality(sp.csr_array(features) if sparse else features, toy.modalities["tags"].mask)
    dataset = replace(toy, modalities={**toy.modalities, "tags": tags})
    holes, found = ~tags.mask, {}
    for fill in FILLS:
        changed, split = corrupted(dataset, "cold-item", fill=fill)
        made = changed.modalities["tags"]
        assert made.mask.all() and made.is_sparse == sparse
        found[fill] = made.features.toarray() if sparse else made.features
        np.testing.assert_array_equal(found[fill][~holes], features[~holes])
    assert not found["zero"][holes].any()
    bank = tags.mask & ~split.cold_items
    expected = np.broadcast_to(features[bank].mean(0), found["mean"][holes].shape)
    np.testing.assert_allclose(found["mean"][holes], expected, rtol=1e-5)
    community = np.arange(36)[holes] // 12
    assert (found["neighbours"][holes].argmax(1) == community).all()
    # The bank has fewer than ten items of a community, so that others' come in too.
    assert (found["neighbours"][holes].max(1) > 0.5).all()


def test_a_hole_in_the_only_modality_is_filled_by_who_took_the_item_else_by_the_mean(toy):
    only = replace(toy, modalities={"tags": toy.modalities["tags"]})
    changed, split = corrupted(only, "cold-item", fill="neighbours")
    features, mask = toy.modalities["tags"].features, toy.modalities["tags"].mask
    warm, cold = (np.flatnonzero(~mask & who) for who in (~split.cold_items, split.cold_items))
    assert len(warm) and len(cold)
    filled = changed.modalities["tags"].features
    assert (filled[warm].argmax(1) == warm // 12).all()
    mean = features[mask & ~split.cold_items].mean(0)
    np.testing.assert_allclose(filled[cold], np.broadcast_to(mean, (len(cold), 3)), rtol=1e-5)


def test_controls(toy):
    permuted, _ = corrupted(toy, control="permuted")
    for name, modality in toy.modalities.items():
        dealt = permuted.modalities[name]
        key = np.lexsort(dealt.features.T), np.lexsort(modality.features.T)
        np.testing.assert_array_equal(dealt.features[key[0]], modality.features[key[1]])
    deal = [int(title.split()[1]) for title in permuted.item_attributes["title"]]
    assert sorted(deal) == list(range(36)) and deal != list(range(36))
    for name, modality in toy.modalities.items():  # one deal for all
        np.testing.assert_array_equal(permuted.modalities[name].features, modality.features[deal])
        np.testing.assert_array_equal(permuted.modalities[name].mask, modality.mask[deal])
    noise, _ = corrupted(toy, control="gaussian")
    image = noise.modalities["image"].features
    assert image.shape == (36, 8) and abs(image.mean()) < 0.2 and abs(image.std() - 1) < 0.2
    none, _ = corrupted(toy, control="ids")
    assert not any(m.mask.any() or m.features.any() for m in none.modalities.values())
    assert list(none.item_attributes) == [] and len(none.item_attributes) == 36


def test_a_permuted_run_knows_nothing_of_cold_items_and_a_loaded_one_sees_the_same(
    toy, tmp_path, monkeypatch
):
    config = RunConfig(model="contentknn", dataset="toy", split="cold-item")
    figures = {}
    for control in ("", "permuted", "ids"):
        run = prepare(config.model_copy(update={"content": ContentCorruption(control=control)}), toy)
        figures[control] = execute(run, tmp_path / (control or "plain"))["test_cold_pool"]["mrr@10"]
        assert run.dataset is toy
    assert figures[""] > 0.9 and figures["permuted"] < 0.8 and figures["ids"] < 0.8
    monkeypatch.setattr("recsys.runs.config.load_dataset", lambda *_: toy)
    loaded, users = load_run(tmp_path / "permuted"), np.arange(toy.n_users)
    again = prepare(loaded.config, toy)
    again.model.fit()
    np.testing.assert_array_equal(loaded.model.scorer()(users), again.model.scorer()(users))


@pytest.mark.parametrize("name", ["contentknn", "vbpr", "clcrec", "freedom"])
@pytest.mark.parametrize("rate", [0.5, 1.0])
def test_models_are_finite_whatever_is_missing(name, rate, toy, tmp_path):
    settings = {} if name == "contentknn" else {"width": 8, "max_epochs": 2, "batch_size": 64}
    config = RunConfig(
        model=name,
        dataset="toy",
        split="cold-item",
        settings=settings,
        content=ContentCorruption(missing=rate),
    )
    run = prepare(config, toy)
    execute(run, tmp_path / "run")
    assert torch.isfinite(run.model.scorer()(np.arange(toy.n_users))).all()


@pytest.mark.parametrize(
    ("split", "content", "message"),
    [
        ("random", {"missing": 0.5, "pattern": "test"}, "split 'random' has no such item; use another"),
        ("random", {"missing": 0.5, "pattern": "modality"}, "pattern=modality and modality=NAME go together"),
        ("random", {"missing": 0.5, "modality": "image"}, "pattern=modality and modality=NAME go together"),
        ("random", {"missing": 0.5, "pattern": "modality", "modality": "imgae"}, "did you mean 'image'"),
    ],
)
def test_what_cannot_be_altered_is_said(split, content, message, toy):
    with pytest.raises(UserError, match=message):
        corrupted(toy, split, **content)


def test_a_data_set_without_content_cannot_be_altered(toy):
    with pytest.raises(UserError, match="has no item features to corrupt"):
        corrupted(replace(toy, modalities={}), missing=0.5)


def test_which_models_read_content():
    told = {name: MODELS.get(name).reads_content for name in ("pop", "bpr", "lightgcn", "vbpr", "contentknn")}
    assert told == {"pop": False, "bpr": False, "lightgcn": False, "vbpr": True, "contentknn": True}


def test_users_with_more_support_are_asked_the_same(toy):
    """Of 8 interactions the first 3 by time are reserved: 5 are answers, whatever is handed over of the 3."""
    splits = {k: make_split(toy, "cold-user", 1, support=k, reserved=3) for k in (0, 1, 3)}
    users, times = (toy.interactions[name].to_numpy() for name in ("user", "timestamp"))
    held = np.flatnonzero(splits[0].cold_users)
    for k, split in splits.items():
        np.testing.assert_array_equal(split.test, splits[0].test)
        np.testing.assert_array_equal(split.valid, splits[0].valid)
        given = np.concatenate([split.valid_support, split.test_support])
        answers = np.concatenate([split.valid, split.test])
        for user in held:
            assert (users[given] == user).sum() == k and (users[answers] == user).sum() == 5
            before = times[given[users[given] == user]].max(initial=-1)
            assert before < times[answers[users[answers] == user]].min()


def test_items_with_more_shots_are_asked_the_same(toy):
    splits = {k: make_split(toy, "cold-item", 1, support=k, reserved=3) for k in (0, 1, 3)}
    items = toy.interactions["item"].to_numpy()
    held = np.flatnonzero(splits[0].test_pool | splits[0].valid_pool)
    assert splits[0].cold_items[held].all()
    for k, split in splits.items():
        np.testing.assert_array_equal(split.test, splits[0].test)
        np.testing.assert_array_equal(split.valid, splits[0].valid)
        added = np.setdiff1d(split.train, splits[0].train)
        counts = np.bincount(items[added], minlength=toy.n_items)
        assert (counts[held] == k).all() and counts.sum() == k * len(held)
        assert split.cold_items.sum() == (len(held) if k == 0 else 0)


def test_shots_need_a_whole_number(toy):
    with pytest.raises(DataError, match=r"support=-1: expected 0 or more"):
        make_split(toy, "cold-item", 0, support=-1)
    with pytest.raises(DataError, match=r"reserved=1.5: expected 0 or more"):
        make_split(toy, "cold-user", 0, reserved=1.5)


def test_items_with_a_few_shots_are_told_apart(toy, tmp_path):
    config = RunConfig(
        model="pop", dataset="toy", split="cold-item", split_options={"support": 2, "reserved": 2}
    )
    run = prepare(config, toy)
    metrics = execute(run, tmp_path / "run")
    assert not run.split.cold_items.any() and run.split.test_pool.any()
    assert metrics["users"]["test_cold"] == metrics["users"]["test_cold_pool"] > 0
