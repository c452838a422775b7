"""Scans: blind to the test set, exact in their budget whoever is killed, and readable where they fail."""

import errno
import json
import multiprocessing
import os
import signal
import threading
import time
from types import SimpleNamespace

import pytest
import yaml
from optuna.trial import TrialState

from recsys import files
from recsys.errors import UserError
from recsys.experiments.tune import trials as trials_module
from recsys.experiments.tune.config import Scan, ScanPlan
from recsys.experiments.tune.scan import work
from recsys.experiments.tune.storage import open_study
from recsys.experiments.tune.tuning import Tuning
from recsys.optional_imports import require
from recsys.runs.config import RunConfig

TINY = {"max_epochs": 2, "batch_size": 64}
RUN = {"model": "lightgcn", "dataset": "toy", "settings": TINY}
FILE = {"run": RUN, "search": {"width": [4, 8]}, "trials": 3}


def write(folder, **changes):
    path = folder / "toys.yaml"
    run = {key: changes.pop(key) for key in list(changes) if key in RunConfig.model_fields}
    path.write_text(yaml.safe_dump(FILE | changes | {"run": RUN | changes.pop("run", {}) | run}))
    return path


def states(study):
    return [t.state.name for t in study.get_trials(deepcopy=False)]


class Killed(BaseException):
    """Stands for SIGKILL: nothing of ours catches it."""


def test_a_scan_writes_its_best_setting_which_train_and_bench_take(recsys, tmp_path):
    status, out, _ = recsys("scan", write(tmp_path), "--out", "scan")
    assert status == 0 and "[3/3] trial 2: ndcg@20" in out
    study = study_named(tmp_path / "scan")
    best = yaml.safe_load((tmp_path / "scan" / "best.yaml").read_text())
    top = max(study.trials, key=lambda t: t.value)
    assert best == TINY | top.params
    assert f"validation ndcg@20 {top.value:.6f}" in (tmp_path / "scan" / "best.yaml").read_text()
    command = ["train", "--model", "lightgcn", "--dataset", "toy", "--config", "scan/best.yaml"]
    assert recsys(*command, "--out", "run")[0] == 0
    assert json.loads((tmp_path / "run" / "metrics.json").read_text())["best"] == top.value
    bench = {"models": {"lightgcn": {"tuned": "scan/best.yaml"}}, "datasets": ["toy"], "seeds": [0]}
    (tmp_path / "bench.yaml").write_text(yaml.safe_dump(bench))
    assert recsys("bench", "bench.yaml", "--out", "bench")[0] == 0
    (config,) = (tmp_path / "bench").rglob("config.yaml")
    assert top.params.items() <= yaml.safe_load(config.read_text())["settings"].items()


def study_named(folder):
    return open_study(folder, folder.name, "")


def test_a_finished_scan_runs_nothing_more_and_more_trials_go_on(recsys, tmp_path):
    path = write(tmp_path, search={"learning_rate": None}, settings=TINY | {"width": 4})
    recsys("scan", path, "--out", "scan")
    before = (tmp_path / "scan" / "journal.log").read_bytes()
    status, out, _ = recsys("scan", path, "--out", "scan")
    assert status == 0 and "3 trials finished already" in out
    assert (tmp_path / "scan" / "journal.log").read_bytes() == before
    recsys("scan", path, "--out", "scan", "--trials", "5")
    assert len(study_named(tmp_path / "scan").trials) == 5
    svg = {p.name for p in (tmp_path / "scan").glob("*.svg")}
    assert svg == {"history.svg", "slice.svg", "importance.svg"}
    assert (tmp_path / "scan" / "slice.svg").read_text().startswith("<?xml")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"run": {"modle": "x"}}, ["modle", "did you mean 'model'"]),
        ({"samplr": "tpe"}, ["samplr", "did you mean 'sampler'"]),
        ({"run": {"content": {"misssing": 0.5}}}, ["misssing", "did you mean 'missing'"]),
        ({"model": "lightgnc"}, ["'lightgnc'", "did you mean 'lightgcn'"]),
        ({"dataset": "toyy"}, ["'toyy'", "did you mean 'toy'"]),
        ({"sampler": "tree"}, ["sampler", "'tpe', 'random' or 'grid'"]),
        ({"settings": {"epochs": 3}}, ["'epochs'", "max_epochs"]),
        ({"search": {"widht": None}}, ["'widht'", "did you mean 'width'"]),
        ({"trials": None}, ["trials and timeout are both empty"]),
        ({"trials": 0}, ["trials", "greater than or equal to 1"]),
        ({"settings": TINY | {"monitor": "ndgc@20"}}, ["'ndgc'", "ndcg"]),
        ({"split": "randm"}, ["'randm'", "did you mean 'random'"]),
    ],
)
def test_mistakes_in_the_file_end_in_one_line(recsys, tmp_path, changes, words):
    status, _, err = recsys("scan", write(tmp_path, **changes), "--out", "scan")
    assert status == 2 and err.count("\n") == 1 and err.startswith("recsys: ")
    for word in words:
        assert word in err
    assert not (tmp_path / "scan").exists()


def test_a_folder_with_another_scan_is_refused(recsys, tmp_path):
    recsys("scan", write(tmp_path), "--out", "scan")
    status, _, err = recsys("scan", write(tmp_path, seed=1), "--out", "scan")
    assert status == 2 and "holds another scan: its seed is 0, here it is 1" in err
    assert recsys("scan", write(tmp_path, trials=4), "--out", "scan")[0] == 0


def test_pruning_ends_hopeless_trials_and_counts_them(toy, tmp_path):
    settings = {"max_epochs": 8, "batch_size": 64, "width": 8}
    scan = Scan(
        run=RUN | {"split": "random", "settings": settings}, sampler="grid", warmup=1,
        search={"learning_rate": [0.03, 0.02, 0.04, 0.025, 0.035, 1e-7, 2e-7]}, trials=7,
    )  # fmt: skip
    plan = ScanPlan(scan, tmp_path / "scan", "")
    work(plan, Tuning.of(plan.scan.run, toy))
    ends = {t.params["learning_rate"]: t for t in study_named(tmp_path / "scan").trials}
    assert ends[1e-7].state is ends[2e-7].state is TrialState.PRUNED
    assert len(ends[1e-7].intermediate_values) < 8 == len(ends[0.03].intermediate_values)
    assert ends[0.03].value == max(ends[0.03].intermediate_values.values())


def test_a_killed_training_goes_on_where_it_stopped(toy, tmp_path, monkeypatch):
    """What was reported before the kill is reported again, so that the pruner sees the whole curve."""
    # Epochs as short as these are else not each written.
    monkeypatch.setattr("recsys.training.keeping.WRITE_EVERY", 0)
    run = RUN | {"settings": TINY | {"max_epochs": 6}}
    plan = ScanPlan(Scan(run=run, search={"width": [8]}, trials=1), tmp_path / "scan", "")
    tuning = Tuning.of(plan.scan.run, toy)
    killing = SimpleNamespace(value=lambda s, f, c: tuning.value(s, f, (*c, kill_at(3))))
    with pytest.raises(Killed):
        work(plan, killing)
    name = study_named(tmp_path / "scan").trials[0].user_attrs["worker"][1]
    (tmp_path / "scan" / "workers" / f"{name}.lock").touch()
    epochs = []
    work(plan, SimpleNamespace(value=lambda s, f, c: tuning.value(s, f, (*c, note(epochs)))))
    first, second = study_named(tmp_path / "scan").trials
    assert (first.state, second.state) == (TrialState.FAIL, TrialState.COMPLETE) and epochs == [3, 4, 5]
    assert sorted(second.intermediate_values) == [1, 2, 3, 4, 5, 6]
    assert second.value == tuning.value({"width": 8}, tmp_path / "whole")


def kill_at(epoch):
    import pytorch_lightning as pl

    class Kill(pl.Callback):
        def on_train_epoch_start(self, trainer, module):
            if trainer.current_epoch == epoch:
                raise Killed

    return Kill()


def note(epochs):
    import pytorch_lightning as pl

    class Note(pl.Callback):
        def on_train_epoch_start(self, trainer, module):
            epochs.append(trainer.current_epoch)

    return Note()


@pytest.mark.parametrize(
    ("dataset", "trials", "times"),
    [("toy", 5, 1), pytest.param("ml-100k", 40, 2, marks=pytest.mark.slow)],
)
def test_two_workers_of_which_some_are_killed_end_with_the_exact_budget(
    recsys, tmp_path, dataset, trials, times
):
    settings = {"max_epochs": 15, "patience": 15, "batch_size": 64, "width": 4}
    if dataset == "ml-100k":
        pytest.importorskip("recbole", reason="the embedded data set comes inside the recbole wheel")
        settings |= {"max_epochs": 3, "batch_size": 8192}
    path = write(
        tmp_path,
        **{"dataset": dataset, "split": "random", "settings": settings, "trials": trials},
        **{"search": {"learning_rate": None}, "sampler": "random", "pruner": "none"},
    )
    killed, over = [], threading.Event()

    def kill_some():
        journal = tmp_path / "scan" / "journal.log"
        while not over.is_set() and not journal.exists():
            time.sleep(0.05)
        study = study_named(tmp_path / "scan")
        while len(killed) < times and not over.is_set():
            time.sleep(0.05)
            running = study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
            folders = [tmp_path / "scan" / "trials" / f"{t.number:04d}" / "last.ckpt" for t in running]
            alive = [p.pid for p in multiprocessing.active_children() if p.pid not in killed]
            if alive and any(f.exists() for f in folders):
                os.kill(alive[0], signal.SIGKILL)
                killed.append(alive[0])

    thread = threading.Thread(target=kill_some)
    thread.start()
    try:
        status, out, err = recsys("scan", path, "--workers", "2", "--out", "scan")
    finally:
        over.set()
        thread.join()
    assert status == 0, err
    study = study_named(tmp_path / "scan")
    complete = [t for t in study.trials if t.state is TrialState.COMPLETE]
    assert len(killed) == times and len(complete) == trials
    assert f"{trials} complete, 0 pruned, 0 failed" in out
    assert all(t.state in (TrialState.COMPLETE, TrialState.FAIL) for t in study.trials)
    assert len({t.params["learning_rate"] for t in complete}) == trials
    best = max(complete, key=lambda t: t.value)
    assert yaml.safe_load((tmp_path / "scan" / "best.yaml").read_text()) == settings | best.params


# What is lost


def test_a_full_disk_ends_in_one_line_and_the_scan_goes_on(recsys, tmp_path, monkeypatch):
    path = write(tmp_path, search={"learning_rate": None}, settings=TINY | {"width": 4})
    recsys("scan", path, "--out", "scan", "--trials", "2")

    def full(handle):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(trials_module, "UNCLAIMED_GRACE", 0.1)
    with monkeypatch.context() as patch:
        patch.setattr(files.os, "fsync", full)
        status, _, err = recsys("scan", path, "--out", "scan")
    assert status == 2 and err.count("\n") == 1 and "no space left" in err
    assert recsys("scan", path, "--out", "scan")[0] == 0
    assert states(study_named(tmp_path / "scan")).count("COMPLETE") == 3


def test_a_package_that_is_missing_is_named_with_its_extra(monkeypatch):
    with pytest.raises(UserError, match=r"pip install 'recsys\[plots\]'"):
        require("no_such_package", "plots")
