"""The bundle in a run's folder: of the weights that the run has in the end, whoever wrote it when."""

import shutil

import pandas as pd
import pytest

from recsys.runs.recommend import catalogue_users, recommend_to
from recsys.runs.run import load_run
from recsys.serving.bundle import load_bundle


@pytest.mark.parametrize("model", ["lightgcn", "aff", "ease"])
def test_a_run_keeps_the_bundle_of_its_weights(recsys, model, tmp_path):
    trained = [] if model == "ease" else ["--set", "max_epochs=3", "--set", "batch_size=64"]
    command = ["train", "--model", model, "--dataset", "toy", "--split", "random", *trained, "--out", "run"]
    status, _, error = recsys(*command)
    assert status == 0, error
    run = load_run(tmp_path / "run")
    expected = recommend_to(run, catalogue_users(run), None, k=5).frame
    columns = ["user", "item"]
    for again in ([], ["--resume"]):
        if again:  # a finished run, whose model is not trained anew
            shutil.rmtree("run/serving")
            status, _, error = recsys(*command, *again)
            assert status == 0, error
        found = load_bundle("run/serving").recommend(k=5)
        pd.testing.assert_frame_equal(found[columns], expected[columns])
        pd.testing.assert_series_equal(found["score"], expected["score"], rtol=1e-4, atol=1e-4)
