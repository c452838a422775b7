"""Every protocol: parts that are disjoint, cold entities that are cold, shares that are met."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys.datasets import SPLITS
from recsys.datasets.dataset import Dataset
from recsys.datasets.splits import OF_BUNDLES, default_protocol, make_split
from recsys.errors import DataError

CONTRACT = ("predefined", "random", "temporal", "leave-one-out", "cold-item", "cold-user", "none")


def dataset(users, items, label=None, timestamp=None, n_items=None):
    frame = pd.DataFrame({"user": np.asarray(users, np.int64), "item": np.asarray(items, np.int64)})
    if timestamp is not None:
        frame["timestamp"] = np.asarray(timestamp, np.float64)
    if label is not None:
        frame["label"] = np.asarray(label, np.int8)
    n = (max(users) + 1, n_items or max(items) + 1)
    ids = [np.array([str(i) for i in range(m)]) for m in n]
    return Dataset("small", frame, *ids)


def crowd(seed=0, n_users=40, n_items=30, per_user=10):
    rng = np.random.default_rng(seed)
    items = np.concatenate([rng.permutation(n_items)[:per_user] for _ in range(n_users)])
    users = np.repeat(np.arange(n_users), per_user)
    label = np.tile(np.repeat([0, 1, 2], [per_user - 2, 1, 1]), n_users)
    return dataset(users, items, label, rng.permutation(len(users)), n_items)


def test_every_protocol_has_a_contract_line():
    assert {name for name in SPLITS.builtin if not name.startswith(OF_BUNDLES)} == set(CONTRACT)


@pytest.mark.parametrize("protocol", CONTRACT)
def test_contract(protocol):
    data = crowd()
    split = make_split(data, protocol, seed=1)
    parts = [split.train, split.valid, split.test, split.valid_support, split.test_support]
    rows = np.concatenate(parts)
    assert len(set(rows.tolist())) == len(rows) == len(data.interactions)
    assert all((np.diff(part) > 0).all() for part in parts)
    users, items = (data.interactions[c].to_numpy() for c in ("user", "item"))
    assert not split.cold_items[items[split.train]].any()
    assert not split.cold_users[users[split.train]].any()
    assert split.cold_items.sum() + len(set(items[split.train])) == data.n_items
    again = make_split(data, protocol, seed=1)
    for field in dataclasses.fields(split):
        assert np.array_equal(getattr(split, field.name), getattr(again, field.name))
    with pytest.raises(ValueError, match="read-only"):
        split.train[0] = 1


@pytest.mark.parametrize(
    "protocol", sorted(set(CONTRACT) - {"predefined", "temporal", "leave-one-out", "none"})
)
def test_another_seed_is_another_split(protocol):
    data = crowd()
    assert not np.array_equal(make_split(data, protocol, 0).test, make_split(data, protocol, 1).test)


def test_random_is_eight_to_one_to_one_for_each_user():
    data = crowd()
    split = make_split(data, "random", 3)
    users = data.interactions["user"].to_numpy()
    for part, count in ((split.train, 8), (split.valid, 1), (split.test, 1)):
        assert (np.bincount(users[part], minlength=40) == count).all()


def test_a_user_with_two_interactions_only_trains():
    data = dataset([0, 0, 1, 1, 1], [0, 1, 0, 1, 2])
    split = make_split(data, "random")
    assert data.interactions["user"].to_numpy()[split.train].tolist().count(0) == 2
    assert len(split.valid) == len(split.test) == 1


def test_temporal_cuts_the_world_at_one_instant():
    data = dataset(range(10), [0] * 10, timestamp=[5, 3, 9, 1, 7, 0, 2, 4, 6, 8])
    split = make_split(data, "temporal")
    time = data.interactions["timestamp"].to_numpy()
    assert time[split.train].tolist() == [5, 3, 1, 7, 0, 2, 4, 6]
    assert time[split.valid].tolist() == [8]
    assert time[split.test].tolist() == [9]


def test_temporal_keeps_an_instant_together():
    data = dataset(range(10), [0] * 10, timestamp=[0, 0, 0, 0, 0, 0, 0, 8, 9, 9])
    split = make_split(data, "temporal")
    time = data.interactions["timestamp"].to_numpy()
    assert set(time[split.train]) == {0} and set(time[split.valid]) == {8} and set(time[split.test]) == {9}


def test_leave_one_out_takes_the_last_two_by_time():
    data = dataset([0, 0, 0, 1, 1, 1, 1], [0, 1, 2, 0, 1, 2, 3], timestamp=[3, 1, 2, 1, 4, 3, 2])
    split = make_split(data, "leave-one-out")
    assert split.test.tolist() == [0, 4]
    assert split.valid.tolist() == [2, 5]


def test_cold_item_takes_a_fifth_of_the_items_away():
    data = crowd()
    split = make_split(data, "cold-item", 2)
    items = data.interactions["item"].to_numpy()
    assert split.valid_pool.sum() == split.test_pool.sum() == 3
    assert not (split.valid_pool & split.test_pool).any()
    assert ((split.valid_pool | split.test_pool) <= split.cold_items).all()
    for pool, part in ((split.valid_pool, split.valid), (split.test_pool, split.test)):
        assert np.isin(np.flatnonzero(pool[items]), part).all()
    warm_tested = ~split.test_pool[items[split.test]]
    assert warm_tested.any()


@pytest.mark.parametrize("protocol", ["cold-item", "cold-user"])
def test_a_cold_split_can_ask_about_cold_ones_alone(protocol):
    data = crowd()
    split = make_split(data, protocol, 2, valid=0, test=0)
    for part in (split.valid, split.test):
        rows = data.interactions.iloc[part]
        cold = split.cold_items[rows["item"]] if protocol == "cold-item" else split.cold_users[rows["user"]]
        assert cold.all()


def test_cold_user_hands_over_the_first_five():
    data = crowd()
    split = make_split(data, "cold-user", 2, support=5)
    users, time = data.interactions["user"].to_numpy(), data.interactions["timestamp"].to_numpy()
    cold = np.unique(users[split.test_support])
    assert len(cold) == 4 and split.cold_users[cold].all()
    for user in cold:
        given_rows = split.test_support[users[split.test_support] == user]
        answers = split.test[users[split.test] == user]
        assert len(given_rows) == len(answers) == 5
        assert time[given_rows].max() < time[answers].min()


def test_cold_user_without_support_still_has_answers():
    split = make_split(crowd(), "cold-user", support=0)
    assert len(split.test_support) == 0 and len(split.test) > 0


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_no_protocol_breaks_its_promises(data):
    """Whatever the data: a split that proves itself, or one line that says why there is none."""
    n = data.draw(st.integers(1, 60))
    pairs = data.draw(
        st.lists(st.tuples(st.integers(0, 8), st.integers(0, 8)), min_size=n, max_size=n, unique=True)
        if n <= 40
        else st.just([(u, i) for u in range(8) for i in range(8)][:n])
    )
    users, items = zip(*pairs, strict=True)
    times = data.draw(st.lists(st.integers(0, 5), min_size=len(pairs), max_size=len(pairs)))
    small = dataset(users, items, timestamp=times)
    for protocol in sorted(set(CONTRACT) - {"predefined"}):
        try:
            split = make_split(small, protocol, data.draw(st.integers(0, 3)))
        except DataError as error:
            assert "\n" not in str(error)
            continue
        assert set(np.asarray(users)[split.train]).isdisjoint(np.flatnonzero(split.cold_users))
        assert len(np.intersect1d(split.train, split.test)) == 0


def test_a_planted_overlap_or_cold_row_is_found():
    data = crowd()
    split = make_split(data, "cold-item")
    both = dataclasses.replace(split, valid=np.sort(np.append(split.valid, split.train[0])))
    with pytest.raises(DataError, match=r"user 0 with item \d+ lies in two parts"):
        both.check(data)
    moved = dataclasses.replace(
        split, train=np.sort(np.append(split.train, split.test[0])), test=split.test[1:]
    )
    cold_first = split.cold_items[data.interactions["item"].to_numpy()[split.test[0]]]
    if cold_first:
        with pytest.raises(DataError, match="trains on a cold user or item"):
            moved.check(data)
    everything_cold = dataclasses.replace(split, cold_items=np.ones(data.n_items, bool))
    with pytest.raises(DataError, match="trains on a cold user or item"):
        everything_cold.check(data)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: make_split(crowd(), "cold-itm"), "did you mean 'cold-item'"),
        (lambda: make_split(crowd(), "random", tset=0.2), "did you mean 'test'"),
        (lambda: make_split(crowd(), "random", test=1.5), "expected a share between 0 and 1"),
        (lambda: make_split(crowd(), "random", test=0.6, valid=0.5), "leave nothing to train on"),
        (lambda: make_split(crowd(), "cold-user", support=-1), "0 or more"),
        (lambda: make_split(dataset([0, 1], [0, 1]), "temporal"), "needs timestamps"),
        (lambda: make_split(dataset([0, 1], [0, 1]), "predefined"), "no predefined split"),
        (lambda: make_split(dataset([0, 1], [0, 1]), "random"), "leaves the valid part empty"),
        (
            lambda: make_split(dataset([0, 1], [0, 1], label=[0, 2]), "predefined"),
            "leaves the valid part empty",
        ),
    ],
)
def test_mistakes_end_in_one_line(make, message):
    with pytest.raises(DataError, match=message) as caught:
        make()
    assert "\n" not in str(caught.value)


def test_the_publishers_split_is_the_default():
    assert default_protocol(crowd()) == "predefined"
    assert default_protocol(dataset([0], [0])) == "random"
