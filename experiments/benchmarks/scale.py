"""How cost grows with the data, on synthetic sets whose items and users follow power laws.

    python -m recsys.experiments.benchmarks.scale make --users 100000 --items 100000 --interactions 2000000 --out DIR
    python -m recsys.experiments.benchmarks.scale measure DIR [DIR ...] [--what load lightgcn freedom mmhcl ...]
    python -m recsys.experiments.benchmarks.scale forecast DATA [DATA ...] [--models ease ...] [--record FILE]
    python -m recsys.experiments.benchmarks.scale run DIR
    python -m recsys.experiments.benchmarks.scale accuracy CARD [--model M] [--epochs 60] [--steps 32 0] [--seeds 0]

`make` writes a data set; `measure` prints seconds and peak memory of each step on each set, every step in a process of
its own, and for steps measured on two sets or more the exponent by which the seconds grow with the interactions. `run`
is a whole run: load, split, graphs, one epoch, a test on 10,000 users, recommendations for 1,000 and a report.
`forecast` forecasts one epoch of each model on each set, a folder or a known name, carries it out right after, prints
both, and counts how many forecasts are within the bounds; with FILE it keeps the rows there, and leaves out those that
it finds there.
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
EVALUATED, LISTENERS = 10_000, 1000
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


def described(model: str, data: str) -> Any:
    """The run that is measured and forecast: one epoch of a model, on the set in a folder, or of a known name."""
    from recsys.models import MODELS
    from recsys.runs.config import RunConfig

    return RunConfig(
        model=model,
        dataset=str(Path(data) / "card.yaml") if Path(data).is_dir() else data,
        split="random",
        evaluate_users=EVALUATED,
        settings={} if MODELS.get(model).closed_form else {"max_epochs": 1},
    )


def epoch(model: str, data: str, out: Path) -> dict[str, float]:
    """Seconds of one epoch, and of the other parts of the run."""
    from recsys.datasets.cards import load_dataset
    from recsys.runs.run import execute, prepare

    config = described(model, data)
    start = time.perf_counter()
    dataset = load_dataset(config.dataset)
    seconds = time.perf_counter() - start
    timing = execute(prepare(config, dataset, forecasts=False), out)["timing"]
    return {
        "seconds": timing["train_epoch_median"],
        "load": seconds,
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


def step(what: str, data: str) -> dict[str, float]:
    """One step in this process, with its peak memory in GiB."""
    from recsys.runs.record import peak_memory

    if what in STEPS:
        found = STEPS[what](Path(data))
    else:
        with tempfile.TemporaryDirectory() as out:
            found = epoch(what, data, Path(out) / "run")
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


def plan(model: str, data: str) -> dict[str, float]:
    """The forecast of a run, under the names that `step` gives what it finds."""
    from recsys.runs.forecast import forecast

    expected = forecast(described(model, data))
    return {
        "GiB": expected.memory / 2**30,
        "load": expected.load,
        "graphs": expected.graphs,
        "seconds": expected.epoch,
        "ranking": expected.ranking,
    }


def forecasts(data: list[str], models: list[str], record: Path | None) -> None:
    """Print what each run was forecast to take and what it took."""
    known = (
        [json.loads(line) for line in record.read_text().splitlines()] if record and record.exists() else []
    )
    rows = {(row["model"], row["data"]): row for row in known}
    for name, model in itertools.product(data, models):
        if (model, name) not in rows:
            row: dict[str, Any] = {"model": model, "data": name}
            for what, command in (("forecast", "plan"), ("found", "step")):
                start = time.perf_counter()
                done, row[what] = _apart(command, model, name)
                row[f"{what} took"] = time.perf_counter() - start
                if not done:
                    print(f"{model:10s} {Path(name).name:14s} {what} failed: {row[what]}", flush=True)
                    break
            else:
                rows[model, name] = row
                if record:
                    with record.open("a") as file:
                        file.write(json.dumps(row) + "\n")
        if row := rows.get((model, name), {}):
            print(_compared(row), flush=True)
    judged = [(part, *pair) for row in rows.values() for part, pair in _pairs(row)]
    for what, parts, factor in (("memory", {"GiB"}, 1.25), ("time", PARTS.keys() - {"GiB"}, 2.0)):
        within = [1 / factor <= a / b <= factor for part, a, b in judged if part in parts]
        print(
            f"{len(rows)} runs: of {len(within)} forecasts of {what} {sum(within)} within a factor of {factor}"
        )


def _apart(command: str, model: str, data: str) -> tuple[bool, Any]:
    """What a command of this file gives in a process and with a cache of its own: whether it worked, and its result, or
    the last line of what it said."""
    words = [sys.executable, "-m", "recsys.experiments.benchmarks.scale", command, model, data]
    with tempfile.TemporaryDirectory() as cache:
        env = os.environ | {"RECSYS_CACHE": cache}
        done = subprocess.run(words, capture_output=True, text=True, env=env)
    if done.returncode:
        return False, (done.stderr.strip().splitlines() or [f"status {done.returncode}"])[-1]
    return True, json.loads(done.stdout.splitlines()[-1])


PARTS = {"GiB": "GiB", "load": "load s", "graphs": "graphs s", "seconds": "epoch s", "ranking": "test s"}
SHORT = 0.5
"""Seconds that are not judged where forecast and found are both less."""


def _pairs(row: dict[str, Any]) -> list[tuple[str, tuple[float, float]]]:
    """Forecast and found of each part that is judged."""
    pairs = [(part, (row["forecast"][part], row["found"][part])) for part in PARTS]
    return [(part, pair) for part, pair in pairs if part == "GiB" or max(pair) >= SHORT]


def _compared(row: dict[str, Any]) -> str:
    parts = []
    for part, name in PARTS.items():
        a, b = row["forecast"][part], row["found"][part]
        parts.append(
            f"{name} {a:.2f} for {b:.2f}" + (f" ({a / b:.2f})" if (part, (a, b)) in _pairs(row) else "")
        )
    took = f"forecast in {row['forecast took']:.0f} s, run in {row['found took']:.0f} s"
    return f"{row['model']:10s} {Path(row['data']).name:14s} {'  '.join(parts)}  ({took})"


def whole_run(folder: Path, model: str) -> None:
    """A run as its user starts it, command by command, with the seconds and the memory of each."""
    with tempfile.TemporaryDirectory() as temporary:
        run, users, lists = (str(Path(temporary) / name) for name in ("run", "users.txt", "lists.csv"))
        known = np.unique(pd.read_parquet(folder / "interactions.parquet", columns=["user"]))[:LISTENERS]
        Path(users).write_text("\n".join(map(str, known)), encoding="utf-8")
        data = ["--dataset", str(folder / "card.yaml"), "--split", "random"]
        short = ["--set", "max_epochs=1", "--evaluate-users", str(EVALUATED)]
        for command in (
            ["train", "--model", model, *data, *short, "--out", run],
            ["recommend", "--run", run, "--users", users, "--out", lists],
            ["report", run],
        ):
            start = time.perf_counter()
            with (Path(temporary) / "said").open("w+") as said:
                words, env = [sys.executable, "-m", "recsys", *command], {"RECSYS_CACHE": temporary}
                child = subprocess.Popen(words, stdout=said, stderr=said, env=os.environ | env)
                _, status, used = os.wait4(child.pid, 0)
                child.returncode = os.waitstatus_to_exitcode(status)
                seconds, gib = time.perf_counter() - start, used.ru_maxrss / 2**20
                print(f"{command[0]:10s} {seconds:9.1f} s {gib:6.2f} GiB", flush=True)
                said.seek(0)
                print(said.read(), flush=True)
            if child.returncode:
                sys.exit(child.returncode)


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
    forecast = commands.add_parser("forecast")
    forecast.add_argument("data", nargs="+")
    forecast.add_argument("--models", nargs="+", default=list(MODELS))
    forecast.add_argument("--record", type=Path)
    for name in ("step", "plan"):
        one = commands.add_parser(name)
        one.add_argument("what")
        one.add_argument("data")
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
        forecasts(options.data, options.models, options.record)
    elif options.command == "accuracy":
        accuracy(options.card, options.model, options.epochs, options.steps, options.rates, options.seeds)
    elif options.command == "step":
        print(json.dumps(step(options.what, options.data)))
    elif options.command == "plan":
        print(json.dumps(plan(options.what, options.data)))
    else:
        whole_run(options.folder.resolve(), options.model)


if __name__ == "__main__":
    main()
