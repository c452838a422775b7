"""RecBole's models on our data: trained by our loop, scored by our evaluator, and nothing left behind."""

import logging
import os
import random
import sys
import warnings
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import torch

from recsys.datasets.dataset import Modality
from recsys.errors import UserError
from recsys.inputs.requests import NewItems, QueryUsers
from recsys.models import MODELS
from recsys.runs.config import RunConfig
from recsys.runs.run import execute, load_run, make_evaluator, prepare

pytest.importorskip("recbole", reason="the bridge's other side: pip install 'recsys[recbole]'")

SMALL = {"max_epochs": 2, "batch_size": 64, "learning_rate": 0.01}
TRAINED = {
    "BPR": {"embedding_size": 8},
    "LightGCN": {"embedding_size": 8},
    "DeepFM": {"embedding_size": 4, "mlp_hidden_size": [16]},
}
CLOSED = ("ADMMSLIM", "AsymKNN", "EASE", "ItemKNN", "NCEPLRec", "Pop", "Random", "SLIMElastic")
OWN = {"NCL": {"num_clusters": 5}, "NCEPLRec": {"rank": 5}}


@pytest.fixture(scope="module")
def shop(toy):
    """The toy data set with attributes that tell its three communities, and some that tell nothing."""
    rng = np.random.default_rng(0)
    users = pd.DataFrame({"job": [f"job{n // 16}" for n in range(48)], "height": rng.normal(size=48)})
    items = pd.DataFrame(
        {
            "title": [f"Thing {n}" for n in range(36)],
            "genres": [f"genre{n // 12} {rng.choice(['short', 'long'])}" for n in range(36)],
            "shape": [f"shape{n % 4}" for n in range(36)],
            "number": [f"no{n}" for n in range(36)],
        }
    )
    return replace(toy, user_attributes=users, item_attributes=items)


def config(name, split="random", **settings):
    closed = MODELS.get(f"recbole:{name}").closed_form
    settings = TRAINED.get(name, OWN.get(name, {})) | ({} if closed else SMALL) | settings
    return RunConfig(model=f"recbole:{name}", dataset="shop", split=split, settings=settings)


def run_one(shop, folder, name, split="random", **settings):
    run = prepare(config(name, split, **settings), shop)
    return run, execute(run, folder)


@pytest.mark.parametrize("name", [*TRAINED, "EASE"])
def test_a_run_can_be_loaded_and_repeated(name, shop, tmp_path, monkeypatch):
    run, metrics = run_one(shop, tmp_path / "a", name)
    assert execute(prepare(run.config, shop), tmp_path / "b")["test"] == metrics["test"]
    monkeypatch.setattr("recsys.runs.config.load_dataset", lambda *_: shop)
    loaded = load_run(tmp_path / "a").model
    users = np.arange(shop.n_users)
    np.testing.assert_array_equal(loaded.scorer()(users), run.model.scorer()(users))


@pytest.mark.parametrize("name", [*TRAINED, "EASE"])
def test_finds_the_users_own_community(name, shop, tmp_path):
    """Chance is 10 of 28."""
    more = {} if name == "EASE" else {"max_epochs": 40}
    _, metrics = run_one(shop, tmp_path / "run", name, **more)
    assert metrics["test"]["recall@10"] > 0.9


@pytest.mark.parametrize("name", TRAINED)
def test_recboles_evaluator_and_ours_agree(name, shop, tmp_path):
    from recbole.evaluator import Collector, Evaluator

    from recsys.models.recbole.compat import Loan, make_config

    run, _ = run_one(shop, tmp_path / "run", name)
    split = run.split
    users, items = shop.matrix(split.test).nonzero()
    tested, rows = np.unique(users, return_inverse=True)
    scores = run.model.scorer()(tested)
    scores[shop.matrix(split.known)[tested].nonzero()] = -torch.inf
    measures = {
        "recall": "Recall",
        "ndcg": "NDCG",
        "precision": "Precision",
        "hr": "Hit",
        "mrr": "MRR",
        "map": "MAP",
    }
    asked = {"metrics": list(measures.values()), "topk": [10, 20], "metric_decimal_place": 12}
    with Loan(0)():
        theirs = make_config(name, run.model.inner_class, asked)
        theirs["eval_args"]["mode"] = {"valid": "full", "test": "full"}
        collector = Collector(theirs)
        collector.eval_batch_collect(scores, None, torch.from_numpy(rows), torch.from_numpy(items))
        found = Evaluator(theirs).evaluate(collector.get_data_struct())
    evaluator = make_evaluator(shop, split, run.data, "test")
    ours = evaluator.evaluate(run.model.scorer()).metrics["overall"]
    for metric, name in measures.items():
        for k in (10, 20):
            assert ours[f"{metric}@{k}"] == pytest.approx(found[f"{name.lower()}@{k}"], abs=1e-6)


def test_nothing_is_left_behind(shop, tmp_path, monkeypatch, capfd):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    MODELS.get("recbole:NAIS")
    np.random.seed(3)
    random.seed(3)
    owners = (np, pd, torch, sp.dok_matrix)
    names = [dict(vars(owner)) for owner in owners]
    states = np.random.get_state()[1].copy(), random.getstate(), dict(os.environ), list(sys.argv)
    filters, handlers = len(warnings.filters), list(logging.root.handlers)
    for model in ("LightGCN", "NAIS", "DeepFM"):
        run_one(shop, tmp_path / model, model)
    for owner, before in zip(owners, names, strict=True):
        after = dict(vars(owner))
        assert after.keys() == before.keys() and all(after[key] is before[key] for key in before), owner
    np.testing.assert_array_equal(np.random.get_state()[1], states[0])
    assert (random.getstate(), dict(os.environ), sys.argv) == states[1:]
    assert len(warnings.filters) == filters
    assert logging.root.handlers == handlers
    assert not list((tmp_path / "here").iterdir())
    assert capfd.readouterr().out == ""


def test_the_names_that_are_lent_come_back_where_recboles_code_fails():
    from recsys.models.recbole.compat import Loan

    before = dict(vars(np))
    with pytest.raises(ZeroDivisionError), Loan(0)():
        assert np.float is float
        raise ZeroDivisionError
    assert dict(vars(np)) == before


def test_a_general_model_ranks_cold_items_lowest(shop, tmp_path):
    run, metrics = run_one(shop, tmp_path / "run", "BPR", "cold-item")
    assert not metrics["ranks_cold_items"]
    scores = run.model.scorer()(np.arange(shop.n_users)).numpy()
    cold = run.split.cold_items
    assert (scores[:, cold] < scores[:, ~cold].min()).all()
    with pytest.raises(UserError, match="BPR cannot rank new items"):
        run.model.scorer(
            QueryUsers(np.array([0]), run.data.interactions[:1], shop.user_attributes[:1]), new_items(shop)
        )


def new_items(shop, rows=slice(0, 2), **columns):
    frame = shop.item_attributes.iloc[rows].assign(**columns)
    empty = {
        name: Modality(np.zeros((len(frame), m.width), np.float32), np.zeros(len(frame), bool))
        for name, m in shop.modalities.items()
    }
    return NewItems(np.array([f"new{n}" for n in range(len(frame))]), empty, frame.reset_index(drop=True))


def test_a_context_aware_model_ranks_cold_items_by_their_attributes(shop, tmp_path):
    run, metrics = run_one(shop, tmp_path / "run", "DeepFM", "cold-item", max_epochs=30)
    assert metrics["ranks_cold_items"]
    assert metrics["test_cold_pool"]["mrr@10"] > 1.3 * metrics["chance"]["test_cold_pool"]["mrr@10"]
    cold = np.flatnonzero(run.split.cold_items)
    users = np.arange(shop.n_users)
    query_users = QueryUsers(users, run.data.interactions, shop.user_attributes)
    scores = run.model.scorer(query_users, new_items(shop, cold))(users)
    torch.testing.assert_close(scores[:, shop.n_items :], scores[:, cold], atol=1e-5, rtol=0)
    blank = new_items(shop, cold[:1], genres="never seen", shape="")
    assert run.model.without_content(blank).tolist() == [True]
    scores = run.model.scorer(query_users, blank)(users)
    average = scores[:, torch.from_numpy(np.flatnonzero(run.data.warm_items))].mean(1)
    torch.testing.assert_close(scores[:, -1], average)


def test_cold_rows_are_in_no_table_and_the_unknown_row_is_the_mean(shop, tmp_path):
    run, _ = run_one(shop, tmp_path / "run", "DeepFM", "cold-item")
    run.model.scorer()
    names, sizes = run.model.inner.token_field_names, run.model.inner.token_field_dims
    assert sizes[names.index("item_id")] == (~run.split.cold_items).sum() + 1
    table = run.model.inner.token_embedding_table.embedding.weight
    for field in table.split(sizes):
        torch.testing.assert_close(field[0], field[1:].mean(0))


def test_what_is_read_of_attributes(shop):
    """`number` tells each item apart and `title` is left out; what only cold items have is unknown."""
    model = prepare(config("DeepFM", "cold-item"), shop).model
    fields = model.users.described() | model.items.described()
    kinds = {name: kind.value for name, (kind, _) in fields.items()}
    assert kinds == {
        "user_id": "token",
        "user_job": "token",
        "user_height": "float",
        "item_id": "token",
        "item_genres": "token_seq",
        "item_shape": "token",
    }
    assert fields["user_job"][1] == 3 + 1 and fields["item_genres"][1] == 5 + 1
    heights = model.users.table["user_height"]
    assert heights[:, 0].min() == 0 and heights[:, 0].max() == 1 and (heights[:, 1] == 1).all()
    given = pd.DataFrame({"genres": ["long genre9", None], "shape": ["shape1", "round"]})
    coded = model.items.coded(given, torch.zeros(2, dtype=torch.long))
    assert (coded["item_genres"] > 0).sum(1).tolist() == [1, 0]
    assert (coded["item_shape"] > 0).tolist() == [True, False]


@pytest.mark.parametrize("name", ["BPR", "DeepFM"])
def test_new_users_are_ranked_by_what_they_bring(name, shop, tmp_path):
    run, metrics = run_one(shop, tmp_path / "run", name, "cold-user", max_epochs=30)
    assert metrics["test_cold_users"]["recall@10"] > 1.5 * metrics["chance"]["test_cold_users"]["recall@10"]
    cold = np.flatnonzero(run.split.cold_users)
    scores = run.model.scorer()(cold)
    if name == "BPR":  # without interactions: popularity
        counts = torch.from_numpy(run.data.item_counts()).float()
        torch.testing.assert_close(scores, counts.expand_as(scores))
        return
    jobs = cold // 16
    same, other = cold[jobs == jobs[0]], cold[jobs != jobs[0]]
    assert len(same) > 1 and len(other)
    frame = shop.user_attributes.assign(height=0.0)
    nothing = sp.csr_array(run.data.interactions.shape, dtype=np.float32)
    alone = QueryUsers(np.full(len(frame), -1), nothing, frame)
    by_job = run.model.scorer(alone)
    torch.testing.assert_close(by_job(same), by_job(same[:1]).expand(len(same), -1))
    assert not torch.allclose(by_job(same[:1]), by_job(other[:1]))


def test_a_new_user_is_scored_as_the_neighbours_are_on_average(shop, tmp_path):
    run, _ = run_one(shop, tmp_path / "run", "BPR", "cold-user")
    support = shop.matrix(run.split.test_support)
    user = np.unique(support.nonzero()[0])[:1]
    taken, known = support[user].toarray(), run.data.interactions.toarray()
    cosine = (known @ taken[0]) / np.maximum(np.linalg.norm(known, axis=1), 1e-9) / np.linalg.norm(taken)
    near = np.argsort(-cosine, kind="stable")[:20]
    near = near[cosine[near] > 0]
    scores = run.model.scorer()(near).numpy()
    expected = cosine[near] / cosine[near].sum() @ scores
    np.testing.assert_allclose(run.model.scorer(run.data.query_users(support))(user)[0], expected, rtol=1e-4)


def test_negatives_are_repeated_as_recbole_does(shop):
    from recsys.inputs.sampler import Batch

    model = prepare(config("BPR"), shop).model
    users, positives = torch.tensor([0, 1]), torch.tensor([2, 3])
    batch = Batch(users, positives, torch.tensor([[4, 5], [6, 7]]))
    ids = model.items.table["item_id"]
    given = model._interaction(batch)
    assert given["item_id"].tolist() == ids[[2, 3, 2, 3]].tolist()
    assert given["neg_item_id"].tolist() == ids[[4, 6, 5, 7]].tolist()
    pointwise = prepare(config("DeepFM"), shop).model._interaction(batch)
    assert pointwise["item_id"].tolist() == ids[[2, 3, 4, 6, 5, 7]].tolist()
    assert pointwise["label"].tolist() == [1, 1, 0, 0, 0, 0]


@pytest.mark.parametrize(
    ("model", "settings", "message"),
    [
        ("DepFM", {}, "no general or context-aware model 'DepFM'; did you mean 'DeepFM'"),
        ("SASRec", {}, "no general or context-aware model 'SASRec'"),
        ("BPR", {"embeding_size": 4}, "there is no setting 'embeding_size'; did you mean 'embedding_size'"),
        ("DeepFM", {"attributes": ["jobb"]}, "the data set has no 'jobb'; did you mean 'job'"),
        ("DeepFM", {"attributes": ["number"]}, "'number' has one value for all, or one for each"),
        ("KD_DAGFM", {"teacher": "print('x')"}, "setting 'teacher' of KD_DAGFM"),
    ],
)
def test_what_cannot_be_is_said_in_one_line(model, settings, message, shop):
    with pytest.raises(UserError, match=message) as error:
        prepare(RunConfig(model=f"recbole:{model}", dataset="shop", split="random", settings=settings), shop)
    assert "\n" not in str(error.value)


def test_without_recbole_the_package_is_named(monkeypatch):
    from recsys.models.recbole import compat
    from recsys.models.recbole.bridge import recbole_model

    compat._places.cache_clear()
    recbole_model.cache_clear()
    monkeypatch.setitem(sys.modules, "recbole.model.general_recommender", None)
    with pytest.raises(UserError, match=r"pip install 'recsys\[recbole\]'"):
        MODELS.get("recbole:BPR")


@pytest.mark.slow
@pytest.mark.parametrize("split", ["random", "cold-item", "cold-user"])
def test_every_general_and_context_aware_model_runs(split, shop, tmp_path):
    from recsys.models.recbole.compat import _places

    assert len(_places()) == 51
    for name in _places():
        run, metrics = run_one(shop, tmp_path / name, name, split)
        assert run.model.closed_form == (name in CLOSED)
        assert np.isfinite(metrics["test"]["ndcg@20"])
        assert torch.isfinite(run.model.scorer()(np.arange(shop.n_users))).all()


@pytest.mark.parametrize("name", ["DeepFM", "MultiVAE", "SGL", "RecVAE"])
def test_a_killed_run_ends_as_it_would_have(name, shop, tmp_path, monkeypatch):
    """MultiVAE counts its steps, SGL draws from numpy.random, RecVAE trains parts in turns."""
    _, whole = run_one(shop, tmp_path / "a", name, max_epochs=6)
    start = type(prepare(config(name), shop).model).start_epoch

    def killed(model, epoch, generator):
        if epoch == 4:
            raise InterruptedError
        start(model, epoch, generator)

    with monkeypatch.context() as patch, pytest.raises(InterruptedError):
        patch.setattr(MODELS.get(f"recbole:{name}"), "start_epoch", killed)
        run_one(shop, tmp_path / "b", name, max_epochs=6)
    run = prepare(config(name, max_epochs=6), shop)
    resumed = execute(run, tmp_path / "b", resume=True)
    assert resumed["epochs"] == 6 and resumed["test"] == whole["test"]
