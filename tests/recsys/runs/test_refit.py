"""Training on everything, for use: the tested run's epochs and calibration, no test figure, nothing held out."""

import json

import numpy as np
import pytest
from safetensors.numpy import load_file

import recsys as package
from recsys.errors import UserError
from recsys.runs.refit import best_epochs

SMALL = {"width": 4, "batch_size": 64}
TRAIN = ["train", "--dataset", "toy", "--set", "width=4", "--set", "batch_size=64"]


@pytest.fixture(scope="module")
def tested(toy, tmp_path_factory):
    folder = tmp_path_factory.mktemp("tested") / "run"
    return package.train("lightgcn", toy, split="random", max_epochs=6, folder=folder, **SMALL)


def test_it_trains_on_everything_for_the_best_number_of_epochs(toy, tested):
    served = tested.refit()
    assert len(served.split.train) == len(toy.interactions) and not len(served.split.test)
    assert served.metrics.values["epochs"] == tested.metrics.values["best_epoch"] + 1
    by_hand = package.train(
        "lightgcn", toy, split="none", max_epochs=tested.metrics.values["best_epoch"] + 1, **SMALL
    )
    ours, theirs = (load_file(run.folder / "model.safetensors") for run in (served, by_hand))
    assert all(np.array_equal(ours[name], theirs[name]) for name in theirs)


def test_no_figure_comes_from_it(tested, tmp_path):
    served = tested.refit(tmp_path / "served")
    assert served.metrics.values["test_opened"] == 0 and "best" not in served.metrics.values
    assert not (tmp_path / "served" / "per_user.parquet").exists()
    with pytest.raises(UserError, match="nothing was held out"):
        served.metrics.test["ndcg@20"]
    with pytest.raises(UserError, match="trained on everything"):
        served.refit()


def test_nobody_is_recommended_what_they_have(toy, tested):
    lists = tested.refit().recommend(k=30)
    had = set(
        zip(toy.user_ids[toy.interactions["user"]], toy.item_ids[toy.interactions["item"]], strict=True)
    )
    assert not had & set(zip(lists["user"], lists["item"], strict=True))


def test_stages_and_calibration_are_kept(toy, tmp_path):
    components = {"lightgcn": {"settings": SMALL}, "cm3": {"settings": SMALL | {"k": 3}}, "pop": {}}
    tested = package.train(
        "confluence", toy, split="random", components=components, max_epochs=4, folder=tmp_path / "tested"
    )
    served = tested.refit(tmp_path / "served")
    weights = {name: buffer.tolist() for name, buffer in tested.model.calibration().items()}
    assert weights == {name: buffer.tolist() for name, buffer in served.model.calibration().items()}
    assert set(served.config.refit.epochs) == {"lightgcn", "cm3"}
    assert served.metrics.values["epochs"] == sum(served.config.refit.epochs.values())
    again = package.load_run(tmp_path / "served")
    assert again.recommend(k=3).equals(served.recommend(k=3))


def test_best_epochs_are_each_stages_own(tmp_path):
    (tmp_path / "history.csv").write_text(
        "epoch,ndcg@20,stage\n0,0.1,a\n1,0.3,a\n2,0.3,a\n3,,b\n4,0.2,b\n5,0.1,b\n"
    )
    assert best_epochs(tmp_path, 4, "ndcg@20") == {"a": 2, "b": 2}
    assert best_epochs(tmp_path, None, "ndcg@20") == {}
    (tmp_path / "history.csv").write_text("epoch,ndcg@20,recall@5,stage\n0,0.1,,a\n1,,0.2,b\n2,,0.3,b\n")
    assert best_epochs(tmp_path, 2, "ndcg@20") == {"a": 1, "b": 2}, "a stage with a metric of its own"


def test_command_line(recsys, tmp_path):
    recsys(*TRAIN, "--model", "lightgcn", "--set", "max_epochs=3", "--out", "tested")
    status, out, err = recsys("train", "--refit", "tested", "--out", "served")
    assert status == 0 and "nothing is measured" in " ".join(out.split()), err
    status, out, _ = recsys("rerun", "served")
    assert status == 0 and "equal: all" in out
    for extra in (["--model", "pop"], ["--set", "width=8"], ["--seed", "1"], ["--split", "random"]):
        status, _, err = recsys("train", "--refit", "tested", "--out", "other", *extra)
        assert status == 2 and extra[0] in err and err.count("\n") == 1
    status, _, err = recsys("report", "served")
    assert status == 2 and "nothing held out" in err


def test_a_changed_weight_is_told_by_rerun(recsys, tmp_path):
    recsys(*TRAIN, "--model", "lightgcn", "--split", "none", "--set", "max_epochs=2", "--out", "served")
    config = (tmp_path / "served" / "config.yaml").read_text()
    (tmp_path / "served" / "config.yaml").write_text(config.replace("seed: 0", "seed: 1"))
    status, out, _ = recsys("rerun", "served")
    assert status == 1 and "sum of" in out


def test_what_needs_held_out_interactions_says_so(recsys, toy, tmp_path):
    status, _, err = recsys(*TRAIN, "--model", "lightgcn", "--split", "none", "--out", "x")
    assert status == 2 and "max_epochs" in err and "--refit" in err and not (tmp_path / "x").exists()
    (tmp_path / "bench.yaml").write_text("models: [pop, itemknn]\ndatasets: [toy]\nsplits: [none]\n")
    status, _, err = recsys("bench", "bench.yaml", "--out", "y")
    assert status == 2 and "nothing out" in err and err.count("\n") == 1
    with pytest.raises(UserError, match="nothing out"):
        package.evaluate(np.zeros((48, 36), np.float32), toy, split="none")


def test_a_resumed_training_on_everything_ends_alike(recsys, tmp_path):
    recsys(*TRAIN, "--model", "lightgcn", "--split", "none", "--set", "max_epochs=3", "--out", "whole")
    recsys(*TRAIN, "--model", "lightgcn", "--split", "none", "--set", "max_epochs=3", "--out", "cut")
    (tmp_path / "cut" / "metrics.json").unlink()
    assert (
        recsys(
            *TRAIN,
            "--model",
            "lightgcn",
            "--split",
            "none",
            "--set",
            "max_epochs=3",
            "--out",
            "cut",
            "--resume",
        )[0]
        == 0
    )
    ours, theirs = (load_file(tmp_path / name / "model.safetensors") for name in ("whole", "cut"))
    assert all(np.array_equal(ours[name], theirs[name]) for name in theirs)
    assert json.loads((tmp_path / "cut" / "metrics.json").read_text())["epochs"] == 3


def test_bundles_are_refitted_too(shared_data, recsys):
    root = ["--data-root", str(shared_data)]
    bundles = ["--task", "bundle", "--dataset", "bundle-clothing", *root]
    assert recsys("train", "--model", "cooccurrence", *bundles, "--out", "tested")[0] == 0
    assert recsys("train", "--refit", "tested", "--out", "served", *root)[0] == 0
    for name in ("tested", "served"):
        status, out, _ = recsys("complete", "--run", name, "--items", "209740", "--k", "2", *root)
        assert status == 0 and "to complete 209740" in out
