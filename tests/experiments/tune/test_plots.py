"""Figures of a scan: drawn in the project's style, and equal byte for byte."""

import optuna
import pytest

from recsys import plots
from recsys.experiments.tune.plots import scan_plots


@pytest.fixture
def study():
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.RandomSampler(seed=0))

    def value(trial):
        rate = trial.suggest_float("rate", 1e-4, 1e-1, log=True)
        trial.suggest_int("fixed", 2, 2)
        return (trial.suggest_categorical("kind", ["a", "b"]) == "a") - rate

    study.optimize(value, n_trials=8)
    return study


def test_the_figures_show_what_varied(study, tmp_path):
    paths = scan_plots(study, tmp_path, "ndcg@20")
    assert [path.name for path in paths] == ["history.svg", "slice.svg", "importance.svg"]
    for path in paths:
        text = path.read_text()
        assert "ndcg@20" in text and plots.PALETTE[0] in text and ">fixed<" not in text
    for path in paths[1:]:
        assert ">rate<" in path.read_text() and ">kind<" in path.read_text()
    (tmp_path / "again").mkdir()
    again = scan_plots(study, tmp_path / "again", "ndcg@20")
    assert [path.read_bytes() for path in again] == [path.read_bytes() for path in paths]


def test_few_trials_say_nothing_of_importance(tmp_path):
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(direction="maximize")
    assert scan_plots(study, tmp_path, "ndcg@20") == []
    study.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=3)
    assert [p.name for p in scan_plots(study, tmp_path, "ndcg@20")] == ["history.svg", "slice.svg"]
    best = optuna.create_study(direction="maximize")
    best.optimize(lambda trial: float(trial.suggest_int("x", 1, 1)), n_trials=5)
    assert [p.name for p in scan_plots(best, tmp_path, "ndcg@20")] == ["history.svg"]
