"""Seconds and megabytes of a report on many runs: `python -m recsys.experiments.benchmarks.report [RUNS]`.

A few models are trained on MovieLens-100K; their folders are copied with jittered figures until there are as many
runs as asked for, under as many labels and seeds. Nothing is computed before the clock starts: no results.json.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from recsys.datasets.cards import load_dataset
from recsys.experiments.bench.config import JOB_FILE
from recsys.experiments.report.write import PAGE
from recsys.runs.artifacts import METRICS_FILE, USERS_FILE
from recsys.runs.config import RunConfig
from recsys.runs.run import execute, prepare

TINY = {"width": 8, "max_epochs": 3, "batch_size": 4096}
MODELS: dict[str, dict[str, Any]] = {"itemknn": {}, "ease": {}, "lightgcn": TINY, "vbpr": TINY}
SPLITS, SEEDS = ("random", "cold-item"), 5
SECONDS, MEGABYTES = 20.0, 8.0


def train(folder: Path) -> list[Path]:
    """One tiny run of each model under each split."""
    dataset, made = load_dataset("ml-100k"), []
    for split in SPLITS:
        for model, settings in MODELS.items():
            config = RunConfig(model=model, dataset="ml-100k", split=split, settings=settings)
            made.append(folder / f"{model}-{split}")
            execute(prepare(config, dataset), made[-1])
    return made


def multiply(sources: Sequence[Path], folder: Path, runs: int) -> None:
    """Copy the runs, jittered, until there are `runs`: five seeds of each label."""
    rng = np.random.default_rng(0)
    for n in range(runs):
        source = sources[n // SEEDS % len(sources)]
        label, seed = f"{source.name.partition('-')[0]}-{n // SEEDS // len(sources)}", n % SEEDS
        target = folder / f"{label}-{source.name}-seed-{seed}"
        shutil.copytree(source, target)
        config = yaml.safe_load((target / "config.yaml").read_text())
        (target / "config.yaml").write_text(yaml.safe_dump(config | {"seed": seed}))
        (target / JOB_FILE).write_text(json.dumps({"label": label}))
        users = pd.read_parquet(target / USERS_FILE)
        values = users.columns.difference(["user", "number", "group"])
        noise = rng.normal(0, 0.02, (len(users), len(values))) + rng.normal(0, 0.01)
        users[values] = (users[values] + noise * (users[values] > 0)).clip(0, 1)
        users.to_parquet(target / USERS_FILE, index=False)
        metrics = json.loads((target / METRICS_FILE).read_text()) | {"seed": seed}
        for group, part in users.groupby("group", observed=True):
            metrics["test" if group == "overall" else f"test_{group}"].update(part[values].mean().to_dict())
        (target / METRICS_FILE).write_text(json.dumps(metrics))


def main(runs: int = 200) -> None:
    """Print what the report on `runs` runs takes; exit status 1 where it is too much."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        sources = train(folder / "trained")
        multiply(sources, folder / "runs", runs)
        start = time.perf_counter()
        # The whole command, as people run it; not from the checkout's root, whose `datasets` would shadow.
        command = [sys.executable, "-m", "recsys", "report", "runs"]
        subprocess.run(command, cwd=folder, check=True)
        seconds = time.perf_counter() - start
        page = folder / "runs" / "report" / PAGE
        page_mb = page.stat().st_size / 1e6
        files_mb = sum(p.stat().st_size for p in page.parent.rglob("*") if p.is_file()) / 1e6
    print(
        f"report of {runs} runs: {seconds:.1f} s (at most {SECONDS:.0f}), page {page_mb:.2f} MB, with all files "
        f"{files_mb:.2f} MB (at most {MEGABYTES:.0f})"
    )
    sys.exit(seconds > SECONDS or files_mb > MEGABYTES)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:2]))
