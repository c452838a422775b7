import json
from pathlib import Path
from types import SimpleNamespace

import pytest

import recsys
from recsys.datasets.shrink import shrunk
from recsys.errors import UserError
from recsys.runs import forecast as forecasts
from recsys.runs import run as runs
from recsys.runs.config import RunConfig, resolve
from recsys.runs.forecast import (
    CACHES,
    Forecast,
    check_forecast,
    forecast,
    grown,
    line_or_pairs,
    linear,
    of_trials,
    rows_and_pairs,
    trained,
)
from recsys.runs.run import execute, prepare
from recsys.runs.trial import epoch_of

EXPECTED = Forecast(1.0, 2.0, 30.0, 4.0, 8 * 2**30, (1_000_000, 250_000))


def config(**settings):
    return RunConfig(model="lightgcn", dataset="toy", split="random", settings={"width": 64} | settings)


def test_a_line_through_two_points_never_falls():
    assert linear([(4, 10.0), (2, 8.0)], 10) == 16.0
    assert linear([(4, 7.0), (2, 8.0)], 10) == 7.0


def test_linear_work_grows_by_the_power_of_caches_whatever_noise_shows():
    for power in (0.7, 1.0, 1.4):
        points = [(4, 4**power), (2, 2**power)]
        assert grown(points, 8) == pytest.approx(4**power * 2**CACHES)
        assert line_or_pairs(points, 8) == pytest.approx(4**power + 2 * (4**power - 2**power))


def test_work_over_pairs_grows_by_the_power_it_shows_up_to_a_largest():
    quadratic = [(4, 16.0), (2, 4.0)]
    assert grown(quadratic, 8) == line_or_pairs(quadratic, 8) == pytest.approx(64.0)
    assert grown(quadratic, 8, 1.5) == pytest.approx(16 * 2**1.5)
    assert grown([(4, 4**3.5), (2, 2**3.5)], 8) == pytest.approx(4**3.5 * 2**3)


def test_a_search_costs_something_for_each_row_and_for_each_pair():
    assert rows_and_pairs([(4, 3 * 4 + 2 * 16), (2, 3 * 2 + 2 * 4)], 10) == pytest.approx(3 * 10 + 200)
    # Neither part is negative, whatever noise says.
    assert rows_and_pairs([(4, 8.0), (2, 6.0)], 8) == pytest.approx(16.0)
    assert rows_and_pairs([(4, 16.0), (2, 2.0)], 8) == pytest.approx(64.0)


NONE = {"exact": 0.0, "approximate": 0.0}
ON_COPIES = [
    {
        "n": 400,
        "items": 40,
        "users": 10,
        "load": 2.0,
        "graphs": 1.0,
        "epoch": 4.0,
        "ranking": 0.5,
        "base": 100.0,
    },
    {
        "n": 100,
        "items": 10,
        "users": 10,
        "load": 1.0,
        "graphs": 0.25,
        "epoch": 1.0,
        "ranking": 0.2,
        "base": 90.0,
    },
]


def test_the_parts_of_a_run_grow_each_in_its_way():
    searches = [{"exact": 4.0 + 16.0, "approximate": 8.0}, {"exact": 1.0 + 1.0, "approximate": 1.0}]
    memory = [{"memory": 240.0}, {"memory": 120.0}]
    trials = [one | more | size for one, more, size in zip(ON_COPIES, searches, memory, strict=True)]
    expected = of_trials(trials, interactions=4000, items=400, users=100, load=20.0)
    assert expected.load == 20.0
    assert expected.epoch == pytest.approx(4 * 10**CACHES)
    # Ten times the items: of the exact search 4 for rows and 16 for pairs; the approximate one grows by 1.5.
    assert expected.graphs == pytest.approx(10.0 + 40 + 1600 + 8 * 10**1.5)
    assert expected.ranking == pytest.approx(0.5 + 0.3 / 300 * (40_000 - 400))
    assert expected.memory == pytest.approx(240 + 120 / 300 * 3600)
    assert expected.measured_on == (400, 100)


def test_memory_that_grows_with_pairs_does_so_above_what_the_process_began_with():
    memory = [{"memory": 90.0 + 160}, {"memory": 90.0 + 10}]
    trials = [one | NONE | size for one, size in zip(ON_COPIES, memory, strict=True)]
    assert of_trials(trials, 4000, 400, 100).memory == pytest.approx(90 + 16_000)


def test_a_trial_on_the_data_themselves_is_the_forecast():
    only = ON_COPIES[0] | {"exact": 3.0, "approximate": 5.0, "memory": 7.0}
    assert of_trials([only], 400, 40, 10, load=2.0) == Forecast(2.0, 9.0, 4.0, 0.5, 7.0, (400,))


@pytest.mark.parametrize("most", [0, 32])
def test_an_epoch_on_a_copy_has_as_many_steps_as_the_run(most):
    resolved = resolve(config(batch_size=100, max_steps=most), recsys.toy_data())
    whole = resolved.train_settings.at_scale(8000).batch_size
    copied = resolved.train_settings.model_copy(update=trained(resolved, 0.25))
    assert copied.batch_size == 25
    assert copied.at_scale(2000).batch_size * 4 == pytest.approx(whole, rel=0.02)
    assert trained(resolved, 1.0) == {"max_epochs": 1}


def test_batches_stay_where_a_step_costs_the_batch_alone():
    resolved = resolve(RunConfig(model="clcrec", dataset="toy", split="random"), recsys.toy_data())
    assert not resolved.model_class.whole_graph
    assert trained(resolved, 0.25)["batch_size"] == resolved.train_settings.batch_size


def test_an_epoch_is_the_fastest_of_its_stage(tmp_path):
    assert epoch_of(tmp_path) is None
    (tmp_path / "history.csv").write_text("epoch,seconds\n0,3.0\n1,2.0\n")
    assert epoch_of(tmp_path) == 2.0
    (tmp_path / "history.csv").write_text("seconds,stage\n3.0,a\n2.0,a\n8.0,b\n6.0,b\n")
    assert epoch_of(tmp_path) == 4.0


def test_small_data_are_measured_as_they_are(tmp_path):
    data = recsys.toy_data()
    expected = forecast(config(), data)
    assert expected.measured_on == (len(data.interactions),)
    run = prepare(config(max_epochs=1), data)
    execute(run, tmp_path / "run")
    used = json.loads((tmp_path / "run" / "environment.json").read_text())["usage"]
    assert min(expected.epoch, expected.ranking) > 0
    assert 100 * 2**20 < expected.memory < 2 * 2**30
    assert used["peak_memory_mib"] > 0


@pytest.mark.parametrize("model", ["lightgcn", "ease"])
def test_large_data_are_measured_on_two_copies(monkeypatch, model):
    monkeypatch.setattr(forecasts, "SMALL", 500)
    data = recsys.toy_data()
    expected = forecast(RunConfig(model=model, dataset="toy", split="random"), data)
    largest, smaller = expected.measured_on
    assert smaller < largest <= 500
    assert min(expected.epoch, expected.ranking, expected.memory) > 0


def test_a_copy_is_tried_with_thresholds_of_its_share(monkeypatch, tmp_path):
    asked, given = [], {"exact": 0.0, "approximate": 0.0, "graphs": 1.0, "epoch": 1.0, "ranking": 1.0}

    def tried(command, env, **_):
        asked.append(json.loads((Path(command[-1]) / "trial.json").read_text()) | {"env": env})
        return SimpleNamespace(returncode=0, stdout=json.dumps(given | {"base": 1.0, "memory": 2.0}))

    monkeypatch.setattr(forecasts, "SMALL", 540)
    monkeypatch.setattr(forecasts.subprocess, "run", tried)
    forecast(config(batch_size=200), recsys.toy_data())
    assert [one["share"] for one in asked] == [30 / 60, 8 / 60]
    assert [one["config"]["settings"]["batch_size"] for one in asked] == [100, 27]
    assert [one["env"]["MALLOC_MMAP_THRESHOLD_"] for one in asked] == [str(2**24), str(2**25 * 8 // 60)]
    forecast(config(), shrunk(recsys.toy_data(), 400))
    assert "MALLOC_MMAP_THRESHOLD_" not in asked[-1]["env"]


def test_a_trial_that_fails_says_why():
    with pytest.raises(UserError, match=r"a trial on 1,080 interactions failed: .*not finite"):
        forecast(config(reg=1e300), recsys.toy_data())


def test_what_does_not_fit_is_refused_with_a_width_that_does(monkeypatch):
    monkeypatch.setattr(forecasts, "available", lambda: 5 * 2**30)
    monkeypatch.setattr(forecasts, "resident", lambda: 0)
    asked = []

    def narrower(asked_for, dataset):
        asked.append(asked_for.settings["width"])
        return Forecast(1.0, 1.0, 1.0, 1.0, (2 + 6 * asked[-1] / 64) * 2**30, (1, 1))

    monkeypatch.setattr(forecasts, "forecast", narrower)
    with pytest.raises(
        UserError, match=r"needs about 8.0 GiB of memory, and 5.0 GiB are left; with --set width=32"
    ):
        check_forecast(EXPECTED, config(), recsys.toy_data())
    assert asked == [32]
    monkeypatch.setattr(forecasts, "available", lambda: 8 * 2**30)
    check_forecast(EXPECTED, config(), recsys.toy_data())


def test_a_run_on_large_data_is_forecast_first_and_keeps_it(monkeypatch, tmp_path):
    monkeypatch.setattr(runs, "FORECAST_FROM", 1000)
    monkeypatch.setattr(runs, "forecast", lambda config, dataset, load: EXPECTED)
    monkeypatch.setattr(forecasts, "available", lambda: 16 * 2**30)
    run = prepare(config(max_epochs=1), recsys.toy_data())
    execute(run, tmp_path / "run")
    assert json.loads((tmp_path / "run" / "environment.json").read_text())["forecast"]["epoch"] == 30.0
    monkeypatch.setattr(forecasts, "available", lambda: 0)
    monkeypatch.setattr(forecasts, "resident", lambda: 0)
    with pytest.raises(UserError, match=r"needs about 8\.0 GiB"):
        prepare(RunConfig(model="pop", dataset="toy", split="random"), recsys.toy_data())
    prepare(config(), recsys.toy_data(), forecasts=False)
