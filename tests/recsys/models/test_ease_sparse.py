"""EASE by a sparse factor of its inverse."""

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

import recsys
from recsys.errors import UserError
from recsys.models.closed_form import ease_sparse
from recsys.models.closed_form.ease_sparse import inverse_factor


@pytest.fixture
def interactions():
    return sp.random_array((60, 25), density=0.2, rng=np.random.default_rng(0), format="csr").ceil()


@pytest.fixture(scope="module")
def dense():
    """60 users of 16 among 24 items: every two items have been taken together."""
    rng = np.random.default_rng(0)
    items = np.concatenate([rng.choice(24, 16, replace=False) for _ in range(60)])
    clicks = pd.DataFrame({"user": np.repeat(np.arange(60), 16), "item": items})
    return recsys.Dataset.from_frame(clicks, name="dense")


def test_where_every_pair_occurs_and_all_more_popular_items_are_held_it_is_ease(dense):
    sparse, exact = (
        recsys.train(model, dense, split="random", seed=0)
        for model in (recsys.model("ease-sparse", k=24), "ease")
    )
    assert sparse.metrics.test == pytest.approx(exact.metrics.test, abs=1e-9)
    users = list(dense.user_ids[:20])
    pairs = [run.recommend(users, k=5)["score"].to_numpy() for run in (sparse, exact)]
    np.testing.assert_allclose(*pairs, rtol=1e-3, atol=1e-5)


def test_each_row_solves_its_own_system(interactions):
    factor = inverse_factor(interactions, 2.0, 4).toarray()
    gram = (interactions.T @ interactions).toarray()
    counts = np.diag(gram)
    keys = [counts, gram @ counts, gram @ gram @ counts]
    ranks = sorted(range(25), key=lambda item: tuple(-key[item] for key in keys))
    place = np.argsort(ranks)
    cosine = gram / np.sqrt(np.outer(counts, counts).clip(1))
    for item in range(25):
        before = [other for other in range(25) if place[other] < place[item] and gram[item, other]]
        chosen = sorted(before, key=lambda other: (-np.float32(cosine[item, other]), place[other]))[:4]
        own = [item, *chosen]
        system = gram[np.ix_(own, own)] + 2.0 * np.eye(len(own))
        solved = np.linalg.solve(system, np.eye(len(own))[0])
        expected = np.zeros(25)
        expected[own] = solved / np.sqrt(solved[0])
        np.testing.assert_allclose(factor[item], expected, atol=1e-12)


def test_more_neighbours_come_nearer_to_the_inverse():
    interactions = sp.random_array((60, 25), density=0.6, rng=np.random.default_rng(0), format="csr").ceil()
    inverse = np.linalg.inv((interactions.T @ interactions).toarray() + 2.0 * np.eye(25))
    away = [
        np.linalg.norm(factor.T @ factor - inverse)
        for factor in (inverse_factor(interactions, 2.0, k).toarray() for k in (1, 5, 24))
    ]
    assert away[0] > away[1] > away[2] and away[2] < 1e-12


def test_the_systems_may_be_solved_in_any_blocks(interactions, monkeypatch):
    whole = inverse_factor(interactions, 2.0, 4).toarray()
    monkeypatch.setattr(ease_sparse, "CELLS", 30)
    np.testing.assert_allclose(inverse_factor(interactions, 2.0, 4).toarray(), whole, rtol=1e-12)


def test_too_many_pairs_are_refused(monkeypatch):
    monkeypatch.setattr("recsys.memory.available", lambda: 1000)
    with pytest.raises(
        UserError, match=r"ease-sparse on .* pairs of items needs .* use itemknn or wmf instead"
    ):
        recsys.train("ease-sparse", recsys.toy_data(), split="random")
