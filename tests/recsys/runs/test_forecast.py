import json

import pytest

import recsys
from recsys.errors import UserError
from recsys.runs import forecast as forecasts
from recsys.runs import run as runs
from recsys.runs.config import RunConfig
from recsys.runs.forecast import Forecast, check_forecast, forecast, grown, linear
from recsys.runs.run import execute, prepare

EXPECTED = Forecast(1.0, 2.0, 30.0, 4.0, 8 * 2**30, (1_000_000, 250_000))


def config(**settings):
    return RunConfig(model="lightgcn", dataset="toy", split="random", settings={"width": 64} | settings)


def test_a_line_through_two_points_never_falls():
    assert linear([(4, 10.0), (2, 8.0)], 10) == 16.0
    assert linear([(4, 7.0), (2, 8.0)], 10) == 7.0


def test_a_power_is_held_within_its_bounds():
    quadratic = [(4, 16.0), (2, 4.0)]
    assert grown(quadratic, 8, 1.0, 3.0) == pytest.approx(64.0)
    assert grown(quadratic, 8, 1.0, 1.5) == pytest.approx(16 * 2**1.5)
    assert grown([(4, 1.0), (2, 1.0)], 8, 1.0, 3.0) == pytest.approx(2.0)


def test_small_data_are_measured_as_they_are(tmp_path):
    data = recsys.toy_data()
    expected = forecast(config(), data)
    assert expected.measured_on == (len(data.interactions),)
    run = prepare(config(max_epochs=1), data)
    execute(run, tmp_path / "run")
    used = json.loads((tmp_path / "run" / "environment.json").read_text())["usage"]
    assert min(expected.load, expected.epoch, expected.ranking) > 0
    assert 100 * 2**20 < expected.memory < 2 * 2**30
    assert used["peak_memory_mib"] > 0


@pytest.mark.parametrize("model", ["lightgcn", "ease"])
def test_large_data_are_measured_on_two_copies(monkeypatch, model):
    monkeypatch.setattr(forecasts, "SMALL", 500)
    data = recsys.toy_data()
    expected = forecast(RunConfig(model=model, dataset="toy", split="random"), data)
    largest, smaller = expected.measured_on
    assert smaller < largest <= 500
    assert min(expected.load, expected.epoch, expected.ranking, expected.memory) > 0


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
    monkeypatch.setattr(runs, "forecast", lambda config, dataset: EXPECTED)
    run = prepare(config(max_epochs=1), recsys.toy_data())
    execute(run, tmp_path / "run")
    assert json.loads((tmp_path / "run" / "environment.json").read_text())["forecast"]["epoch"] == 30.0
    monkeypatch.setattr(forecasts, "available", lambda: 0)
    monkeypatch.setattr(forecasts, "resident", lambda: 0)
    with pytest.raises(UserError, match=r"needs about 8\.0 GiB"):
        prepare(RunConfig(model="pop", dataset="toy", split="random"), recsys.toy_data())
    prepare(config(), recsys.toy_data(), forecasts=False)
