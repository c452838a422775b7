"""The mean gates of a run: table, figure, and what is said where there are none."""

import sys
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from recsys.errors import UserError
from recsys.runs.config import RunConfig
from recsys.runs.explain import FIGURE_FILE, GATES_FILE, check_explainable, explain, mean_gates
from recsys.runs.run import execute, prepare


@pytest.fixture(scope="module")
def run(toy, tmp_path_factory):
    users = pd.DataFrame({"colour": np.repeat(["red", "green", "blue"], 16)})
    told = replace(toy, user_attributes=users)
    settings = {"width": 8, "max_epochs": 1}
    made = prepare(RunConfig(model="aff", dataset="toy", split="cold-user", settings=settings), told)
    execute(made, tmp_path_factory.mktemp("run") / "run")
    return made


def test_gates_are_averaged_over_those_that_have_the_field(run):
    frame = mean_gates(run).set_index(["of", "field", "group"])
    assert set(frame.index.get_level_values("of")) == {"user", "item", "context"}
    support = run.dataset.matrix(run.split.test_support)
    found = run.model.field_gates(support)["user"]
    assert found.fields == ["colour", "history", "id"]
    held = (
        np.asarray(support.sum(axis=1)).ravel() > 0
    )  # some cold users validate, and bring nothing to the test
    line = frame.loc[("user", "history", "cold")]
    assert line["rows"] == run.split.cold_users.sum() and line["held"] == pytest.approx(
        held[run.split.cold_users].mean()
    )
    assert line["gate"] == pytest.approx(found.values[held & run.split.cold_users, 1].mean(), rel=1e-5)
    assert (
        np.isnan(frame.loc[("user", "id", "cold")]["gate"]) and frame.loc[("user", "id", "warm")]["held"] == 1
    )
    assert frame["gate"].dropna().between(0, 1, inclusive="neither").all()


def test_table_and_figure_are_kept(run, tmp_path):
    table = explain(run, tmp_path)
    assert table.row_count == 3 + 3 + 2
    kept = pd.read_csv(tmp_path / GATES_FILE)
    pd.testing.assert_frame_equal(kept, mean_gates(run), check_dtype=False, rtol=1e-6)
    assert "<svg" in (tmp_path / FIGURE_FILE).read_text()


def test_a_model_without_gates_is_one_line(run, toy, monkeypatch):
    with pytest.raises(UserError, match="pop has no gates to explain"):
        check_explainable(prepare(RunConfig(model="pop", dataset="toy"), toy).model, "pop")
    ungated = prepare(RunConfig(model="aff", dataset="toy", settings={"gates": False}), toy)
    with pytest.raises(UserError, match="aff has no gates to explain"):
        check_explainable(ungated.model, "aff")
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(UserError, match=r"pip install 'recsys\[plots\]'"):
        check_explainable(run.model, "aff")
