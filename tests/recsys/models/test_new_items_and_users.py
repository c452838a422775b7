"""The inductive contract: what every registered model must do with items and users that arrive after training.

An item of the catalogue without interactions is the yardstick for the same item as a new one, and a cold user of the
catalogue for the same user as a new one.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from recsys.coldstart.cold_items import take
from recsys.datasets.dataset import Modality
from recsys.errors import UserError
from recsys.inputs.requests import NewItems, QueryUsers
from recsys.models import MODELS
from recsys.runs.config import RunConfig
from recsys.runs.run import execute, prepare

SETTINGS = {
    "confluence": {
        "components.cm3.settings.width": 8,
        "components.mmhcl.settings.width": 8,
        "components.hyperwalk.settings.k": 5,
        "calibrate": False,
    },
    "averaged": {"of": "vbpr", "options": {"width": 8}},
    "clhe-signals": {"slots": ["content"]},
}
VARIANTS = {name: name for name in MODELS.builtin} | {
    "contentknn, k=5": "contentknn",
    "ease, with content": "ease",
    "pop, with content": "pop",
    "confluence, more components": "confluence",
    "clhe-signals, signals alone": "clhe-signals",
    "mgcn, one modality": "mgcn",
    **{f"{name}, as published": name for name in ("mgcn", "lattice", "bm3", "freedom", "cm3")},
    "vbpr, raw features": "vbpr",
}
COLD_WEIGHTS = {"ease": 1.0, "aff": 2.0, "pop": 0.5}
OPTIONS = {
    "contentknn, k=5": {"k": 5},
    "ease, with content": {"content": 2.0, "k": 5},
    "pop, with content": {"ridge": 1.0},
    "confluence, more components": {
        **{f"components.{name}.settings.width": 8 for name in ("lightgcn", "aff", "twotower", "wmf")},
        "components.aff.settings.calibrate_cold_offset": "none",
        "components.pop.settings": {"ridge": 1.0},
        **{f"components.{name}.cold_weight": 0 for name in ("cm3", "mmhcl", "lightgcn", "twotower")},
        **{f"components.{name}.cold_weight": 0 for name in ("hyperwalk", "contentridge", "wmf")},
        **{f"components.{name}.cold_weight": weight for name, weight in COLD_WEIGHTS.items()},
        "cold_offset": 0.5,
    },
    "clhe-signals, signals alone": {"slots": []},
    "mgcn, one modality": {"modalities": ["image"]},
    **{f"{name}, as published": {"features": "trained"} for name in ("mgcn", "bm3", "freedom")},
    "lattice, as published": {"features": "trained", "interactions": "self-loops"},
    "cm3, as published": {"features": "raw", "score_at": "last"},
    "vbpr, raw features": {"features": "raw"},
}


def trained(variant, dataset, split, folder):
    name = VARIANTS[variant]
    settings = SETTINGS.get(name, {}) | OPTIONS.get(variant, {})
    if not MODELS.get(name).closed_form:
        settings = {"max_epochs": 2, "batch_size": 64, "learning_rate": 0.03} | settings
        if "width" in MODELS.get(name).Settings.model_fields:
            settings = {"width": 8} | settings
    run = prepare(RunConfig(model=name, dataset="toy", split=split, settings=settings), dataset)
    execute(run, folder)
    run.model.eval()
    return run


def memo(split):
    @pytest.fixture(scope="module")
    def runs(told, tmp_path_factory):
        """Variant -> its trained run, trained once."""
        made = {}

        def get(variant):
            if variant not in made:
                made[variant] = trained(variant, told, split, tmp_path_factory.mktemp("run") / "run")
            return made[variant]

        return get

    return runs


item_runs, user_runs = memo("cold-item"), memo("cold-user")


@pytest.fixture(scope="module")
def told(toy):
    """The toy data set with attributes, which some models read."""
    from dataclasses import replace

    communities = ["red", "green", "blue"]
    users = pd.DataFrame({"colour": np.repeat(communities, 16), "age": np.arange(48.0)})
    items = toy.item_attributes.assign(colour=np.repeat(communities, 12))
    return replace(toy, user_attributes=users, item_attributes=items)


def ranks_new_items(run):
    """Where the model reads content; where it does not, it must say so."""
    if run.model.ranks_cold_items:
        return True
    with pytest.raises(UserError, match="cannot rank new items"):
        run.model.scorer(everybody(run), as_new_items(run, np.arange(2)))
    return False


def everybody(run):
    return run.data.query_users()


def as_new_items(run, rows, modalities=None):
    """Items of the catalogue, by number, as if they were new."""
    dataset = run.dataset
    modalities = take(modalities or dataset.modalities, rows)
    return NewItems(
        dataset.item_ids[rows], modalities, dataset.item_attributes.iloc[rows].reset_index(drop=True)
    )


def scores(run, query_users, new_items=None):
    return run.model.scorer(query_users, new_items)(np.arange(len(query_users))).numpy()


def new_scores(run, new_items):
    return scores(run, everybody(run), new_items)[:, run.data.n_items :]


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_new_item_scores_what_it_would_in_the_catalogue(variant, item_runs):
    run = item_runs(variant)
    if not ranks_new_items(run):
        return
    cold = np.flatnonzero(run.split.cold_items)
    every = scores(run, everybody(run), as_new_items(run, cold))
    old = run.data.n_items
    np.testing.assert_allclose(every[:, old:], every[:, cold], atol=1e-5, rtol=1e-5)
    catalogue = run.model.scorer()(np.arange(run.data.n_users)).numpy()
    np.testing.assert_allclose(every[:, :old], catalogue, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_other_new_items_and_their_order_do_not_matter(variant, item_runs):
    run = item_runs(variant)
    if not ranks_new_items(run):
        return
    cold = np.flatnonzero(run.split.cold_items)
    together = new_scores(run, as_new_items(run, cold))
    order = np.random.default_rng(0).permutation(len(cold))
    np.testing.assert_allclose(new_scores(run, as_new_items(run, cold[order])), together[:, order], atol=1e-5)
    for place in (0, len(cold) - 1):
        alone = new_scores(run, as_new_items(run, cold[[place]]))
        np.testing.assert_allclose(alone, together[:, [place]], atol=1e-5)


@pytest.mark.parametrize("variant", VARIANTS)
def test_masked_modalities_leave_finite_scores(variant, item_runs):
    """With one modality masked, and the average item's score where the item has nothing at all."""
    run = item_runs(variant)
    if not ranks_new_items(run):
        return
    cold, modalities = np.flatnonzero(run.split.cold_items), run.dataset.modalities
    masked = {
        name: Modality(np.zeros_like(m.features), np.zeros_like(m.mask)) for name, m in modalities.items()
    }
    for gone in modalities:
        found = new_scores(run, as_new_items(run, cold, {**modalities, gone: masked[gone]}))
        assert np.isfinite(found).all() and (np.abs(found) < 1e6).all()
    nothing = as_new_items(run, cold, masked)
    nothing.attributes.loc[:] = ""
    assert run.model.without_content(nothing).all()
    every = scores(run, everybody(run), nothing)
    counted = run.data.warm_items & ~run.model.cannot_score()
    average = every[:, : run.data.n_items][:, counted].mean(axis=1, keepdims=True)
    expected = np.broadcast_to(average, (len(every), len(cold)))
    np.testing.assert_allclose(every[:, run.data.n_items :], expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_new_user_scores_as_a_cold_user_of_the_catalogue(variant, user_runs):
    """With interactions, from one to all that the protocol gives, and without any."""
    run = user_runs(variant)
    cold = np.flatnonzero(run.split.cold_users)
    support = run.dataset.matrix(run.split.test_support)
    given = [support[[user]].indices for user in cold]
    given = [items[: place % 4] for place, items in enumerate(given)]
    assert {len(items) for items in given} >= {0, 1, 2}
    rows = np.repeat(np.arange(len(cold)), [len(items) for items in given])
    entries = (np.ones(len(rows), dtype=np.float32), (rows, np.concatenate(given)))
    history = sp.csr_array(sp.coo_array(entries, shape=(len(cold), run.data.n_items)))
    attributes = run.dataset.user_attributes.iloc[cold].reset_index(drop=True)
    new = QueryUsers(np.full(len(cold), -1), history, attributes)
    place = np.zeros((run.data.n_users, len(cold)), dtype=np.float32)
    place[cold, np.arange(len(cold))] = 1
    catalogue = run.data.query_users(sp.csr_array(place) @ history)
    expected = scores(run, catalogue)[cold]
    as_new = scores(run, new)
    assert np.isfinite(as_new).all()
    np.testing.assert_allclose(as_new, expected, atol=1e-5, rtol=1e-5)
    order = np.random.default_rng(0).permutation(len(cold))[:5]
    np.testing.assert_allclose(scores(run, new.rows(order)), as_new[order], atol=1e-5, rtol=1e-5)


def test_users_whom_a_model_does_not_serve_get_the_popularity_ranking(user_runs):
    run = user_runs("bpr")

    class OwnUsersOnly(type(run.model)):
        serves_new_users = False

    model = OwnUsersOnly(run.model.settings, run.data, 0)
    cold, warm = run.split.cold_users, run.data.warm_users
    every = model.scorer()(np.arange(run.data.n_users)).numpy()
    np.testing.assert_array_equal(every[cold], np.tile(run.data.item_counts(), (cold.sum(), 1)))
    np.testing.assert_array_equal(every[warm], (model.user_table @ model.item_table.T).detach().numpy()[warm])
