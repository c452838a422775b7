"""A test on some of the users: the same ones each time, with the standard error of what it says of all."""

import json

import numpy as np
import pandas as pd
import pytest

import recsys as package


def test_it_draws_the_same_users_for_every_model_and_says_how_sure_it_is(toy, tmp_path):
    folders = {name: tmp_path / name for name in ("pop", "itemknn")}
    runs = {n: package.train(n, toy, split="random", evaluate_users=20, folder=f) for n, f in folders.items()}
    whole = package.train("itemknn", toy, split="random")
    users = [set(run.per_user.query("group == 'overall'")["user"]) for run in runs.values()]
    assert users[0] == users[1] and len(users[0]) == 20
    values = runs["itemknn"].metrics.values
    assert values["users"]["test"] == 20 and values["drawn"] == whole.metrics.users["test"] == 48
    all_users = whole.per_user.query("group == 'overall'").set_index("user")["ndcg@20"]
    drawn = all_users[sorted(users[0])]
    assert runs["itemknn"].metrics.test["ndcg@20"] == pytest.approx(drawn.mean())
    expected = drawn.std() / np.sqrt(20) * np.sqrt(1 - 20 / 48)
    assert values["standard_error"]["test"]["ndcg@20"] == pytest.approx(expected)


def test_the_standard_error_is_how_far_draws_lie_apart():
    """Over many draws without replacement the means' spread is the error that one draw tells."""
    from recsys.evaluation.evaluator import Evaluation
    from recsys.runs.run import standard_errors

    rng = np.random.default_rng(0)
    population = rng.random(200)
    means, told = [], []
    for _ in range(400):
        drawn = rng.permutation(population)[:80]
        frame = pd.DataFrame({"user": range(80), "group": pd.Categorical(["overall"] * 80), "ndcg@20": drawn})
        means.append(drawn.mean())
        told.append(standard_errors(Evaluation({}, {}, frame, {}), 80 / 200)["test"]["ndcg@20"])
    assert np.mean(told) == pytest.approx(np.std(means), rel=0.1)


def test_tables_say_so_and_a_draw_of_all_is_no_draw(recsys, tmp_path):
    run = ["train", "--dataset", "toy", "--model", "itemknn", "--out"]
    out = " ".join(recsys(*run, "some", "--evaluate-users", "20")[1].split())
    assert "20 of 48 drawn; standard error of recall@20: 0." in out
    recsys(*run, "all", "--evaluate-users", "1000")
    values = json.loads((tmp_path / "all" / "metrics.json").read_text())
    assert "drawn" not in values and not values["standard_error"]
    (tmp_path / "b.yaml").write_text(
        "models: [pop]\ndatasets: [toy]\nsplits: [random]\nrun: {evaluate_users: 20}\n"
    )
    assert recsys("bench", "b.yaml", "--out", "out")[0] == 0
    assert "20 users drawn" in (tmp_path / "out" / "table.md").read_text()
