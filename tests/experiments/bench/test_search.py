"""Rows that choose settings: by validation of the first seeds, on each data set and split, and never by the test."""

import io
import json

import pytest
import yaml
from rich.console import Console

from recsys.errors import UserError
from recsys.experiments.bench.config import read_experiment
from recsys.experiments.bench.runner import BenchOptions, run_bench

ROW = {"model": "lightgcn", "settings": {"width": 4, "max_epochs": 2, "batch_size": 64, "layers": 1}}
FILE = {
    "title": "Toys",
    "models": {"pop": None, "chooses": ROW | {"search": {"layers": [1, 2], "objectives.extra": [[], []]}}},
    "datasets": ["toy"],
    "splits": [{"protocol": "random", "seeds": [3, 4]}, "cold-item"],
    "seeds": [5, 6],
}


def write(folder, **changes):
    path = folder / "toys.yaml"
    path.write_text(yaml.safe_dump(FILE | changes, sort_keys=False))
    return path


def run(path, root, out):
    return run_bench(str(path), BenchOptions(out=out, data_root=str(root)), Console(file=io.StringIO()))


def test_a_row_takes_what_is_best_on_validation_of_the_first_seeds(root, tmp_path):
    results = run(write(tmp_path), root, tmp_path / "out")
    assert not results["failed"]
    places = [(c["dataset"], c["split"], c["model"]) for c in results["chosen"]]
    assert places == [("toy", "random", "chooses"), ("toy", "cold-item", "chooses")]
    for choice, table in zip(results["chosen"], results["tables"], strict=True):
        figures = [one["validation"] for one in choice["tried"]]
        assert [one["settings"]["layers"] for one in choice["tried"]] == [1, 1, 2, 2]
        assert choice["chosen"] == choice["tried"][figures.index(max(figures))]["settings"]
        (row,) = (row for row in table["rows"] if row["model"] == "chooses")
        assert len(row["runs"]) == (4 if choice["split"] == "random" else 2)
        for name in row["runs"]:
            folder = tmp_path / "out" / "jobs" / name
            config = yaml.safe_load((folder / "config.yaml").read_text())
            assert config["settings"]["layers"] == choice["chosen"]["layers"]
            if (config["split_seed"], config["seed"]) in [(3, 5), (0, 5)]:
                assert json.loads((folder / "metrics.json").read_text())["best"] == max(figures)


def test_the_chosen_candidate_is_not_trained_again(root, tmp_path):
    small = {"splits": ["random"], "seeds": [0], "models": {"chooses": FILE["models"]["chooses"]}}
    run(write(tmp_path, **small), root, tmp_path / "out")
    folders = {p: p.stat().st_mtime_ns for p in (tmp_path / "out" / "jobs").glob("*/metrics.json")}
    assert len(folders) == 2  # one and two layers; the empty list of terms twice is one and the same
    run(write(tmp_path, **small), root, tmp_path / "out")
    assert {p: p.stat().st_mtime_ns for p in folders} == folders


@pytest.mark.parametrize("search", [[], {"layers": 3}, {"layers": []}, {}, 1, "layers"])
def test_a_search_is_settings_with_lists_of_values(tmp_path, search):
    path = write(tmp_path, models={"a": ROW | {"search": search}})
    with pytest.raises(UserError, match=r"search of 'a' in toys.yaml: expected"):
        read_experiment(path)


def test_a_search_of_no_row_is_refused(tmp_path):
    with pytest.raises(UserError, match="`search` belongs to a row"):
        read_experiment(write(tmp_path, search={"chooses": {"layers": [1]}}))


def test_a_searched_setting_must_exist(root, tmp_path):
    path = write(tmp_path, models={"a": ROW | {"search": {"layer": [1]}}})
    with pytest.raises(UserError, match="layer"):
        run(path, root, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_closed_form_has_nothing_to_choose_by(root, tmp_path):
    path = write(tmp_path, models={"a": {"model": "ease", "search": {"regularisation": [1.0, 9.0]}}})
    with pytest.raises(UserError, match="closed form"):
        run(path, root, tmp_path / "out")
