""" "Because you took": weights against loops, exact where a model's score is a sum."""

import numpy as np
import pandas as pd
import pytest

import recsys as engine
from recsys.runs import reasons

LINEAR = {
    "ease": {"content": 0.5},
    "itemknn": {},
    "contentknn": {"k": 7},
    "contentridge": {},
    "hyperwalk": {"k": 5},
}


@pytest.fixture(scope="module")
def data():
    return engine.toy_data()


@pytest.mark.parametrize("name", LINEAR)
def test_of_linear_models_all_weights_add_up_to_the_score(data, name, monkeypatch):
    monkeypatch.setattr(reasons, "PAIRS", 300)  # few recommendations and few history items at a time
    monkeypatch.setattr(reasons, "CELLS", 400)
    run = engine.train(name, data, split="cold-item", **LINEAR[name])
    frame = run.recommend(k=5, because=99, held_out=True)
    assert any(note.startswith(f"because: exact, {name}'s score is the sum") for note in frame.attrs["notes"])
    taken = run.model.data.interactions
    for row in frame.iloc[::17].to_dict("records"):
        user = data.user_ids.tolist().index(row["user"])
        known = data.item_ids[taken[[user]].indices].tolist()
        assert set(row["because"]) <= set(known) and len(set(row["because"])) == len(row["because"])
        assert row["because_weights"] == sorted(row["because_weights"], reverse=True)
        # Each weight is what the item alone would give, by the public way of asking.
        one = run.recommend(new_users={"x": [row["because"][0]]}, k=data.n_items)
        alone = one.set_index("item")["score"]
        if row["item"] != row["because"][0]:
            assert row["because_weights"][0] == pytest.approx(alone[row["item"]], rel=1e-4)
    if name in ("itemknn", "contentknn", "hyperwalk"):  # no weight is negative there
        sums = frame["because_weights"].map(sum)
        assert sums.to_numpy() == pytest.approx(frame["score"].to_numpy(), rel=1e-4)


def test_the_first_few_are_the_heaviest_and_users_without_history_have_none(data):
    run = engine.train("ease", data, split="random")
    whole, few = (run.recommend(k=4, because=n) for n in (99, 2))
    assert [w[:2] for w in whole["because"]] == few["because"].tolist()
    assert [w[:2] for w in whole["because_weights"]] == few["because_weights"].tolist()
    plain = run.recommend(k=4)
    pd.testing.assert_frame_equal(few[plain.columns], plain)
    new = run.recommend(new_users={"a": [], "b": ["p00", "p04"]}, k=2, because=3)
    assert new["because"].tolist()[:2] == [[], []] and set(new["because"].tolist()[2]) <= {"p00", "p04"}


def test_of_models_with_vectors_weights_are_cosines_of_items(data):
    run = engine.train("vbpr", data, split="cold-item", max_epochs=2)
    arrived = pd.DataFrame({"sku": ["n1"], "title": ["red pan"], "department": ["kitchen"]})
    frame = run.recommend(["u1"], k=3, because=2, new_items=arrived, pool="all")
    assert any("by similarity, the cosine of vbpr's vectors" in note for note in frame.attrs["notes"])
    known = frame[frame["item"] != "n1"].iloc[0]
    near = run.similar_items(known["item"], k=data.n_items).set_index("item")["similarity"]
    for item, weight in zip(known["because"], known["because_weights"], strict=True):
        assert weight == pytest.approx(near[item], abs=1e-5)
    user = data.user_ids.tolist().index("u1")
    taken = data.item_ids[run.model.data.interactions[[user]].indices]
    assert known["because"][0] == near[np.setdiff1d(taken, [known["item"]])].idxmax()


def test_of_other_models_weights_are_cosines_of_who_took_both(data):
    small = {"components.cm3.settings.width": 8, "components.mmhcl.settings.width": 8}
    run = engine.train("confluence", data, split="random", max_epochs=1, **small)
    frame = run.recommend(["u1"], k=2, because=3)
    assert any("cosine of who took both" in note for note in frame.attrs["notes"])
    taken = run.model.data.interactions.toarray()
    row = frame.iloc[0]
    place = data.item_ids.tolist().index
    for item, weight in zip(row["because"], row["because_weights"], strict=True):
        x, y = taken[:, place(row["item"])], taken[:, place(item)]
        assert weight == pytest.approx(x @ y / np.sqrt((x @ x) * (y @ y)))


def test_the_command_line_names_and_writes_them(recsys, tmp_path):
    assert recsys("train", "--model", "ease", "--dataset", "toy", "--split", "random", "--out", "run")[0] == 0
    ask = ("recommend", "--run", "run", "--k", 2, "--because", 2)
    status, out, err = recsys(*ask, "--user", "u1")
    assert status == 0 and "note: because: exact" in out and "because of" in out and "; Item" in out, err
    assert recsys(*ask, "--users", "all", "--output", "lists.csv")[0] == 0
    written = pd.read_csv(tmp_path / "lists.csv")
    assert written["because"].str.split("|").map(len).max() == 2
    assert written["because_weights"].astype(str).str.split("|").map(lambda w: float(w[0]) > 0).all()
    assert recsys(*ask, "--users", "all", "--output", "lists.parquet")[0] == 0
    assert len(pd.read_parquet(tmp_path / "lists.parquet")["because"][0]) == 2
