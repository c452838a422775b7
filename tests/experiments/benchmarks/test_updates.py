"""The simulated month: its parts, what each way may know, and that bundles are measured as runs are."""

from itertools import pairwise

import numpy as np
import pytest

from recsys.evaluation.evaluator import Evaluator
from recsys.experiments.benchmarks import updates
from recsys.runs.config import RunConfig
from recsys.runs.package import package
from recsys.runs.run import execute, prepare
from recsys.serving.bundle import load_bundle


def test_the_parts_follow_each_other_in_time_and_are_all(toy):
    parts = updates.parts_of(toy)
    times = toy.interactions["timestamp"].to_numpy()
    assert np.array_equal(np.sort(np.concatenate(parts)), np.arange(len(times)))
    assert all(times[one].max() < times[other].min() for one, other in pairwise(parts))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_a_restricted_data_set_has_the_same_interactions_by_raw_id(toy):
    rows = np.arange(0, 100)
    small = updates.restricted(toy, rows)
    assert small.n_users < toy.n_users and len(small.interactions) == 100

    def pairs(data, frame):
        return set(
            zip(data.user_ids[frame["user"]], data.item_ids[frame["item"]], frame["timestamp"], strict=True)
        )

    assert pairs(small, small.interactions) == pairs(toy, toy.interactions.iloc[rows])
    place = list(toy.item_ids).index(small.item_ids[3])
    assert np.array_equal(small.modalities["image"].features[3], toy.modalities["image"].features[place])


@pytest.mark.parametrize("model", ["ease", "lightgcn"])
def test_a_bundle_is_measured_as_its_run(toy, tmp_path, model):
    settings = {} if model == "ease" else {"max_epochs": 2, "width": 4}
    run = prepare(RunConfig(model=model, dataset="toy", split="random", settings=settings), toy)
    metrics = execute(run, tmp_path / "run")
    run.model.eval()
    bundle = load_bundle(package(run, tmp_path / "bundle"))
    seen = toy.matrix(np.concatenate([run.split.train, run.split.valid]))
    evaluator = Evaluator(toy.matrix(run.split.test), seen, metrics=updates.METRICS)
    found = evaluator.evaluate(updates.BundleScorer(bundle, toy)).metrics["overall"]
    assert found == pytest.approx({name: metrics["test"][name] for name in updates.METRICS})


def test_the_page_of_a_month(toy, tmp_path, monkeypatch):
    monkeypatch.setattr(updates, "load_dataset", lambda name, root: toy)
    quick = {"batch_size": 64, "width": 4}
    monkeypatch.setattr(updates, "SETTINGS", {"ease": {}, "mmhcl": quick})
    page = tmp_path / "updates.md"
    page.write_text("# Old\n\n## Reading\n\nAs expected.\n")
    updates.main(["--epochs", "3", "--seeds", "2", "--out", str(page)])
    text = page.read_text()
    assert text.startswith("# A simulated month\n\n```sh\nOMP_NUM_THREADS=1 python -m") and text.endswith(
        "As expected.\n"
    )
    rows = [line.split(" | ") for line in text.splitlines() if line.startswith(("| 3 |", "| 4 |"))]
    ways = ["nothing", "update", "retrain"], ["nothing", "update", "warm start", "retrain"]
    assert [row[1] for row in rows] == [*ways[0], *ways[0], *ways[1], *ways[1]]
    values = np.array([[float(cell) for cell in row[2:6]] for row in rows])
    assert ((values > 0) & (values <= 1)).all()
    retrained = [row for row in rows if row[1] == "retrain"]
    assert all(row[-2] == "" and float(row[-1].rstrip(" |")) > 0 for row in retrained)
