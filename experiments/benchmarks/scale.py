"""How cost grows with the data, on synthetic sets whose items and users follow power laws.

    python -m recsys.experiments.benchmarks.scale make --users 100000 --items 100000 --interactions 2000000 --out DIR
    python -m recsys.experiments.benchmarks.scale measure DIR [DIR ...] [--what load lightgcn freedom mmhcl ...]
    python -m recsys.experiments.benchmarks.scale forecast DIR [DIR ...] [--models lightgcn freedom mmhcl]
    python -m recsys.experiments.benchmarks.scale run DIR
    python -m recsys.experiments.benchmarks.scale accuracy CARD [--model M] [--epochs 60] [--steps 32 0] [--seeds 0]

`make` writes a data set; `measure` prints seconds and peak memory of each step on each set, every step in a process of
its own, and for steps measured on two sets or more the exponent by which the seconds grow with the interactions. `run`
is a whole run: load, split, graphs, one epoch, a test on 10,000 users, recommendations for 1,000 and a report.
`forecast` forecasts one epoch of each model on each set, carries it out, and prints both.
`accuracy` trains a model on a data set with at most so many steps an epoch (0: batches of the usual size), and prints
the best validation figure and the processor's seconds.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

WIDTH, CENTRES, NOISE = 64, 500, 0.5
"""Width of the items' features, and what they are made of: a centre for each kind of item, and noise."""
POPULARITY, ACTIVITY = 0.8, 0.6
"""Exponents of the items' and the users' power laws."""
EVALUATED = 10_000
MODELS = ("lightgcn", "freedom", "mmhcl")


def make(folder: Path, users: int, items: int, interactions: int, seed: int = 0) -> None:
    """A data set of `interactions` distinct pairs, with dense features of the items, in a new folder."""
    rng = np.random.default_rng(seed)
    pairs = np.empty(0, dtype=np.int64)
    while len(pairs) < interactions:
        wanted = int(1.2 * (interactions - len(pairs))) + 1000
        drawn = [_power_law(rng, n, power, wanted) for n, power in ((users, ACTIVITY), (items, POPULARITY))]
        pairs = np.unique(np.concatenate([pairs, drawn[0] * items + drawn[1]]))
    pairs = rng.permutation(pairs)[:interactions]
    folder.mkdir(parents=True)
    frame = pd.DataFrame({"user": pairs // items, "item": pairs % items})
    frame["timestamp"] = rng.integers(1_600_000_000, 1_700_000_000, interactions)
    frame.to_parquet(folder / "interactions.parquet", index=False)
    pd.DataFrame({"item": np.arange(items)}).to_parquet(folder / "items.parquet", index=False)
    centres = rng.standard_normal((CENTRES, WIDTH), dtype=np.float32)
    features = np.lib.format.open_memmap(folder / "image_feat.npy", "w+", np.float32, (items, WIDTH))
    for start in range(0, items, 2**16):
        rows = features[start : start + 2**16]
        rows[:] = centres[rng.integers(0, CENTRES, len(rows))]
        rows += NOISE * rng.standard_normal(rows.shape, dtype=np.float32)
    features.flush()
    options = {
        "interactions": "interactions.parquet",
        "columns": {"user": "user", "item": "item", "timestamp": "timestamp"},
        "items": {"file": "items.parquet", "id": "item"},
        "features": {"image": {"file": "image_feat.npy"}},
    }
    card = {"name": folder.name, "reader": "table", "title": "synthetic, power laws", "options": options}
    (folder / "card.yaml").write_text(yaml.safe_dump(card | {"modalities": ["image"]}), encoding="utf-8")


def _power_law(rng: np.random.Generator, n: int, power: float, size: int) -> np.ndarray:
    """Numbers below n, of which rank r is drawn as r^-power; ranks are shuffled."""
    weights = np.cumsum(np.arange(1, n + 1) ** -power)
    drawn = np.searchsorted(weights, rng.random(size) * weights[-1])
    return rng.permutation(n)[drawn]


def _loaded(folder: Path) -> Any:
    from recsys.datasets.cards import load_dataset

    return load_dataset(str(folder / "card.yaml"))


def load(folder: Path) -> dict[str, float]:
    """Seconds to read the interactions and features."""
    start = time.perf_counter()
    _loaded(folder)
    return {"seconds": time.perf_counter() - start}


def epoch(model: str, folder: Path, out: Path) -> dict[str, float]:
    """Seconds of one epoch, and of the model's graphs."""
    from recsys.runs.config import RunConfig
    from recsys.runs.run import execute, prepare

    dataset = _loaded(folder)
    config = RunConfig(
        model=model,
        dataset=str(folder / "card.yaml"),
        split="random",
        evaluate_users=EVALUATED,
        settings={"max_epochs": 1},
    )
    metrics = execute(prepare(config, dataset, forecasts=False), out)
    timing = metrics["timing"]
    return {
        "seconds": timing["train_epoch_median"],
        "graphs": timing["graph"],
        "ranking": timing["evaluate"],
    }


def evaluate(folder: Path) -> dict[str, float]:
    """Seconds to rank all items for 10,000 users by vectors of width 64, and the bare products with their top 21."""
    import torch

    from recsys.evaluation.evaluator import Evaluator
    from recsys.evaluation.scorers import VectorScorer

    dataset = _loaded(folder)
    rows = np.arange(len(dataset.interactions))
    users = min(EVALUATED, dataset.n_users)
    held = np.arange(len(rows)) % 10 == 0
    truth, seen = (dataset.matrix(rows[part])[:users] for part in (held, ~held))
    vectors = [
        torch.randn(n, WIDTH, generator=torch.Generator().manual_seed(0)) for n in (users, dataset.n_items)
    ]
    evaluator = Evaluator(truth, seen)
    start = time.perf_counter()
    evaluator.evaluate(VectorScorer(*vectors))
    seconds = time.perf_counter() - start
    block = max(16, 2**23 // dataset.n_items)
    start = time.perf_counter()
    for low in range(0, users, block):
        (vectors[0][low : low + block] @ vectors[1].T).topk(21, dim=1)
    return {"seconds": seconds, "ratio": seconds / (time.perf_counter() - start)}


def neighbours(folder: Path) -> dict[str, float]:
    """Seconds of the graph of the 10 nearest items."""
    from recsys.graphs.knn import knn_graph

    features = np.load(folder / "image_feat.npy", mmap_mode="r")
    start = time.perf_counter()
    notes: list[str] = []
    knn_graph(features, 10, notes=notes)
    for note in notes:
        print(note)
    return {"seconds": time.perf_counter() - start}


STEPS: dict[str, Callable[..., dict[str, float]]] = {"load": load, "knn": neighbours, "evaluate": evaluate}


def step(what: str, folder: Path) -> dict[str, float]:
    """One step in this process, with its peak memory in GiB."""
    from recsys.runs.record import peak_memory

    if what in STEPS:
        found = STEPS[what](folder)
    else:
        with tempfile.TemporaryDirectory() as out:
            found = epoch(what, folder, Path(out) / "run")
    return found | {"GiB": (peak_memory() or math.nan) / 1024}


def measure(folders: list[Path], what: list[str]) -> None:
    """Print each step on each data set, and how its seconds grow with the interactions."""
    for name in what:
        points = []
        for folder in folders:
            command = [sys.executable, "-m", "recsys.experiments.benchmarks.scale", "step", name, str(folder)]
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode:
                print(
                    f"{name:10s} {folder.name:16s} failed: {done.stderr.strip().splitlines()[-1]}", flush=True
                )
                continue
            *said, last = done.stdout.splitlines()
            found = json.loads(last)
            n = len(pd.read_parquet(folder / "interactions.parquet", columns=["user"]))
            points.append((n, found["seconds"]))
            rest = "  ".join(f"{key} {value:.2f}" for key, value in found.items() if key != "seconds")
            print(
                f"{name:10s} {folder.name:16s} {n:>12,} pairs {found['seconds']:10.2f} s  {rest}", flush=True
            )
            for line in said if name == "knn" else ():
                print(f"{name:10s} {line}", flush=True)
        if len(points) > 1:
            (low, fast), (high, slow) = points[0], points[-1]
            print(
                f"{name:10s} grows with the interactions to the power {math.log(slow / fast, high / low):.2f}"
            )


def forecasts(folders: list[Path], models: list[str]) -> None:
    """Print what each run was forecast to take and what it took: memory, and seconds of the graphs, an epoch and the
    test."""
    from recsys.runs.config import RunConfig
    from recsys.runs.forecast import forecast

    for folder, model in itertools.product(folders, models):
        card = str(folder / "card.yaml")
        start = time.perf_counter()
        expected = forecast(RunConfig(model=model, dataset=card, split="random", evaluate_users=EVALUATED))
        took = time.perf_counter() - start
        command = [sys.executable, "-m", "recsys.experiments.benchmarks.scale", "step", model, str(folder)]
        with tempfile.TemporaryDirectory() as cache:
            env = os.environ | {"RECSYS_CACHE": cache}
            done = subprocess.run(command, capture_output=True, text=True, env=env)
        if done.returncode:
            print(f"{model:10s} {folder.name:10s} failed: {done.stderr.strip().splitlines()[-1]}", flush=True)
            continue
        found = json.loads(done.stdout.splitlines()[-1])
        pairs = {
            "memory GiB": (expected.memory / 2**30, found["GiB"]),
            "graphs s": (expected.graphs, found["graphs"]),
            "epoch s": (expected.epoch, found["seconds"]),
            "test s": (expected.ranking, found["ranking"]),
        }
        said = "  ".join(f"{name} {a:.2f} for {b:.2f} ({a / b:.2f})" for name, (a, b) in pairs.items())
        print(f"{model:10s} {folder.name:10s} {said}  (forecast in {took:.0f} s)", flush=True)


def whole_run(folder: Path, model: str) -> None:
    """A run as its user starts it, command by command, with the seconds and the memory of each."""
    with tempfile.TemporaryDirectory() as temporary:
        run, users = Path(temporary) / "run", Path(temporary) / "users.csv"
        pd.DataFrame({"user": np.arange(1000)}).to_csv(users, index=False)
        train = [
            "train",
            "--model",
            model,
            "--dataset",
            str(folder / "card.yaml"),
            "--split",
            "random",
            "--out",
            str(run),
        ]
        train += ["--set", "max_epochs=1", "--evaluate-users", str(EVALUATED)]
        for command in (
            train,
            [
                "recommend",
                "--run",
                str(run),
                "--users",
                str(users),
                "--out",
                str(Path(temporary) / "lists.csv"),
            ],
            ["report", str(run)],
        ):
            start = time.perf_counter()
            done = subprocess.run(
                ["/usr/bin/env", "time", "-f", "%M", sys.executable, "-m", "recsys", *command],
                capture_output=True,
                text=True,
            )
            peak = done.stderr.strip().splitlines()[-1]
            seconds, gib = time.perf_counter() - start, int(peak) / 2**20
            print(f"{command[0]:10s} status {done.returncode} {seconds:9.1f} s {gib:6.2f} GiB")
            if done.returncode:
                sys.exit(done.stderr)


def accuracy(
    card: str, model: str, epochs: int, steps: list[int], rates: list[float] | None, seeds: list[int]
) -> None:
    """Print what a model reaches with each largest number of steps, each learning rate and each seed."""
    from recsys.runs.config import RunConfig
    from recsys.runs.run import execute, prepare

    for most, rate, seed in itertools.product(steps, rates or [None], seeds):
        settings = {"max_epochs": epochs, "max_steps": most} | ({"learning_rate": rate} if rate else {})
        config = RunConfig(model=model, dataset=card, seed=seed, evaluate_users=EVALUATED, settings=settings)
        start = time.process_time()
        with tempfile.TemporaryDirectory() as out:
            metrics = execute(prepare(config), Path(out) / "run")
        print(
            f"{model} on {card}: at most {most or 'any number of'} steps, batches of {metrics['batch_size']:,}, "
            f"learning rate {metrics['learning_rate']:.4g}, seed {seed}: best {metrics['best']:.4f} in epoch "
            f"{metrics['best_epoch'] + 1} of {metrics['epochs']}, test NDCG@20 "
            f"{metrics['test']['ndcg@20']:.4f}, {time.process_time() - start:,.0f} CPU s",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    making = commands.add_parser("make")
    for name in ("users", "items", "interactions"):
        making.add_argument(f"--{name}", type=int, required=True)
    making.add_argument("--out", type=Path, required=True)
    measuring = commands.add_parser("measure")
    measuring.add_argument("folders", type=Path, nargs="+")
    measuring.add_argument("--what", nargs="+", default=[*STEPS, *MODELS])
    told = commands.add_parser("forecast")
    told.add_argument("folders", type=Path, nargs="+")
    told.add_argument("--models", nargs="+", default=list(MODELS))
    one = commands.add_parser("step")
    one.add_argument("what")
    one.add_argument("folder", type=Path)
    whole = commands.add_parser("run")
    whole.add_argument("folder", type=Path)
    whole.add_argument("--model", default="lightgcn")
    tried = commands.add_parser("accuracy")
    tried.add_argument("card")
    tried.add_argument("--model", default="lightgcn")
    tried.add_argument("--epochs", type=int, default=60)
    tried.add_argument("--steps", type=int, nargs="+", default=[32, 0])
    tried.add_argument("--rates", type=float, nargs="+")
    tried.add_argument("--seeds", type=int, nargs="+", default=[0])
    options = parser.parse_args()
    if options.command == "make":
        make(options.out, options.users, options.items, options.interactions)
    elif options.command == "measure":
        measure([folder.resolve() for folder in options.folders], options.what)
    elif options.command == "forecast":
        forecasts([folder.resolve() for folder in options.folders], options.models)
    elif options.command == "accuracy":
        accuracy(options.card, options.model, options.epochs, options.steps, options.rates, options.seeds)
    elif options.command == "step":
        print(json.dumps(step(options.what, options.folder)))
    else:
        whole_run(options.folder.resolve(), options.model)


if __name__ == "__main__":
    main()
