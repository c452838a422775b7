"""Installs this package into a second environment and uses each of its parts from the command line.

    python docs/examples/plugin/check.py            # each part
    python docs/examples/plugin/check.py --tests    # and recsys's own tests, with the package installed

The second environment sees the packages of the one that runs this, recsys among them; only the example is its own.
What follows --tests is given to pytest.
"""

from __future__ import annotations

import csv
import json
import os
import shlex
import shutil
import site
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
PACKAGE = "recsys-example-plugin 0.1.0"
PARTS = {
    "models": ["example-mf"],
    "objectives": ["example-hinge", "example-cosine"],
    "content": ["example-letters"],
    "metrics": ["example-capped-recall", "example-gini"],
    "reranking": ["example-quieter"],
    "readers": ["example-log"],
    "splits": ["example-every-nth"],
    "datasets": ["example-plays"],
    "commands": ["example-count"],
}
TRAIN = (
    "train --model example-mf --dataset example-plays --split example-every-nth --split-set nth=3 "
    "--set max_epochs=2 --metric example-capped-recall@3 --metric example-gini@3"
)
EXPERIMENT = """\
title: the example against popularity
datasets: [example-plays]
splits: [{protocol: example-every-nth, options: {nth: 3}}]
seeds: [0, 1]
models:
  pop: {}
  example-mf: {settings: {max_epochs: 2, objective: example-hinge}}
columns: [example-capped-recall@3]
decide_by: example-capped-recall@3
"""
STEPS: list[tuple[str, list[str]]] = [
    *((f"list {kind}", names) for kind, names in PARTS.items()),
    *((f"show {kind} {name}", [name]) for kind, names in PARTS.items() for name in names),
    ("train --model example-mf --help-settings", ["name of an objective", "learning_rate"]),
    ("--help", ["example-count", "Count the users"]),
    ("example-count", ["10 users, 12 items, 60 interactions"]),
    ("data info example-plays", ["example-every-nth", "modality title"]),
    ("data verify example-plays", ["plays.log", "songs.tsv"]),
    ("data info found", ["found, read as example-log"]),
    (f"{TRAIN} --set objective=example-hinge --out hinge", []),
    (f"{TRAIN} --out bpr", []),
    (
        "train --model lightgcn --dataset example-plays --set max_epochs=2 --out term "
        "--set 'objectives.extra=[{objective: example-cosine, views: [title, behaviour], weight: 0.5}]'",
        [],
    ),
    (
        "recommend --run bpr --users all --rerank example-quieter --rerank-set discount=1 --output lists.csv",
        ["lists.csv"],
    ),
    ("bench experiment.yaml --out table", ["example-capped-recall@3"]),
]
"""Arguments of `recsys`, and words that it prints. They need `prepare` first, and RECSYS_DATA to name the folder."""


def prepare(folder: Path) -> None:
    """What the steps need in `folder`: an experiment, and a folder of data without a card."""
    (folder / "experiment.yaml").write_text(EXPERIMENT)
    (folder / "found").mkdir()
    for file in ("plays.log", "songs.tsv"):
        shutil.copy(HERE / "recsys_example_plugin" / "plays" / file, folder / "found" / file)


def check_figures(folder: Path) -> None:
    """The metrics that were asked for by name are in metrics.json, the objectives in history.csv."""
    for run, objective in (("hinge", "example-hinge"), ("bpr", "bpr")):
        metrics = json.loads((folder / run / "metrics.json").read_text())["test"]
        assert 0 <= metrics["example-capped-recall@3"] <= 1 and 0 <= metrics["example-gini@3"] < 1, metrics
        history = (folder / run / "history.csv").read_text()
        assert objective in history.splitlines()[0], history
    with (folder / "term" / "history.csv").open(newline="") as file:
        values = [float(row["example-cosine_items"]) for row in csv.DictReader(file)]
    assert len(values) == 2 and 0 < values[1] < values[0] <= 1, (
        values
    )  # 0.5 times a number from 0 to 2, and it learns


def make_environment(folder: Path) -> Path:
    """A virtual environment with the example installed, and the outer one's packages behind it: its python."""
    environment = folder / "environment"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", environment], check=True)
    python = environment / "bin" / "python"
    command = "import sysconfig; print(sysconfig.get_path('purelib'))"
    own = Path(
        subprocess.run([python, "-c", command], capture_output=True, text=True, check=True).stdout.strip()
    )
    # addsitedir, so that the outer environment's own .pth files (an editable recsys) count too.
    lines = [f"import site; site.addsitedir({place!r})\n" for place in site.getsitepackages()]
    (own / "outer.pth").write_text("".join(lines))
    source = shutil.copytree(HERE, folder / "source", ignore=shutil.ignore_patterns("__pycache__", "build"))
    pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", "--no-deps"]
    offline = subprocess.run([*pip, "--no-build-isolation", source], capture_output=True, text=True)
    if offline.returncode:  # the outer setuptools is missing or too old: pip fetches one
        subprocess.run([*pip, source], check=True)
    return python


def run_tests(python: Path, arguments: list[str]) -> None:
    """recsys's own tests, and the contract of the example's model, with the package installed."""
    environment = os.environ | {
        "PYTHONSAFEPATH": "1"
    }  # an installed recsys, not the checkout's folder of that name
    contract = environment | {"RECSYS_CONTRACT": " ".join(PARTS["models"])}
    for given, variables in (
        (arguments, environment),
        (["-q", "tests/recsys/models/test_contract.py"], contract),
    ):
        subprocess.run([python, "-m", "pytest", *given], cwd=HERE.parents[2], env=variables, check=True)


def main(arguments: list[str]) -> None:
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary).resolve()
        python, work = make_environment(folder), folder / "work"
        work.mkdir()
        prepare(work)
        environment = os.environ | {"RECSYS_DATA": str(work), "COLUMNS": "200", "OMP_NUM_THREADS": "1"}
        for step, words in STEPS:
            print(f"+ recsys {step}", flush=True)
            run = subprocess.run(
                [python, "-m", "recsys", *shlex.split(step)],
                cwd=work,
                env=environment,
                capture_output=True,
                text=True,
            )
            missing = [word for word in words if word not in run.stdout]
            if step.startswith(("list", "show")) and PACKAGE not in run.stdout:
                missing.append(PACKAGE)
            if run.returncode or missing:
                sys.exit(f"status {run.returncode}, missing {missing}:\n{run.stdout}\n{run.stderr}")
        check_figures(work)
        if "--tests" in arguments:
            run_tests(python, arguments[arguments.index("--tests") + 1 :])
    print("the example's parts work from the command line")


if __name__ == "__main__":
    main(sys.argv[1:])
