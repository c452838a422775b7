"""A scan's budget: spent exactly, whoever works on it and whoever is killed."""

import math
import threading
import time
from types import SimpleNamespace

import optuna
import pytest
from optuna.distributions import FloatDistribution
from optuna.trial import TrialState

from recsys.errors import UserError
from recsys.experiments.tune import trials as trials_module
from recsys.experiments.tune.storage import open_study
from recsys.experiments.tune.trials import Budget, Worker, ended, place_of, stands


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
    point = {"point": params} if params else {}
    return SimpleNamespace(number=number, state=state, user_attrs=point | attrs)


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
    assert trials[1].user_attrs["place"] == 0 and trials[1].user_attrs["deaths"] == 1


@pytest.mark.parametrize("moment", ["in training", "before its settings are drawn"])
def test_a_death_changes_no_other_trial(tmp_path, monkeypatch, moment):
    worker(study_in(tmp_path / "whole"), tmp_path / "whole").run(Budget(6, None))
    study, calls = study_in(tmp_path), iter(range(100))

    def die_in_the_third(*arguments):
        if next(calls) == 2:
            raise Killed
        real(*arguments)

    real = trials_module.suggest if "drawn" in moment else lambda settings: None
    with monkeypatch.context() as patch, pytest.raises(Killed):
        if "drawn" in moment:
            patch.setattr(trials_module, "suggest", die_in_the_third)
            worker(study, tmp_path).run(Budget(6, None))
        else:
            worker(study, tmp_path, Curve(die_in_the_third)).run(Budget(6, None))
    (tmp_path / "workers" / f"{study.trials[2].user_attrs['worker'][1]}.lock").touch()
    worker(study_in(tmp_path), tmp_path).run(Budget(6, None))
    ends = []
    for folder in (tmp_path / "whole", tmp_path):
        trials = study_in(folder).get_trials()
        ends.append({place_of(t, trials): (t.params, t.value) for t in trials if ended(t)})
    assert ends[0] == ends[1] and len(ends[0]) == 6
    assert sorted(p.name for p in (tmp_path / "trials").iterdir()) == [f"{n:04d}" for n in range(6)]


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
