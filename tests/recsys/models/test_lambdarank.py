"""LambdaRank's features against slow loops, and what it says where LightGBM is missing."""

import sys
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from recsys.datasets.splits import make_split
from recsys.errors import UserError
from recsys.inputs.training_data import TrainingData
from recsys.models.cold_start.lambdarank import LambdaRank, LambdaRankSettings


def model_of(dataset, split="cold-item", **settings):
    data = TrainingData.of(dataset, make_split(dataset, split))
    return LambdaRank(LambdaRankSettings(**({"trees": 5, "least": 5} | settings)), data, 0)


@pytest.fixture(scope="module")
def told(toy):
    users = pd.DataFrame({"colour": np.repeat(["red", "green", "blue"], 16), "age": np.arange(48.0)})
    return replace(toy, user_attributes=users)


def test_training_rows_leave_out_what_the_interaction_tells_of_itself(told, naive):
    model = model_of(told, withheld=0.0, negatives=1)
    data, image = model.data, naive.unit(told.modalities["image"])
    users, items = (np.array(ids[:6]) for ids in data.interactions.nonzero())
    other = np.array(
        [np.setdiff1d(np.flatnonzero(data.warm_items), data.interactions[[u]].indices)[0] for u in users]
    )
    model.context = model.context[:6]
    pairs = np.column_stack([items, other]).ravel()
    label = np.tile([True, False], 6)
    rows_of = model._training_features(np.repeat(users, 2), pairs, label, np.random.default_rng(0))
    rows = rows_of(slice(0, 12))
    np.testing.assert_array_equal(np.concatenate([rows_of(slice(0, 5)), rows_of(slice(5, 12))]), rows)
    assert rows.shape == (
        12,
        3 + 1 + 1 + 2 + 8 + 3 + 1 + 2,
    )  # colours, age, others, context, content, count, near
    for row, user, item, taken in zip(rows, np.repeat(users, 2), pairs, label, strict=True):
        others = np.setdiff1d(data.interactions[[user]].indices, [item])
        assert row[4] == data.interactions[[user]].nnz - 1
        count = data.item_counts()[item] - taken
        assert row[-3] == count
        assert row[-2] == pytest.approx(np.mean(image[others] @ image[item]), abs=1e-5)
        assert row[3] == float(told.user_attributes["age"][user])
        np.testing.assert_array_equal(
            row[:3], np.array(["blue", "green", "red"]) == told.user_attributes["colour"][user]
        )


def test_scores_do_not_depend_on_the_block(told, monkeypatch):
    model = model_of(told)
    model.fit()
    users = np.arange(told.n_users)
    whole = model.scorer()(users)
    monkeypatch.setattr("recsys.models.cold_start.lambdarank.BLOCK", 1)
    np.testing.assert_array_equal(model.scorer()(users).numpy(), whole.numpy())


def test_no_negative_was_taken(told):
    model = model_of(told, negatives=3)
    users, _ = model.data.interactions.nonzero()
    taken = model.data.interactions.toarray()
    for drawn in model._not_taken(users, np.random.default_rng(0)):
        assert not taken[users, drawn].any() and model.data.warm_items[drawn].all()


def test_context_is_used_where_there_is_one_or_one_is_asked_for(told):
    assert model_of(told).context.shape == (
        TrainingData.of(told, make_split(told, "cold-item")).interactions.nnz,
        2,
    )
    assert model_of(told, context=False).context is None
    timeless = replace(told, interactions=told.interactions.drop(columns="timestamp"))
    assert model_of(timeless, context=None).context is None
    with pytest.raises(UserError, match="context=true needs interactions with timestamps"):
        model_of(timeless, context=True)


def test_says_what_to_install(told, monkeypatch):
    monkeypatch.setitem(sys.modules, "lightgbm", None)
    with pytest.raises(UserError, match=r"pip install 'recsys\[lightgbm\]'"):
        model_of(told)


def test_rows_beyond_memory_are_refused(told, monkeypatch):
    model = model_of(told)
    monkeypatch.setattr("recsys.memory.available", lambda: 1000)
    with pytest.raises(UserError, match=r"LambdaRank on .* rows needs .* fewer --set negatives \(now 10\)"):
        model.fit()
