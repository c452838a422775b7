"""The contract: what every registered model must do, a plug-in's among them, and that it can do what it declares.

A model is tried with its defaults, width 8 and a fast training; one that needs other settings on 48 users and 36 items
has a line in SETTINGS.
"""

import os
import re
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import torch

from recsys.datasets.splits import make_split
from recsys.errors import UserError
from recsys.evaluation.evaluator import Evaluator
from recsys.inputs.requests import QueryUsers
from recsys.inputs.sampler import Batch
from recsys.inputs.training_data import TrainingData
from recsys.models import MODELS
from recsys.models.base import Model
from recsys.models.columns import Columns
from recsys.runs.config import RunConfig
from recsys.runs.run import execute, load_run, make_evaluator, prepare
from recsys.training.columns import cut

FAST = {"max_epochs": 40, "batch_size": 64, "learning_rate": 0.03, "patience": 40}

SETTINGS = {
    "itemknn": {"k": 12},
    "ease": {"regularisation": 20.0},
    "hyperwalk": {"k": 12},
    "cm3": {"learning_rate": 0.01},
    "confluence": {
        "components.cm3.settings.width": 8,
        "components.mmhcl.settings.width": 8,
        "components.hyperwalk.settings.k": 12,
        "learning_rate": 0.01,
    },
    "multistage": {"base_settings": {"width": 8}, "clusters": 3},
    "dropoutnet": {"factor_reg": 10.0},
    "twotower": {"width": 16, "dropout": 0.0, "batch_size": 8, "learning_rate": 0.01},
    "aff": {
        "width": 16,
        "context": False,
        "dropout": 0.0,
        "content_dropout": 0.0,
        "batch_size": 8,
        "learning_rate": 0.01,
    },
    "wmf": {"width": 3, "reg": 5.0},
    "lambdarank": {"trees": 40, "least": 5},
    "autorec": {"width": 16, "learning_rate": 0.01, "batch_size": 8, "reg": 0.01},
    "averaged": {"options": {"width": 8}},
    "multvae": {"hidden": 16},
    "student": {"teacher": "mmhcl", "teacher_settings": {"width": 8}, "width": 32},
}
"""Settings of models that do not pass on the toy data with their defaults, width 8 and FAST."""


def settings_of(name):
    model = MODELS.get(name)
    small = {"width": 8} if "width" in model.Settings.model_fields else {}
    return small | ({} if model.closed_form else FAST) | SETTINGS.get(name, {})


ALL = os.environ.get("RECSYS_CONTRACT", "").split() or sorted(MODELS.builtin)
"""A package of one's own puts its models through: `RECSYS_CONTRACT="its names" pytest .../test_contract.py`."""
PERSONAL = [name for name in ALL if MODELS.get(name).personal]
CLOSED = [name for name in ALL if MODELS.get(name).closed_form]
TRAINED = [name for name in ALL if name not in CLOSED]
SHARED = [name for name in ALL if MODELS.get(name).trains_in_shares]
BY_COLUMNS = [name for name in ALL if MODELS.get(name).trains_by_columns]


def config(name, split="random", **settings):
    return RunConfig(model=name, dataset="toy", split=split, settings=settings_of(name) | settings)


def trained(name, toy, folder, split="random", **settings):
    run = prepare(config(name, split, **settings), toy)
    return run, execute(run, folder)


def all_scores(model, users):
    return model.scorer()(np.arange(users)).numpy()


def started(name, dataset, split):
    """A model as its first epoch finds it, or fitted."""
    run = prepare(config(name, split), dataset)
    if run.model.closed_form:
        run.model.fit()
    else:
        run.model.start_epoch(0, torch.Generator().manual_seed(0))
    run.model.eval()
    return run


@pytest.mark.parametrize("name", ALL)
def test_the_paper_is_one_line_with_a_year(name):
    paper = MODELS.get(name).paper
    assert paper.startswith("None: ") or re.search(r"\b(19|20)\d\d\b", paper), paper
    assert "\n" not in paper


@pytest.mark.parametrize("name", ALL)
def test_closed_form_models_have_nothing_to_train_and_others_do(name, toy):
    run = started(name, toy, "random")
    parts = [run.model, *(part for part, _ in run.model.stages(run.train_settings).values())]
    assert run.model.closed_form != any(p.requires_grad for part in parts for p in part.parameters())


@pytest.mark.parametrize("name", ALL)
def test_scores_depend_on_content_where_a_model_says_that_it_reads_it(name, toy):
    order = np.random.default_rng(5).permutation(toy.n_items)
    dealt = {key: type(m)(m.features[order], m.mask[order]) for key, m in toy.modalities.items()}
    attributes = toy.item_attributes.iloc[order].reset_index(drop=True)
    other = replace(toy, modalities=dealt, item_attributes=attributes)
    runs = [started(name, dataset, "cold-item") for dataset in (toy, other)]
    scores = [all_scores(run.model, toy.n_users) for run in runs]
    assert runs[0].model.reads_content != np.array_equal(*scores)


@pytest.mark.parametrize("name", ALL)
def test_users_get_rankings_of_their_own_where_a_model_says_so(name, toy):
    model = started(name, toy, "random").model
    scores = all_scores(model, toy.n_users)
    assert model.personal != (scores == scores[0]).all()


@pytest.mark.parametrize("name", ALL)
def test_exported_vectors_are_the_scores_where_a_model_says_so(name, toy):
    """Of known users, of new ones with interactions, and of some without any."""
    run = started(name, toy, "cold-user")
    users = run.data.query_users(run.support("test"))
    if not run.model.exports_vectors:
        if not run.model.popular_without_history:
            with pytest.raises((NotImplementedError, UserError)):
                run.model.embed(users)
        return
    rows, items = (vectors.detach().numpy() for vectors in run.model.embed(users))
    can_score = ~run.model.cannot_score()
    scores = run.model.scorer(users)(np.arange(toy.n_users)).numpy()
    np.testing.assert_allclose((rows @ items.T)[:, can_score], scores[:, can_score], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ALL)
def test_users_without_history_get_the_popularity_ranking_where_a_model_says_so(name, toy):
    run = started(name, toy, "cold-user")
    if run.model.popular_without_history or not run.model.serves_new_users:
        cold = np.flatnonzero(run.split.cold_users)
        scores = run.model.scorer()(cold).numpy()
        np.testing.assert_array_equal(scores, np.tile(run.data.item_counts(), (len(cold), 1)))


@pytest.mark.parametrize("name", ALL)
def test_scores_are_sums_over_the_history_where_a_model_says_so(name, toy):
    run = started(name, toy, "cold-item")
    history = run.data.interactions[[0, 20]]
    whole = QueryUsers(np.full(2, -1), history, toy.user_attributes)
    single = np.eye(toy.n_items, dtype=np.float32)
    alone = QueryUsers(np.full(toy.n_items, -1), sp.csr_array(single), toy.user_attributes)
    scored = ~run.model.cannot_score()
    of_all, of_each = (
        run.model.scorer(users)(np.arange(len(users))).numpy()[:, scored] for users in (whole, alone)
    )
    sums = history @ of_each
    assert run.model.linear_in_history == np.allclose(sums, of_all, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", PERSONAL)
def test_finds_the_users_own_community(name, toy, tmp_path):
    """A held-out item is one of 5 of 36 that the user's community has left: chance is 10/28, perfect is 1."""
    _, metrics = trained(name, toy, tmp_path / "run")
    assert metrics["chance"]["test"]["recall@10"] < 0.4
    assert metrics["test"]["recall@10"] > 0.95


@pytest.mark.parametrize("name", ALL)
def test_the_same_seed_gives_the_same_scores_and_saving_changes_nothing(name, toy, tmp_path):
    run, metrics = (
        trained(name, toy, tmp_path / "a", max_epochs=3)
        if name not in CLOSED
        else trained(name, toy, tmp_path / "a")
    )
    again = prepare(run.config, toy)
    assert execute(again, tmp_path / "b")["test"] == metrics["test"]
    scores = all_scores(run.model, toy.n_users)
    np.testing.assert_array_equal(scores, all_scores(again.model, toy.n_users))
    loaded = prepare(run.config, toy)
    from recsys.training.weights import load_model

    load_model(loaded.model, tmp_path / "a")
    np.testing.assert_array_equal(scores, all_scores(loaded.model.eval(), toy.n_users))


@pytest.mark.parametrize("name", ALL)
def test_cold_items_are_ranked_from_content_or_lowest_and_alike(name, toy, tmp_path):
    run, metrics = trained(name, toy, tmp_path / "run", split="cold-item")
    scores = all_scores(run.model, toy.n_users)
    assert np.isfinite(scores).all()
    cold = run.split.cold_items
    if run.model.ranks_cold_items:
        assert metrics["test_cold_pool"]["mrr@10"] > 1.3 * metrics["chance"]["test_cold_pool"]["mrr@10"]
        return
    cold_scores = scores[:, cold]
    assert (cold_scores == cold_scores[:, :1]).all()
    assert (scores[:, ~cold].min(axis=1) >= cold_scores[:, 0]).all()
    for metric in ("recall@10", "ndcg@10", "mrr@10"):
        chance = metrics["chance"]["test_cold_pool"][metric]
        assert metrics["test_cold_pool"][metric] == pytest.approx(chance, abs=1e-12)


@pytest.mark.parametrize("name", TRAINED)
def test_cold_rows_stay_as_they_were_drawn(name, toy, tmp_path):
    run = prepare(config(name, "cold-item", max_epochs=3), toy)
    before = {n: t.detach().clone() for n, (t, _) in run.model.id_tables().items()}
    if not before:  # an ID model names its ID tables
        rows = {parameter.shape[0] for parameter in run.model.parameters() if parameter.ndim}
        assert not rows & {toy.n_users, toy.n_items}
        return
    execute(run, tmp_path / "run")
    for key, (table, noun) in run.model.id_tables().items():
        cold = torch.from_numpy(run.split.cold_items if noun == "items" else run.split.cold_users)
        assert torch.equal(table[cold], before[key][cold])
        assert not torch.equal(table[~cold], before[key][~cold])


@pytest.mark.parametrize("name", PERSONAL)
def test_new_users_are_ranked_by_their_support(name, toy, tmp_path):
    """A user with 5 interactions given finds the other 3 of 31 items; without any, all users look alike."""
    if not MODELS.get(name).serves_new_users:
        pytest.skip("ranks for the users of its training alone")
    run, metrics = trained(name, toy, tmp_path / "run", split="cold-user")
    assert metrics["test_cold_users"]["recall@10"] > 1.5 * metrics["chance"]["test_cold_users"]["recall@10"]
    cold = np.flatnonzero(run.split.cold_users)
    unsupported = run.model.scorer()(cold).numpy()
    np.testing.assert_allclose(unsupported, np.broadcast_to(unsupported[0], unsupported.shape))


@pytest.mark.parametrize("name", ALL)
def test_new_items_get_the_vectors_that_cold_items_have(name, toy, tmp_path):
    run, _ = trained(name, toy, tmp_path / "run", split="cold-item")
    model = run.model
    features = {
        key: type(m)(m.features[run.split.cold_items], m.mask[run.split.cold_items])
        for key, m in toy.modalities.items()
    }
    if not model.ranks_cold_items:
        with pytest.raises(UserError, match="cannot rank new items"):
            model.encode_items(features)
        return
    if not model.exports_vectors and name not in ENCODERS:
        pytest.skip("scores by similarity, not by vectors")
    expected = model().items[torch.from_numpy(run.split.cold_items)]
    torch.testing.assert_close(model.encode_items(features), expected, atol=1e-5, rtol=0)


ENCODERS = {"averaged", "clhe", "clhe-signals"}  # vectors that a fallback on popularity goes beside


def step(model, batches):
    """Terms of the loss and gradients, each the batches' by weight; noise drawn alike for each batch."""
    terms = {}
    model.zero_grad()
    for batch in batches:
        model.start_epoch(0, torch.Generator().manual_seed(5))
        torch.manual_seed(5)
        losses = model.loss(batch)
        (sum(losses.values()) * batch.weight).backward()
        for key, value in losses.items():
            terms[key] = terms.get(key, 0.0) + value.item() * batch.weight
    return terms, {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}


def whole_batch(name, toy):
    model = prepare(config(name), toy).model.train()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter *= 10  # as drawn, every pair's loss is nearly log 2
    pairs = model.data.interactions.nonzero()
    users, items = (torch.from_numpy(ids[::17][:13].astype(np.int64)) for ids in pairs)
    negatives = torch.stack([items.roll(1), items.roll(2)], 1)
    return model, Batch(users, items, negatives)


@pytest.mark.parametrize("of", [2, 3, 20])
@pytest.mark.parametrize("name", SHARED)
def test_shares_of_a_batch_add_up_to_it_where_a_model_says_so(name, of, toy):
    """20 processes for 13 rows: some have none."""
    model, batch = whole_batch(name, toy)
    terms, gradients = step(model, [batch])
    shared_terms, shared_gradients = step(model, [batch.share(rank, of) for rank in range(of)])
    assert shared_terms == pytest.approx(terms, rel=1e-5) and gradients.keys() == shared_gradients.keys()
    for key, gradient in gradients.items():
        torch.testing.assert_close(shared_gradients[key], gradient, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize(
    "name", sorted(set(TRAINED) - set(SHARED) - {"averaged"})
)  # which answers for others
def test_a_model_whose_shares_add_up_says_so(name, toy):
    model, batch = whole_batch(name, toy)
    if type(model).loss is Model.loss:
        pytest.skip("trained in stages, without a loss of its own")
    terms, _ = step(model, [batch])
    shared, _ = step(model, [batch.share(rank, 2) for rank in range(2)])
    assert shared != pytest.approx(terms, rel=1e-4)


@dataclass(frozen=True)
class InThreads(Columns):
    """Columns that threads hold instead of processes."""

    meeting: Any = None
    posted: Any = None

    def add_up(self, values):
        self.posted[self.rank] = values.clone()
        self.meeting.wait()
        values.copy_(sum(self.posted))
        self.meeting.wait()


@pytest.mark.parametrize("of", [2, 4])
@pytest.mark.parametrize("name", BY_COLUMNS)
def test_columns_of_a_model_add_up_to_it_where_a_model_says_so(name, of, toy):
    model, batch = whole_batch(name, toy)
    terms, gradients = step(model, [batch])
    assert gradients.keys() == {name for name, p in model.named_parameters() if p.requires_grad}
    assert model.column_dims().keys() == dict(model.named_parameters()).keys()
    parts = [whole_batch(name, toy)[0] for _ in range(of)]
    meeting, posted = threading.Barrier(of, timeout=60), [None] * of
    for rank, part in enumerate(parts):
        cut(part, InThreads(rank, of, meeting, posted))
    with ThreadPoolExecutor(of) as threads:
        found = list(threads.map(lambda part: step(part, [batch]), parts))
    for rank, (part_terms, part_gradients) in enumerate(found):
        assert part_terms == pytest.approx(terms, rel=1e-5)
        for key, whole in gradients.items():
            expected = Columns(rank, of).share(whole, model.column_dims()[key])
            torch.testing.assert_close(part_gradients[key], expected, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("name", SHARED)
def test_a_model_whose_parameters_may_idle_says_so(name, toy):
    model, batch = whole_batch(name, toy)
    model.start_epoch(0, torch.Generator().manual_seed(5))
    for _ in range(2):
        model.zero_grad()
        sum(model.loss(batch).values()).backward()
    idle = [n for n, p in model.named_parameters() if p.grad is None]
    assert bool(idle) == model.idle_parameters, idle


@pytest.mark.parametrize("name", TRAINED)
def test_modality_vectors_have_a_row_for_each_item(name, toy):
    model = prepare(config(name), toy).model
    for key, vectors in model.modality_vectors().items():
        assert vectors.shape[0] == toy.n_items and vectors.any()
        assert not vectors[torch.from_numpy(~toy.modalities[key].mask)].any()


@pytest.mark.parametrize("name", sorted(set(CLOSED) - {"lambdarank"}))  # which draws negatives by number
def test_renaming_users_and_items_renames_the_scores(name, toy):
    split = make_split(toy, "random")
    data = TrainingData.of(toy, split)
    rng = np.random.default_rng(3)
    users, items = rng.permutation(toy.n_users), rng.permutation(toy.n_items)
    modalities = {k: type(m)(m.features[items], m.mask[items]) for k, m in toy.modalities.items()}
    renamed = TrainingData(data.interactions[users][:, items].tocsr(), modalities)
    scores = []
    for part in (data, renamed):
        part.interactions.sort_indices()
        model = MODELS.get(name)(MODELS.get(name).Settings(**settings_of(name)), part, 0)
        model.fit()
        scores.append(all_scores(model, toy.n_users))
    np.testing.assert_allclose(scores[1], scores[0][users][:, items], atol=1e-5)


def test_the_evaluator_of_a_run_masks_what_is_known_by_then(toy):
    split = make_split(toy, "cold-user")
    data = TrainingData.of(toy, split)
    evaluator = make_evaluator(toy, split, data, "test")
    assert isinstance(evaluator, Evaluator)
    known = np.concatenate([split.train, split.valid, split.test_support])

    class Oracle:
        n_items, device = toy.n_items, torch.device("cpu")
        table = torch.from_numpy(toy.matrix(split.test).todense() + 2 * toy.matrix(known).todense())

        def __call__(self, users):
            return self.table[users].clone()

    assert evaluator.evaluate(Oracle()).metrics["overall"]["recall@20"] == 1.0


def test_settling_asks_a_few_users_about_the_same_answers(toy):
    split = make_split(toy, "cold-item")
    data = TrainingData.of(toy, split)
    model = MODELS.get("contentknn")(MODELS.get("contentknn").Settings(), data, 0)
    scorer = model.scorer()
    whole = make_evaluator(toy, split, data, "valid").evaluate(scorer)
    few = make_evaluator(toy, split, data, "valid", at_most=10).evaluate(scorer)
    assert few.users["overall"] == 10 < whole.users["overall"]
    again = make_evaluator(toy, split, data, "valid", at_most=10).evaluate(scorer)
    pd.testing.assert_frame_equal(few.per_user, again.per_user)
    kept = whole.per_user[whole.per_user["user"].isin(few.per_user["user"])]
    told = [
        frame.astype({"group": str}).set_index(["user", "group"]).sort_index()
        for frame in (few.per_user, kept)
    ]
    pd.testing.assert_frame_equal(*told)


def test_load_run_needs_a_run(tmp_path):
    with pytest.raises(UserError, match="is not a run's folder"):
        load_run(tmp_path)
