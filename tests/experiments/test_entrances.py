"""The same run through every entrance gives the same figures to the last bit, with and without tuned settings."""

import io
import json
from pathlib import Path

import pytest
import yaml
from rich.console import Console

from recsys import compare, model, train
from recsys.datasets.cards import load_dataset
from recsys.experiments.demo import compare_in_folder
from recsys.models.collaborative.lightgcn import LightGCN
from recsys.runs import config as configs
from recsys.runs.config import RunConfig
from recsys.runs.rerun import figures
from recsys.runs.run import execute, prepare

SETTINGS = {"max_epochs": 3, "batch_size": 64}
TUNED = {"width": 8, "learning_rate": 0.02}
WANTED = {"model": "lightgcn", "dataset": "toy", "split": "random", "settings": SETTINGS}
METRIC = "recall@5"
ASSIGNMENTS = [part for key, value in SETTINGS.items() for part in ("--set", f"{key}={value}")]


def through_train(recsys, root, tuned):
    """`recsys train`."""
    flags = ["--tuned"] if tuned else []
    arguments = ["--model", "lightgcn", "--dataset", "toy", "--split", "random", "--metric", METRIC]
    assert recsys("train", *arguments, *ASSIGNMENTS, *flags, "--out", "train")[0] == 0
    return Path("train")


def through_bench(recsys, root, tuned):
    """`recsys bench`."""
    row = {"model": "lightgcn", "settings": SETTINGS, "tuned": tuned}
    file = {"models": {"a": row}, "datasets": ["toy"], "splits": ["random"], "seeds": [0]}
    file["columns"] = [METRIC, "ndcg@20"]
    Path("bench.yaml").write_text(yaml.safe_dump(file))
    assert recsys("bench", "bench.yaml", "--out", "bench")[0] == 0
    return next(Path("bench/jobs").iterdir())


def through_sweep(recsys, root, tuned):
    """The step of a sweep over missing modalities in which nothing is missing."""
    row = {"settings": SETTINGS, "tuned": tuned, "metrics": [METRIC]}
    missing = {"rates": [0.0, 1.0]}
    file = {"models": {"lightgcn": row}, "datasets": ["toy"], "splits": ["random"], "seeds": [0]}
    file["missing"] = missing
    Path("sweep.yaml").write_text(yaml.safe_dump(file))
    assert recsys("bench", "sweep.yaml", "--out", "sweep")[0] == 0
    return next(f for f in Path("sweep/jobs").iterdir() if "missing" not in f.name)


def through_rerun(recsys, root, tuned):
    """`recsys rerun` of what `recsys train` left."""
    through_train(recsys, root, tuned)
    assert recsys("rerun", "train", "--out", "again")[0] == 0
    return Path("again")


def through_demo(recsys, root, tuned):
    """The demo's own comparison."""
    config = RunConfig(**WANTED, tuned=tuned, metrics=[METRIC], data_root=str(root))
    dataset = load_dataset("toy", root)
    compare_in_folder("title", [config], dataset, Path("demo"), Console(file=io.StringIO()))
    return Path("demo/lightgcn")


def through_python(recsys, root, tuned):
    """`prepare` and `execute`."""
    config = RunConfig(**WANTED, tuned=tuned, metrics=[METRIC], data_root=str(root))
    execute(prepare(config), Path("python"))
    return Path("python")


def through_public_train(recsys, root, tuned):
    """`recsys.train`."""
    data = load_dataset("toy", root)
    train("lightgcn", data, split="random", tuned=tuned, metrics=[METRIC], folder="public", **SETTINGS)
    return Path("public")


def through_public_compare(recsys, root, tuned):
    """`recsys.compare`."""
    data, rows = load_dataset("toy", root), [model("lightgcn", **SETTINGS)]
    compare(rows, data, split="random", tuned=tuned, metrics=[METRIC], seeds=[0], folder="compared")
    return next(Path("compared/jobs").iterdir())


ENTRANCES = (
    through_train,
    through_bench,
    through_sweep,
    through_rerun,
    through_demo,
    through_python,
    through_public_train,
    through_public_compare,
)


@pytest.mark.parametrize("tuned", [False, True])
def test_every_entrance_gives_the_same_figures(recsys, root, tmp_path, monkeypatch, tuned):
    (tmp_path / "tuned").mkdir()
    (tmp_path / "tuned" / "lightgcn-toy-random.yaml").write_text(yaml.safe_dump(TUNED))
    monkeypatch.setattr(configs, "tuned_folder", lambda: tmp_path / "tuned")
    found = {}
    for number, entrance in enumerate(ENTRANCES):
        (tmp_path / str(number)).mkdir()
        monkeypatch.chdir(tmp_path / str(number))
        folder = entrance(recsys, root, tuned)
        found[entrance.__name__] = dict(figures(json.loads((folder / "metrics.json").read_text())))
        assert yaml.safe_load((folder / "config.yaml").read_text())["settings"]["width"] == (
            8 if tuned else 64
        )
    first = found["through_train"]
    assert f"test {METRIC}" in first and len(first) > 20
    for name, values in found.items():
        assert values == first, name


@pytest.mark.parametrize("tuned", [False, True])
def test_a_scans_trial_is_the_run_that_it_describes(recsys, root, tmp_path, monkeypatch, tuned):
    """The best value of a scan of one point is what training that point reports as its best."""
    (tmp_path / "tuned").mkdir()
    (tmp_path / "tuned" / "lightgcn-toy-random.yaml").write_text(yaml.safe_dump(TUNED))
    monkeypatch.setattr(configs, "tuned_folder", lambda: tmp_path / "tuned")
    run = WANTED | {"tuned": tuned}
    scan = {"run": run, "search": {"layers": [LightGCN.Settings().layers]}, "sampler": "grid"}
    Path("scan.yaml").write_text(yaml.safe_dump(scan))
    status, _, _ = recsys("scan", "scan.yaml", "--out", "scan")
    assert status == 0
    folder = through_train(recsys, root, tuned)
    best = json.loads((folder / "metrics.json").read_text())["best"]
    assert f"validation ndcg@20 {best:.6f}" in Path("scan/best.yaml").read_text()
