"""Scans: blind to the test set, exact in their budget whoever is killed, and readable where they fail."""

import errno
import json
import math
import multiprocessing
import os
import signal
import threading
import time
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import optuna
import pytest
import yaml
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState

from recsys import files
from recsys.datasets.splits import PROTOCOLS, make_split
from recsys.errors import UserError
from recsys.experiments import scan as scan_module
from recsys.experiments import trials as trials_module
from recsys.experiments.extras import require
from recsys.experiments.plan import find_file
from recsys.experiments.scan import work
from recsys.experiments.scanfile import Plan, Scan, read_scan
from recsys.experiments.space import grid, search_space
from recsys.experiments.storage import Journal, open_study, told_in_a_line
from recsys.experiments.trials import Budget, Worker, ended, stands
from recsys.models import MODELS
from recsys.models.base import Model
from recsys.runs import RunConfig, execute, prepare
from recsys.settings import Settings, setting
from recsys.tuning import Tuning, without_test

TINY = {"max_epochs": 2, "batch_size": 64}
FILE = {"model": "lightgcn", "dataset": "toy", "settings": TINY, "search": {"width": [4, 8]}, "trials": 3}


def write(folder, **changes):
    path = folder / "toys.yaml"
    path.write_text(yaml.safe_dump(FILE | changes))
    return path


# What a trial sees


@pytest.mark.parametrize("protocol", sorted(PROTOCOLS.keys() - {"predefined"}))
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
    ("model", "protocol"), [("lightgcn", "random"), ("vbpr", "cold-item"), ("lightgcn", "cold-user")]
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


# Search spaces


class Everything(Settings):
    rate: float = setting(0.1, low=0, high=1, search=(1e-3, 1.0), log=True)
    share: float = setting(0.5, low=0, high=1, search=(0.0, 1.0))
    layers: int = setting(2, low=0, high=10, search=(1, 4))
    kind: str = setting("a", search=["a", "b"])
    width: int = setting(4, search=[4, 8, 16])
    bias: bool = setting(True, search=[True, False])
    other: int = setting(1)


class Any(Model):
    Settings = Everything
    closed_form = True


def test_declared_ranges_become_typed_distributions():
    assert search_space(Any, {"width": 4}) == {
        "rate": FloatDistribution(1e-3, 1.0, log=True),
        "share": FloatDistribution(0.0, 1.0),
        "layers": IntDistribution(1, 4),
        "kind": CategoricalDistribution(["a", "b"]),
        "bias": CategoricalDistribution([True, False]),
    }


def test_a_file_overrides_the_ranges():
    wanted = {"rate": None, "layers": {"low": 1, "high": 9, "step": 2}, "other": [3, 5], "share": [0.5]}
    assert search_space(Any, {}, wanted) == {
        "rate": FloatDistribution(1e-3, 1.0, log=True),
        "layers": IntDistribution(1, 9, step=2),
        "other": CategoricalDistribution([3, 5]),
        "share": CategoricalDistribution([0.5]),
    }


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ({"ratte": None}, "no setting 'ratte'; did you mean 'rate'"),
        ({"other": None}, "'other' declares no range"),
        ({"rate": {"low": 0.1, "hihg": 1}}, "has no 'hihg'; did you mean 'high'"),
        ({"rate": {"low": 0.5, "high": 0.1}}, "expected {low, high, log}"),
        ({"rate": {"low": 0.0, "high": 0.1, "log": True}}, "expected {low, high, log}"),
        ({"rate": {"low": 0.1, "high": 7}}, "'rate' of search: .*less than or equal to 1"),
        ({"kind": {"low": 1, "high": 2}}, "expected a list of choices, got"),
        ({"layers": [1, 99]}, "'layers' of search"),
        ({"layers": []}, "at least one"),
        ({"layers": {"low": "x", "high": 3}}, "expected {low, high, log}"),
        ({"fixed": None}, "no setting 'fixed'"),
        ({"width": None}, "'width' is under settings too"),
        ({}, "nothing to search"),
    ],
)
def test_ranges_that_cannot_be(wanted, message):
    with pytest.raises(UserError, match=message):
        search_space(Any, {"width": 4}, wanted)


def test_a_grid_covers_choices_and_spreads_over_ranges():
    space = search_space(Any, {}, {"kind": None, "layers": {"low": 1, "high": 3}})
    assert grid(space, 4) == [{"kind": k, "layers": n} for k in "ab" for n in (1, 2, 3)]
    rates = [p["rate"] for p in grid(search_space(Any, {}, {"rate": None}), 4)]
    assert rates == pytest.approx([0.001, 0.01, 0.1, 1.0]) and rates[0] >= 0.001 and rates[-1] <= 1.0
    wide = search_space(Any, {}, {"layers": {"low": 0, "high": 10, "step": 2}})
    assert [p["layers"] for p in grid(wide, 3)] == [0, 4, 10] or [p["layers"] for p in grid(wide, 3)] == [
        0,
        6,
        10,
    ]
    assert [p["layers"] for p in grid(wide, 20)] == [0, 2, 4, 6, 8, 10]


# The budget


class Curve:
    """Stands for training: the value is a formula of the setting."""

    def __init__(self, act=lambda settings: None):
        self.act, self.calls = act, []

    def value(self, settings, folder, callbacks=()):
        self.calls.append(dict(settings))
        self.act(settings)
        return -((settings["x"] - 0.3) ** 2)


SPACE = {"x": FloatDistribution(0.0, 1.0)}


def worker(study, folder, tuning=None, points=None, **options):
    def sampler(number):
        return optuna.samplers.RandomSampler(seed=number)

    return Worker(study, tuning or Curve(), SPACE, folder, points=points, sampler=sampler, **options)


def study_in(folder):
    return open_study(folder, "s", "")


def states(study):
    return [t.state.name for t in study.get_trials(deepcopy=False)]


def test_a_budget_of_trials_is_spent_once(tmp_path):
    study = study_in(tmp_path)
    worker(study, tmp_path).run(Budget(5, None))
    worker(study_in(tmp_path), tmp_path).run(Budget(5, None))
    assert states(study_in(tmp_path)) == ["COMPLETE"] * 5
    worker(study_in(tmp_path), tmp_path).run(Budget(7, None))
    assert len(states(study_in(tmp_path))) == 7


def test_a_budget_of_time_ends_between_trials(tmp_path):
    study = study_in(tmp_path)
    worker(study, tmp_path, Curve(lambda s: time.sleep(0.2))).run(Budget(None, 0.5))
    assert 1 <= len(states(study)) <= 4 and set(states(study)) == {"COMPLETE"}


def test_the_same_trials_whether_or_not_the_scan_was_stopped(tmp_path):
    worker(study_in(tmp_path / "a"), tmp_path / "a").run(Budget(6, None))
    for budget in (2, 3, 6):
        worker(study_in(tmp_path / "b"), tmp_path / "b").run(Budget(budget, None))
    drawn = [[t.params for t in study_in(tmp_path / f).get_trials()] for f in "ab"]
    assert drawn[0] == drawn[1] and len({t["x"] for t in drawn[0]}) == 6


def frozen(number, state, params=None, **attrs):
    system = {"fixed_params": params} if params else {}
    return SimpleNamespace(number=number, state=state, user_attrs=attrs, system_attrs=system)


def test_a_trial_stands_by_those_before_it():
    before = [
        frozen(0, TrialState.COMPLETE, {"x": 1}),
        frozen(1, TrialState.FAIL),
        frozen(2, TrialState.FAIL, error="diverged"),
        frozen(3, TrialState.RUNNING, {"x": 2}),
        frozen(4, TrialState.WAITING, {"x": 3}),
    ]
    last = frozen(5, TrialState.RUNNING, {"x": 3})
    after = frozen(6, TrialState.RUNNING, {"x": 3})
    assert not stands(last, [*before, last, after], 4, False)
    assert stands(last, [*before, last, after], 5, False) and stands(last, before, None, False)
    assert not stands(last, before, 5, True)
    assert stands(frozen(5, TrialState.RUNNING, {"x": 4}), before, 5, True)
    assert not stands(frozen(5, TrialState.RUNNING), before, 5, True)
    assert [ended(t) for t in before] == [True, False, True, False, False]


def test_many_workers_at_once_do_not_overspend(tmp_path):
    errors = []

    def run():
        try:
            worker(study_in(tmp_path), tmp_path, Curve(lambda s: time.sleep(0.01))).run(Budget(12, None))
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors and states(study_in(tmp_path)).count("COMPLETE") == 12
    assert set(states(study_in(tmp_path))) <= {"COMPLETE", "FAIL"}


def test_a_grid_takes_each_point_once(tmp_path):
    points = [{"x": k / 4} for k in range(5)]
    study = study_in(tmp_path)
    threads = [
        threading.Thread(
            target=lambda: worker(study_in(tmp_path), tmp_path, points=points).run(Budget(5, None))
        )
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    complete = study.get_trials(states=(TrialState.COMPLETE,))
    assert sorted(t.params["x"] for t in complete) == [p["x"] for p in points]


class Killed(BaseException):
    """Stands for SIGKILL: nothing of ours catches it."""


def die(settings):
    raise Killed


def test_a_dead_worker_s_trial_is_failed_and_its_settings_run_again(tmp_path):
    study = study_in(tmp_path)
    with pytest.raises(Killed):
        worker(study, tmp_path, Curve(die)).run(Budget(2, None))
    assert states(study) == ["RUNNING"]
    lock = next((tmp_path / "workers").iterdir(), None)
    lock = lock or tmp_path / "workers" / f"{study.trials[0].user_attrs['worker'][1]}.lock"
    lock.touch()  # a killed process leaves the file, and the kernel frees the lock
    second = Curve()
    worker(study_in(tmp_path), tmp_path, second).run(Budget(2, None))
    trials = study_in(tmp_path).get_trials()
    assert [t.state.name for t in trials].count("COMPLETE") == 2
    assert [t.state.name for t in trials].count("FAIL") == 1
    assert second.calls[0] == trials[0].params
    assert trials[1].user_attrs["folder"] == 0 and trials[1].user_attrs["deaths"] == 1


def test_a_live_worker_s_trial_is_left_alone(tmp_path):
    study = study_in(tmp_path)
    other = worker(study, tmp_path)
    (tmp_path / "workers").mkdir(parents=True)
    trial = study.ask()
    trial.set_user_attr("worker", [other.host, other.id])
    with trials_module.FileLock(other._lock_file(other.id)):
        assert not worker(study, tmp_path)._is_dead(study.trials[0])
    other._lock_file(other.id).touch()
    assert worker(study, tmp_path)._is_dead(study.trials[0])


def test_a_worker_elsewhere_is_dead_when_its_heart_stops(tmp_path, monkeypatch):
    study = study_in(tmp_path)
    trial = study.ask()
    trial.set_user_attr("worker", ["elsewhere", "w"])
    watcher, clock = worker(study, tmp_path), [1000.0]
    monkeypatch.setattr(trials_module.time, "monotonic", lambda: clock[0])
    for beat in range(5):
        trial.set_user_attr("beat", beat)
        assert not watcher._is_dead(study.trials[0])
        clock[0] += trials_module.GRACE - 1
    assert not watcher._is_dead(study.trials[0])
    clock[0] += 2
    assert watcher._is_dead(study.trials[0])


def test_a_trial_that_kills_its_worker_every_time_is_given_up(tmp_path):
    for _ in range(trials_module.DEATHS):
        study = study_in(tmp_path)
        with pytest.raises(Killed):
            worker(study, tmp_path, Curve(die)).run(Budget(1, None))
        name = study.trials[-1].user_attrs["worker"][1]
        (tmp_path / "workers" / f"{name}.lock").touch()
    worker(study_in(tmp_path), tmp_path, Curve(die)).run(Budget(1, None))
    assert [t.user_attrs["error"] for t in study_in(tmp_path).trials if ended(t)] == [
        "its worker died 5 times; out of memory?"
    ]


def test_a_failed_trial_counts_and_has_no_score(tmp_path):
    def fail_high(settings):
        if settings["x"] > 0.5:
            raise UserError("the loss is not finite")

    study = study_in(tmp_path)
    worker(study, tmp_path, Curve(fail_high)).run(Budget(8, None))
    failed = [t for t in study.trials if t.state is TrialState.FAIL]
    assert 0 < len(failed) < 8 == len(study.trials)
    assert all(t.value is None and t.user_attrs["error"] == "the loss is not finite" for t in failed)
    assert all(t.params["x"] > 0.5 for t in failed)
    assert "UserError" in (tmp_path / "trials" / f"{failed[0].number:04d}" / "error.log").read_text()


def test_a_value_that_is_no_number_is_a_failure(tmp_path):
    study = study_in(tmp_path)
    tuning = SimpleNamespace(value=lambda *a: math.nan if len(study.trials) == 1 else 1.0)
    worker(study, tmp_path, tuning).run(Budget(2, None))
    assert states(study) == ["FAIL", "COMPLETE"]


def test_a_hopeless_scan_ends_in_one_line(tmp_path):
    def fail(settings):
        raise ValueError("two\nlines")

    with pytest.raises(
        UserError, match="the first 5 trials all failed, the last with: ValueError: two lines"
    ):
        worker(study_in(tmp_path), tmp_path, Curve(fail)).run(Budget(30, None))


# The journal


def test_half_a_line_of_a_killed_writer_is_cut_off(tmp_path):
    journal = Journal(tmp_path / "j")
    journal.append_logs([{"a": 1}, {"a": 2}])
    with open(tmp_path / "j", "ab") as file:
        file.write(b'{"a": 3, "b"')
    assert [log["a"] for log in Journal(tmp_path / "j").read_logs(0)] == [1, 2]
    Journal(tmp_path / "j").append_logs([{"a": 4}])
    assert [log["a"] for log in Journal(tmp_path / "j").read_logs(0)] == [1, 2, 4]
    assert [log["a"] for log in journal.read_logs(2)] == [4]


# The command


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
    bench = {"models": {"lightgcn": {"tuned": "scan/best.yaml"}}, "datasets": ["toy"]}
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
    assert status == 0 and "3 trials ended already" in out
    assert (tmp_path / "scan" / "journal.log").read_bytes() == before
    recsys("scan", path, "--out", "scan", "--trials", "5")
    assert len(study_named(tmp_path / "scan").trials) == 5
    svg = {p.name for p in (tmp_path / "scan").glob("*.svg")}
    assert svg == {"history.svg", "slice.svg", "importance.svg"}
    assert (tmp_path / "scan" / "slice.svg").read_text().startswith("<?xml")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"modle": "x"}, ["modle", "did you mean 'model'"]),
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
        model="lightgcn", dataset="toy", split="random", settings=settings, sampler="grid", warmup=1,
        search={"learning_rate": [0.03, 0.02, 0.04, 0.025, 0.035, 1e-7, 2e-7]}, trials=7,
    )  # fmt: skip
    plan = Plan(scan, tmp_path / "scan", "", None, "cpu")
    work(plan, Tuning.of(plan.config(), toy))
    ends = {t.params["learning_rate"]: t for t in study_named(tmp_path / "scan").trials}
    assert ends[1e-7].state is ends[2e-7].state is TrialState.PRUNED
    assert len(ends[1e-7].intermediate_values) < 8 == len(ends[0.03].intermediate_values)
    assert ends[0.03].value == max(ends[0.03].intermediate_values.values())


def test_a_killed_training_goes_on_where_it_stopped(toy, tmp_path):
    """What was reported before the kill is reported again, so that the pruner sees the whole curve."""
    plan = Plan(Scan(**FILE | {"search": {"width": [8]}, "trials": 1}), tmp_path / "scan", "", None, "cpu")
    plan = replace(plan, scan=plan.scan.model_copy(update={"settings": TINY | {"max_epochs": 6}}))
    tuning = Tuning.of(plan.config(), toy)
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


@pytest.mark.parametrize("times", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_two_workers_of_which_some_are_killed_end_with_the_exact_budget(root, tmp_path, times):
    settings = {"max_epochs": 15, "patience": 15, "batch_size": 64, "width": 4}
    scan = Scan(
        model="lightgcn", dataset="toy", split="random", settings=settings, pruner="none", trials=5,
        search={"learning_rate": None},
    )  # fmt: skip
    plan = Plan(scan, tmp_path / "scan", "", str(root), "cpu")
    study = study_named(tmp_path / "scan")
    killed, over = [], threading.Event()

    def kill_twice():
        while len(killed) < times and not over.is_set():
            time.sleep(0.05)
            running = study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
            folders = [tmp_path / "scan" / "trials" / f"{t.number:04d}" / "last.ckpt" for t in running]
            alive = [p.pid for p in multiprocessing.active_children() if p.pid not in killed]
            if alive and any(f.exists() for f in folders):
                os.kill(alive[0], signal.SIGKILL)
                killed.append(alive[0])

    thread = threading.Thread(target=kill_twice)
    thread.start()
    try:
        scan_module._in_processes(plan, 2, lambda: None)
    finally:
        over.set()
        thread.join()
    study = study_named(tmp_path / "scan")
    complete = [t for t in study.trials if t.state is TrialState.COMPLETE]
    assert len(killed) == times and len(complete) == 5
    assert all(t.state in (TrialState.COMPLETE, TrialState.FAIL) for t in study.trials)
    assert len({t.params["learning_rate"] for t in complete}) == 5


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


def test_a_database_that_does_not_answer_or_is_lost(recsys, tmp_path):
    for url in ("postgresql://me:secret@127.0.0.1:1/db", "nonsense"):
        status, _, err = recsys("scan", write(tmp_path), "--out", "scan", "--storage", url)
        assert status == 2 and err.count("\n") == 1 and "secret" not in err and url.split("@")[-1] in err
    with (
        pytest.raises(
            UserError, match=r"lost the database postgresql://me:\*\*\*@h/d .*run the command again"
        ),
        told_in_a_line("postgresql://me:secret@h/d"),
    ):
        raise optuna.exceptions.StorageInternalError("gone")


def test_a_package_that_is_missing_is_named_with_its_extra(monkeypatch):
    with pytest.raises(UserError, match=r"pip install 'recsys\[plots\]'"):
        require("no_such_package", "plots")


def test_shipped_scans_are_sound():
    for name in ("lightgcn-scan", "tiktok-scan"):
        scan = read_scan(find_file(name), False, {})
        assert search_space(MODELS.get(scan.model), scan.settings, scan.search)
    assert read_scan(find_file("lightgcn-scan"), True, {"trials": 2}).trials == 2
    with pytest.raises(UserError, match="has no smoke section"):
        read_scan(find_file("tiktok-scan"), True, {})
