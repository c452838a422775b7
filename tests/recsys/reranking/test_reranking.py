"""Re-ranking steps against plain loops, and what must not depend on how they are asked for."""

import math

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import torch
import yaml

import recsys as engine
from recsys.datasets.dataset import Modality
from recsys.errors import UserError
from recsys.evaluation.facts import Facts
from recsys.reranking import RERANKERS, base
from recsys.reranking.base import make_reranker
from recsys.reranking.scorer import RerankedScorer
from recsys.serving.parts import LOWEST

N_USERS, N_ITEMS, N, K = 9, 40, 15, 10
OPTIONS = {
    "mmr": {"modality": "image", "relevance": 0.4},
    "calibrated": {"attribute": "kind", "strength": 0.6},
    "caps": {"attribute": "kind", "most": 2},
}


@pytest.fixture(scope="module")
def case():
    rng = np.random.default_rng(0)
    image, mask = rng.normal(size=(N_ITEMS, 4)).astype(np.float32), rng.random(N_ITEMS) < 0.8
    kinds = ["|".join(rng.choice(list("abcd"), rng.integers(0, 4), replace=False)) for _ in range(N_ITEMS)]
    facts = Facts(
        np.ones(N_ITEMS),
        modalities={"image": Modality(image * mask[:, None], mask)},
        item_attributes=pd.DataFrame({"kind": kinds}),
    )
    items = np.array([rng.permutation(N_ITEMS)[:N] for _ in range(N_USERS)])
    scores = -np.sort(-rng.normal(size=(N_USERS, N)), axis=1)
    liked = (rng.random((N_USERS, N_ITEMS)) < 0.2).astype(np.float32)
    liked[3] = 0  # a user who is known to like nothing
    history = sp.csr_array(liked)
    return facts, items, scores, history, image * mask[:, None], [set(k.split("|")) - {""} for k in kinds]


def slow(name, items, scores, liked, image, kinds, k):
    """One user's list by plain loops: items, best first."""
    low, high = min(scores), max(scores)
    s = {int(i): (x - low) / (high - low) for i, x in zip(items, scores, strict=True)}
    chosen = []

    def cosine(i, j):
        x, y = image[i].astype(float), image[j].astype(float)
        return float(x @ y) / math.sqrt(float(x @ x) * float(y @ y)) if x.any() and y.any() else 0.0

    def shares(some):
        named = [i for i in some if kinds[i]]
        return {g: sum((g in kinds[i]) / len(kinds[i]) for i in named) / max(len(named), 1) for g in "abcd"}

    def gain(i):
        if name == "mmr":
            return 0.4 * s[i] - 0.6 * max((cosine(i, j) for j in chosen), default=0.0)
        if name == "calibrated":
            p, q = shares(liked), shares([*chosen, i])
            kl = sum(p[g] * math.log(p[g] / (0.99 * q[g] + 0.01 * p[g])) for g in "abcd" if p[g] > 0)
            return 0.4 * s[i] - 0.6 * kl
        broken = any(sum(g in kinds[j] for j in chosen) >= 2 for g in kinds[i])
        return (not broken, s[i])

    while len(chosen) < k:
        chosen.append(max((i for i in s if i not in chosen), key=gain))
    return chosen


@pytest.mark.parametrize("name", OPTIONS)
@pytest.mark.parametrize("sparse", [False, True])
def test_equals_the_slow_loop(case, name, sparse, monkeypatch):
    facts, items, scores, history, image, kinds = case
    if sparse:
        modality = Modality(sp.csr_array(image), facts.modalities["image"].mask)
        facts = Facts(facts.item_counts, None, {"image": modality}, facts.item_attributes)
    monkeypatch.setattr(base, "CELLS", 4 * N * 4)  # blocks of a few users
    step = make_reranker(name, OPTIONS[name], facts)
    order = step.order(items, scores, history, K)
    changed = 0
    for user in range(N_USERS):
        liked = history[[user]].indices
        wanted = slow(name, items[user], scores[user], liked, image, kinds, K)
        assert items[user][order[user]].tolist() == wanted
        changed += wanted != items[user][:K].tolist()
    assert changed > N_USERS / 2
    if name == "calibrated":
        assert order[3].tolist() == list(range(K))


def test_every_step_is_tested_here():
    assert set(OPTIONS) == set(RERANKERS.builtin)


@pytest.mark.parametrize("name", OPTIONS)
def test_a_longer_list_begins_with_the_shorter_one_and_what_is_no_candidate_comes_last(case, name):
    facts, items, scores, history, *_ = case
    step = make_reranker(name, OPTIONS[name], facts)
    few = np.where(np.arange(N) < 6, scores, -np.inf)
    whole = step.order(items, few, history, 99)
    assert whole.shape == (N_USERS, N) and (np.sort(whole) == np.arange(N)).all()
    assert (np.sort(whole[:, :6]) == np.arange(6)).all()
    assert (whole[:, :4] == step.order(items, few, history, 4)).all()
    nothing = step.order(items[:1], np.full((1, N), -np.inf), history[[0]], 3)
    assert nothing.tolist() == [[0, 1, 2]]
    alike = step.order(items[:1], np.zeros((1, N)), history[[0]], N)
    assert sorted(alike[0].tolist()) == list(range(N))


@pytest.mark.parametrize(
    ("name", "option"), [("mmr", {"relevance": 1}), ("calibrated", {"strength": 0}), ("caps", {"most": 99})]
)
def test_at_the_end_of_its_range_a_step_changes_nothing(case, name, option):
    facts, items, scores, history, *_ = case
    step = make_reranker(name, OPTIONS[name] | option, facts)
    assert (step.order(items, scores, history, K) == np.arange(K)).all()


def test_caps_hold_where_they_can(case):
    facts, items, scores, history, _, kinds = case
    order = make_reranker("caps", {"attribute": "kind", "most": 4}, facts).order(items, scores, history, 5)
    for user in range(N_USERS):
        for kind in "abcd":
            assert sum(kind in kinds[i] for i in items[user][order[user]]) <= 4


class Fixed:
    device = torch.device("cpu")

    def __init__(self, scores):
        self.scores, self.n_items = scores, scores.shape[1]

    def __call__(self, users):
        return torch.from_numpy(self.scores[users])


def test_scores_of_re_ranked_lists_stand_above_the_others_and_leave_them_as_they_are(case):
    facts, _, _, history, *_ = case
    rng = np.random.default_rng(1)
    scores = rng.normal(size=(N_USERS, N_ITEMS)).astype(np.float32)
    scores[:, :5] = LOWEST
    known = sp.csr_array((rng.random((N_USERS, N_ITEMS)) < 0.3).astype(np.float32))
    step = make_reranker("mmr", OPTIONS["mmr"] | {"candidates": 12}, facts)
    got = RerankedScorer(Fixed(scores.copy()), step, known, history, 4)(np.arange(3, N_USERS)).numpy()
    for row, user in enumerate(range(3, N_USERS)):
        masked = np.where(known[[user]].toarray()[0] > 0, -np.inf, scores[user])
        best = np.argsort(-masked, kind="stable")[:12]
        order = step.order(best[None], masked[best][None].astype(float), history[[user]], 4)[0]
        assert np.argsort(-got[row], kind="stable")[:4].tolist() == best[order].tolist()
        others = np.setdiff1d(np.arange(N_ITEMS), best[order])
        assert (got[row][others] == scores[user][others]).all()


@pytest.fixture(scope="module")
def data():
    return engine.toy_data()


@pytest.mark.parametrize(
    ("name", "options", "metric", "more"),
    [
        ("mmr", {"modality": "title", "relevance": 0.3}, "ild.title@10", True),
        ("caps", {"attribute": "department", "most": 4}, "ild.department@10", True),
        ("calibrated", {"attribute": "department", "strength": 0.9}, "ild.department@10", True),
    ],
)
def test_a_run_is_tested_with_the_lists_that_it_recommends(data, name, options, metric, more):
    how = {"split": "random", "metrics": [metric]}
    plain = engine.train("ease", data, **how)
    run = engine.train("ease", data, rerank=name, rerank_options=options, **how)
    assert run.metrics.test[metric] > plain.metrics.test[metric]
    assert run.config.rerank_options.keys() >= options.keys() and "candidates" in run.config.rerank_options
    lists = run.recommend(k=20, held_out=True)
    given = engine.evaluate(lists[["user", "item", "rank"]], data, **how)
    for at in (metric, "ndcg@20", "recall@10", "coverage@20"):
        assert given.metrics.test[at] == pytest.approx(run.metrics.test[at], abs=1e-12)
    # Asked for, or turned off, the lists are the other run's; scores stay the model's.
    pd.testing.assert_frame_equal(
        plain.recommend(k=7, rerank=name, rerank_options=options), run.recommend(k=7)
    )
    pd.testing.assert_frame_equal(run.recommend(k=7, rerank="none"), plain.recommend(k=7))
    merged = run.recommend(k=7).merge(plain.recommend(k=60), on=["user", "item"])
    assert (merged["score_x"] == merged["score_y"]).all()


def test_lists_longer_than_the_candidates_go_on_by_score(data):
    run = engine.train("ease", data, split="random")
    options = {"modality": "title", "candidates": 5}
    found = run.recommend(["u1"], k=12, rerank="mmr", rerank_options=options)["item"].tolist()
    plain = run.recommend(["u1"], k=12)["item"].tolist()
    assert sorted(found[:5]) == sorted(plain[:5]) and found[5:] == plain[5:]


def test_new_items_and_new_users_are_re_ranked(data):
    run = engine.train("contentknn", data, split="random")
    arrived = pd.DataFrame(
        {"sku": [f"n{n}" for n in range(6)], "title": ["red pan"] * 4 + ["green hose", "blue lamp"]}
    ).assign(department=["kitchen"] * 4 + ["garden", "desk"])
    new = {"newcomer": ["p00", "p01", "p20"]}
    how = {"new_items": arrived, "new_users": new, "k": 3, "pool": "new"}
    plain = run.recommend(**how)["item"].tolist()
    for name, options in (
        ("mmr", {"modality": "title", "relevance": 0.1}),
        ("caps", {"attribute": "department", "most": 1}),
        ("calibrated", {"attribute": "department", "strength": 1.0}),
    ):
        found = run.recommend(**how, rerank=name, rerank_options=options)
        assert set(found["item"]) & {"n4", "n5"} and found["item"].tolist() != plain, name
        assert found["new"].all()


@pytest.mark.parametrize(
    ("rerank", "options", "message"),
    [
        ("mrm", {}, "no re-ranking step 'mrm'; did you mean 'mmr'"),
        ("mmr", {}, "name it with modality=NAME; one of title, department"),
        (
            "mmr",
            {"modality": "titel"},
            "re-ranking 'mmr': the data set has no modality 'titel'; did you mean 'title'",
        ),
        ("mmr", {"modality": "title", "relevance": 2}, "relevance"),
        ("caps", {"attribute": "department", "mots": 2}, "no setting 'mots'"),
        (
            "caps",
            {},
            "reads one attribute: name it with attribute=NAME; one of popularity, title, department",
        ),
        ("", {"most": 2}, "no step: name one with rerank"),
    ],
)
def test_what_cannot_be_re_ranked_is_refused_before_training(data, rerank, options, message):
    with pytest.raises(UserError, match=message) as error:
        engine.train("ease", data, rerank=rerank, rerank_options=options)
    assert "\n" not in str(error.value)


def test_the_command_line_and_benchmarks_compare_steps(recsys, tmp_path):
    file = {
        "title": "Steps",
        "models": {
            "by score": {"model": "ease"},
            "mmr": {
                "model": "ease",
                "rerank": "mmr",
                "rerank_options": {"modality": "image", "relevance": 0.3},
            },
        },
        "datasets": ["toy"],
        "splits": ["random"],
        "seeds": [0, 1],
        "columns": ["ndcg@10", "ild.image@10"],
    }
    (tmp_path / "steps.yaml").write_text(yaml.safe_dump(file))
    status, out, err = recsys("bench", "steps.yaml", "--out", "bench")
    assert status == 0 and "ild.image@10" in out, err
    table = pd.read_csv("bench/table.csv").set_index(["model", "column"])["mean"]
    assert table["mmr", "ild.image@10"] > table["by score", "ild.image@10"]
    how = ("--rerank", "mmr", "--rerank-set", "modality=image", "--rerank-set", "relevance=0.3")
    one = ("--model", "ease", "--dataset", "toy", "--split", "random", "--metric", "ild.image@10")
    status, out, err = recsys("train", *one, *how, "--out", "alone/mmr")
    assert status == 0, err
    assert "re-ranked by mmr (candidates 100, modality image, relevance 0.3)" in " ".join(out.split())
    assert recsys("train", *one, "--out", "alone/plain")[0] == 0
    assert recsys("report", "alone")[0] == 0
    page = (tmp_path / "alone/report/tables.md").read_text()
    assert "ease, mmr (candidates 100, modality image, relevance 0.3)" in page
    status, by_run, _ = recsys("recommend", "--run", "alone/mmr", "--user", "u1")
    assert by_run == recsys("recommend", "--run", "alone/plain", "--user", "u1", *how)[1]
    assert by_run != recsys("recommend", "--run", "alone/plain", "--user", "u1")[1]
    status, _, err = recsys("recommend", "--run", "alone/plain", "--user", "u1", "--rerank", "mmr")
    assert status == 2 and "one of image, tags" in err
    assert recsys("show", "reranking", "mmr")[0] == 0
