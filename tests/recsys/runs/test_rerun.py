"""Repeating a run: the same figures, or by how much they differ and what has changed."""

import json

import pytest

from recsys.runs.rerun import figures

TRAIN = ["train", "--model", "lightgcn", "--dataset", "toy", "--out", "run", "--set", "width=4"]
TRAIN += ["--set", "max_epochs=2", "--set", "batch_size=64"]


def test_a_run_repeats_itself_to_the_last_digit(recsys, tmp_path):
    recsys(*TRAIN)
    status, out, _ = recsys("rerun", "run")
    assert status == 0 and "equal: all" in out and "run-rerun" in out
    old, new = (json.loads((tmp_path / n / "metrics.json").read_text()) for n in ("run", "run-rerun"))
    assert dict(figures(old)) == dict(figures(new)) and len(dict(figures(old))) > 20
    assert "changed:" not in out, "what a run took is not compared"
    assert recsys("rerun", "run", "--out", "run")[0] == 2


def test_what_differs_is_told(recsys, tmp_path):
    recsys(*TRAIN)
    path = tmp_path / "run" / "metrics.json"
    metrics = json.loads(path.read_text())
    metrics["test"]["ndcg@20"] += 0.25
    path.write_text(json.dumps(metrics))
    environment = json.loads((tmp_path / "run" / "environment.json").read_text())
    (tmp_path / "run" / "environment.json").write_text(json.dumps(environment | {"python": "2.7"}))
    status, out, _ = recsys("rerun", "run")
    assert status == 1 and "changed: python was 2.7, is 3" in out
    assert "1 of " in out and "test ndcg@20" in out and "-0.25" in out


def test_rounding_is_told_apart_and_is_no_failure(recsys, tmp_path):
    recsys(*TRAIN)
    path = tmp_path / "run" / "metrics.json"
    metrics = json.loads(path.read_text())
    metrics["test"]["ndcg@20"] += 1e-12
    path.write_text(json.dumps(metrics))
    status, out, _ = recsys("rerun", "run")
    assert status == 0 and "1 more by rounding alone" in out
    metrics["test"]["recall@20"] += 0.1
    metrics["test"]["ndcg@10"] += 0.3
    path.write_text(json.dumps(metrics))
    status, out, _ = recsys("rerun", "run", "--out", "third")
    assert status == 1 and "2 of " in out and out.index("test ndcg@10") < out.index("test recall@20")


@pytest.mark.parametrize("broken", ["config.yaml", "metrics.json"])
def test_a_folder_that_is_no_finished_run(recsys, tmp_path, broken):
    recsys(*TRAIN)
    (tmp_path / "run" / broken).unlink()
    status, _, err = recsys("rerun", "run")
    assert status == 2 and err.count("\n") == 1 and broken in err
    assert not (tmp_path / "run-rerun").exists()


def test_figures_leave_out_times():
    metrics = {"test": {"a": 1.0}, "timing": {"total": 3.0}, "model": "x", "flag": True, "epochs": 2}
    assert dict(figures(metrics)) == {"test a": 1.0, "epochs": 2}
