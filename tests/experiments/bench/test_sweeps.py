"""Sweeps and controls: what an experiment's file stands for, the runs that come of it, and the curves drawn of them."""

import io
import json
from dataclasses import replace

import pandas as pd
import pytest
import yaml
from rich.console import Console

from recsys.errors import UserError
from recsys.experiments.bench.config import load_datasets, make_jobs, read_experiment
from recsys.experiments.bench.runner import BenchOptions, run_bench
from recsys.experiments.bench.sweep import Missing
from recsys.experiments.report.collect import Group
from recsys.experiments.report.sweeps import Point, sweeps
from recsys.experiments.report.write import ReportOptions, write_report
from recsys.inputs.corruption import ContentCorruption

TINY = {"width": 4, "max_epochs": 1, "batch_size": 64}


def write(folder, **values):
    path = folder / "sweep.yaml"
    path.write_text(yaml.safe_dump({"datasets": ["toy"], "seeds": [0], **values}, sort_keys=False))
    return path


def cells_of(path, root, folder, **options):
    experiment = read_experiment(path, **options)
    return make_jobs(experiment, load_datasets(experiment.datasets, str(root)), folder, data_root=str(root))


def bench_and_report(path, root, out):
    console = Console(file=io.StringIO(), width=200)
    results = run_bench(str(path), BenchOptions(out=out, data_root=str(root)), console)
    page = write_report(out, ReportOptions(data_root=str(root)), console)
    return results, page.read_text(encoding="utf-8"), pd.read_csv(out / "report" / "figures.csv")


def test_a_swept_option_makes_a_split_of_each_value(root, tmp_path):
    splits = [
        {"protocol": "cold-user", "options": {"reserved": 4}, "sweep": {"support": [0, 2, 4]}},
        "random",
    ]
    cells = cells_of(write(tmp_path, models=["pop"], splits=splits), root, tmp_path)
    options = [cell.config.split_options for cell in cells]
    assert options == [*({"reserved": 4, "support": k} for k in (0, 2, 4)), {}]
    assert cells[1].name == "pop on toy, cold-user, reserved 4, support 2, seed 0"
    assert cells[3].name == "pop on toy, random, seed 0" and len({cell.key for cell in cells}) == 4


def test_missing_is_every_rate_pattern_and_fill_once():
    steps = Missing(
        rates=[0, 0.5], patterns=["random", "modality"], fills=["mask", "mean"], modality="image"
    ).steps()
    told = [(s.missing, s.pattern, s.fill, s.modality) for s in steps]
    assert told == [
        (0.0, "random", "mask", ""),
        (0.5, "random", "mask", ""),
        (0.0, "random", "mean", ""),
        (0.5, "random", "mean", ""),
        (0.5, "modality", "mask", "image"),
        (0.5, "modality", "mean", "image"),
    ]


def test_controls_stand_beside_the_models_that_read_content(root, tmp_path):
    path = write(tmp_path, models={"pop": None, "small vbpr": {"model": "vbpr", "settings": TINY}})
    rows = {cell.label: cell.config.content.control for cell in cells_of(path, root, tmp_path, controls=True)}
    assert rows == {
        "pop": "",
        "small vbpr": "",
        "small vbpr, permuted": "permuted",
        "small vbpr, Gaussian": "gaussian",
        "small vbpr, ID only": "ids",
        "contentknn": "",
        "contentknn, permuted": "permuted",
        "contentknn, Gaussian": "gaussian",
        "contentknn, ID only": "ids",
    }
    assert {cell.label for cell in cells_of(path, root, tmp_path)} == {"pop", "small vbpr"}


def test_a_jobs_key_is_what_decides_its_figures(root, tmp_path):
    path = write(tmp_path, models=["contentknn"], missing={"rates": [0, 1]})
    plain, corrupted = cells_of(path, root, tmp_path)
    elsewhere = plain.config.model_copy(update={"data_root": "/elsewhere", "device": "cuda:1"})
    assert replace(plain, config=elsewhere).key == plain.key != corrupted.key
    assert replace(plain, data="other").key != plain.key


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seeds": [0, -1]}, "seeds of sweep.yaml: expected 0 or more, got -1"),
        ({"missing": {"rate": [0]}}, "has no setting 'rate'; did you mean 'rates'"),
        ({"missing": {"rates": [0.5, 0.5]}}, "rates: expected at least one, each once"),
        ({"missing": {"rates": [2]}}, "expected shares from 0 to 1, got 2"),
        ({"missing": {"patterns": ["everywhere"]}}, "missing of sweep.yaml"),
        ({"missing": {"patterns": ["modality"]}}, "pattern=modality and modality=NAME go together"),
        ({"missing": {"patterns": ["modality"], "modality": "imagee"}}, "did you mean 'image'"),
        ({"missing": {"patterns": ["test"]}}, "split 'random' has no such item"),
        ({"splits": [{"protocol": "cold-user", "sweep": {"suport": [1]}}]}, "did you mean 'support'"),
        ({"splits": [{"protocol": "cold-item", "sweep": {"support": [-1]}}]}, "support=-1"),
    ],
)
def test_what_cannot_be_is_said_before_anything_runs(changes, message, root, tmp_path):
    path = write(tmp_path, **{"models": ["contentknn"], "splits": ["random"]} | changes)
    with pytest.raises(UserError, match=message) as error:
        cells_of(path, root, tmp_path)
    assert "\n" not in str(error.value) and not (tmp_path / "jobs").exists()


def test_support_and_shots_become_curves(root, tmp_path):
    splits = [
        {"protocol": "cold-user", "options": {"reserved": 4}, "sweep": {"support": [0, 4]}},
        {"protocol": "cold-item", "options": {"reserved": 4}, "sweep": {"support": [0, 4]}},
    ]
    path = write(tmp_path, models=["pop", "itemknn"], splits=splits)
    results, page, figures = bench_and_report(path, root, tmp_path / "out")
    assert not results["failed"]
    titles = [table["title"] for table in results["tables"]]
    assert titles == [
        f"toy, cold-{n}, reserved 4, {k} {v}"
        for n, k in (("user", "support"), ("item", "support"))
        for v in (0, 4)
    ]
    told = {table["title"]: {r["model"]: r["columns"] for r in table["rows"]} for table in results["tables"]}
    curve = figures[(figures["chart"] == "support-cold-users") & (figures["model"] == "itemknn")]
    expected = [
        told[f"toy, cold-user, reserved 4, support {k}"]["itemknn"]["cold_users:ndcg@20"] for k in (0, 4)
    ]
    assert curve["table"].unique().tolist() == ["toy, cold-user, reserved 4: by support"]
    assert curve["x"].tolist() == ["0", "4"] and curve["y"].tolist() == pytest.approx(
        [c["mean"] for c in expected]
    )
    assert expected[1]["mean"] > expected[0]["mean"], "four items of the user's community tell more than none"
    chance = figures[(figures["chart"] == "support-cold-pool") & (figures["model"] == "chance")]
    assert len(chance) == 2
    assert 'id="curves"' in page and "toy, cold-item, reserved 4: by support" in page
    for table in results["tables"][2:]:
        assert {"cold:recall@20", "cold_pool:recall@20", "warm:ndcg@20"} <= set(table["columns"])
        assert all(table["chance"][column] for column in table["columns"])


def test_missing_modalities_and_controls_become_rows_and_curves(root, tmp_path):
    path = write(
        tmp_path,
        models=["contentknn"],
        splits=["cold-item"],
        controls=True,
        missing={
            "rates": [0, 1],
            "patterns": ["random", "modality"],
            "fills": ["mask", "zero"],
            "modality": "image",
        },
    )
    results, page, figures = bench_and_report(path, root, tmp_path / "out")
    assert not results["failed"] and len(results["tables"]) == 6
    first = next(t for t in results["tables"] if t["title"] == "toy, cold-item")
    assert {row["model"] for row in first["rows"]} == {
        "contentknn",
        "contentknn, permuted",
        "contentknn, Gaussian",
        "contentknn, ID only",
    }
    sweep = figures[figures["table"] == "toy, cold-item: missing at random"]
    lines = sweep[sweep["chart"] == "missing-cold-pool-contentknn"]
    assert set(lines["model"]) == {"masked", "zeros"} and set(lines["x"]) == {"0%", "100%"}
    plain = sweep[(sweep["chart"] == "missing-cold-pool") & (sweep["model"] == "contentknn")]["y"].tolist()
    chance = sweep[(sweep["chart"] == "missing-cold-pool") & (sweep["model"] == "chance")]["y"].tolist()
    assert plain[0] > 1.3 * chance[0] and plain[1] == pytest.approx(chance[1])
    one = figures[figures["table"] == "toy, cold-item: missing of image"]
    assert (
        one[(one["chart"] == "missing-cold-pool") & (one["model"] == "contentknn")]["y"].iloc[1] > chance[1]
    )
    assert "toy, cold-item: missing of image" in page


def point(options, content, mean, models=("a",)):
    cells = {model: {"mean": mean, "users": 9} for model in models}
    part = {"key": "all", "label": "all", "cells": cells, "chance": 0.1}
    group = Group("toy", "recommend", "cold-item", options, ContentCorruption(**content), "", ())
    return Point(group, {"decide_by": "ndcg@20"}, [part])


def test_curves_join_what_differs_in_one_number_alone():
    points = [
        point({}, {}, 0.5),
        point({}, {"missing": 0.5}, 0.4),
        point({}, {"missing": 1.0}, 0.3),
        point({}, {"missing": 1.0, "pattern": "tail"}, 0.45),
        point({"share": 0.3}, {}, 0.6),
        point({"share": 0.4, "support": 1}, {}, 0.7, ("a", "b")),
    ]
    found = {sweep.title: sweep for sweep in sweeps(points)}
    assert list(found) == ["toy, cold-item: missing at random", "toy, cold-item: missing from the tail"]
    line = found["toy, cold-item: missing at random"].charts[0].series[0]
    assert (line.name, line.x, line.y) == ("a", (0.0, 1.0, 2.0), (0.5, 0.4, 0.3))
    assert found["toy, cold-item: missing from the tail"].charts[0].series[0].y == (0.5, 0.45)


def test_a_sweep_over_noise_is_a_curve(root, tmp_path):
    path = write(
        tmp_path, models=["contentknn"], splits=["cold-item"], missing={"rates": [0], "noise": [0, 1, 9]}
    )
    results, _, figures = bench_and_report(path, root, tmp_path / "out")
    titles = ["toy, cold-item", "toy, cold-item, noise of 1", "toy, cold-item, noise of 9"]
    assert not results["failed"] and [table["title"] for table in results["tables"]] == titles
    curve = figures[(figures["chart"] == "noise-cold-pool") & (figures["model"] == "contentknn")]
    assert curve["x"].tolist() == ["0", "1", "9"] and curve["y"].iloc[0] > curve["y"].iloc[2]
    with pytest.raises(UserError, match="noise: expected 0 or more"):
        read_experiment(write(tmp_path, models=["contentknn"], missing={"noise": [-1]}))


def test_train_runs_controls_beside_a_run(recsys, tmp_path):
    status, out, _ = recsys(
        "train",
        "--model",
        "contentknn",
        "--dataset",
        "toy",
        "--split",
        "cold-item",
        "--out",
        "here",
        "--controls",
    )
    assert status == 0 and "contentknn, permuted" in out and "chance" in out
    runs = {p.parent.name: json.loads(p.read_text()) for p in tmp_path.glob("*/metrics.json")}
    assert set(runs) == {"here", "here-permuted", "here-gaussian", "here-id-only"}
    pool = {name: told["test_cold_pool"]["mrr@10"] for name, told in runs.items()}
    assert pool["here"] > max(value for name, value in pool.items() if name != "here")
    status, _, err = recsys("train", "--model", "pop", "--dataset", "toy", "--controls")
    assert (
        status == 2
        and err.strip() == "recsys: pop does not read content: it has no controls; leave out --controls"
    )


def test_train_with_content_options(recsys):
    base = "train", "--model", "contentknn", "--dataset", "toy", "--split", "cold-item"
    status, *_ = recsys(*base, "--content", "missing=1", "--content", "fill=zero", "--out", "a")
    assert status == 0
    status, _, err = recsys(*base, "--content", "mising=1")
    assert status == 2 and "did you mean 'missing'" in err and err.count("\n") == 1
    status, _, err = recsys(*base, "--out", "a", "--resume")
    assert status == 2 and "holds a run with other settings: content" in err
