"""What a trial sees: training and validation, and nothing of the test."""

import numpy as np
import pytest

from recsys.datasets import SPLITS
from recsys.datasets.splits import OF_BUNDLES, make_split
from recsys.experiments.tune.tuning import Tuning, without_test
from recsys.runs.config import RunConfig
from recsys.runs.run import execute, prepare

TINY = {"max_epochs": 2, "batch_size": 64}


@pytest.mark.parametrize(
    "protocol",
    [n for n in SPLITS.builtin if n not in ("predefined", "none") and not n.startswith(OF_BUNDLES)],
)
def test_no_test_row_reaches_a_trial(toy, protocol):
    split = make_split(toy, protocol, 0)
    dataset, blind = without_test(toy, split)
    pairs = toy.interactions[["user", "item"]].to_numpy()
    seen = dataset.interactions[["user", "item"]].to_numpy()
    hidden = {tuple(p) for p in pairs[np.concatenate([split.test, split.test_support])]}
    assert not hidden & {tuple(p) for p in seen} and len(seen) < len(pairs)
    for part in ("train", "valid", "valid_support"):
        np.testing.assert_array_equal(seen[getattr(blind, part)], pairs[getattr(split, part)])
    assert len(blind.test) == len(blind.test_support) == blind.test_pool.sum() == 0


@pytest.mark.parametrize(
    ("model", "protocol"),
    [("lightgcn", "random"), ("vbpr", "cold-item"), ("lightgcn", "cold-user"), ("aff", "cold-item")],
)
def test_a_trial_s_value_is_the_run_s_validation(toy, tmp_path, model, protocol):
    settings = TINY | {"width": 4}
    config = RunConfig(model=model, dataset="toy", split=protocol, settings=TINY)
    value = Tuning.of(config, toy).value({"width": 4}, tmp_path / "trial")
    run = prepare(config.model_copy(update={"settings": settings}), toy)
    assert value == execute(run, tmp_path / "run")["best"]


def test_a_closed_form_model_is_tuned_too(toy, tmp_path):
    tuning = Tuning.of(RunConfig(model="itemknn", dataset="toy"), toy)
    assert 0 < tuning.value({"k": 3}, tmp_path) <= 1 and tuning.value({"k": 30}, tmp_path) > 0
