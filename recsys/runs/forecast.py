"""What a run will take, by an epoch on small copies of its data, on this machine, each in a process of its own."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recsys.datasets.convert import convert
from recsys.datasets.dataset import Dataset
from recsys.datasets.shrink import shrunk
from recsys.errors import UserError
from recsys.memory import CHOSEN, available, gib, resident
from recsys.runs.config import Resolved, RunConfig, resolve

SMALL, SHARE, APART = 600_000, 20, 4
"""Data of so many interactions are measured as they are. Of more a copy is, of this part of the interactions and at
least SMALL, and a second one that is so many times smaller."""
TRIAL_USERS = 2000
"""Users whom a copy is evaluated on, at most."""
TRIAL_EPOCHS = 2
"""Epochs on a copy; the first one is slower, by what a process meets for the first time."""
CACHES, SQUARE, MOST = 1.2, 1.5, 3.0
"""Powers of the data by which an epoch grows. What shows less than SQUARE on copies is linear work, which a machine's
caches make dearer on larger data, by about the power CACHES (docs/results/scale.md). What shows more is work over pairs
or the like, of MOST at most."""
CELLS = 1.5
"""Power of the rows by which an approximate search of nearest neighbours grows: each row is compared with those of a
few of the square root of so many cells. An exact one compares all pairs."""
HEAP = 2**25
"""Bytes of the smallest array that glibc gives back to the system at once, and on a copy that share of them: what a
process keeps of smaller ones would else count for more than it does in the run (a quarter of MMHCL's memory)."""
FORECAST_FROM = 2_000_000
"""Interactions from which a run is forecast before it begins."""
TRIAL_FILE = "trial.json"


@dataclass(frozen=True)
class Forecast:
    """What a run will take.

    Attributes:
        load, graphs, epoch, ranking: seconds to load the data, to build graphs, of an epoch (or the fit of a closed
            form), and of one validation or test.
        memory: bytes of the process at its largest.
        measured_on: interactions of the trials, the largest first.
    """

    load: float
    graphs: float
    epoch: float
    ranking: float
    memory: float
    measured_on: tuple[int, ...]

    def __str__(self) -> str:
        """In one line."""
        on = f"{self.measured_on[0]:,} interactions"
        return f"forecast from {on}: " + ", ".join(f"{what} {value}" for what, value in self.rows())

    def rows(self) -> list[tuple[str, str]]:
        """What is forecast and how much, for people."""
        seconds = {
            "load the data": self.load,
            "build the graphs": self.graphs,
            "an epoch": self.epoch,
            "a validation, or the test": self.ranking,
        }
        return [
            *((what, f"{value:,.1f} s") for what, value in seconds.items()),
            ("memory", gib(int(self.memory))),
        ]


def forecast(config: RunConfig, dataset: Dataset | None = None, load: float = 0.0) -> Forecast:
    """Measure an epoch of the run, on its data where they are small, else on two small copies, and tell what the run
    will take.

    How each part grows with the data is in `of_trials`; it holds for every model.

    Args:
        dataset: the data set, where the caller has it already.
        load: seconds that loading it took.

    Raises:
        UserError, DataError: anything in the configuration or data that cannot be, or a trial that failed.
    """
    start = time.perf_counter()
    resolved = resolve(config, dataset)
    load = load if dataset is not None else time.perf_counter() - start
    dataset = resolved.dataset
    whole = len(dataset.interactions)
    sizes = [whole]
    if whole > SMALL:
        largest = max(SMALL, whole // SHARE)
        sizes = [largest, largest // APART]
    trials = [_trial(resolved, size) for size in sizes]
    users = min(config.evaluate_users or dataset.n_users, dataset.n_users)
    return of_trials(trials, whole, dataset.n_items, users, load)


def of_trials(
    trials: Sequence[Mapping[str, float]], interactions: int, items: int, users: int, load: float = 0.0
) -> Forecast:
    """What a run takes by what trials took: one on the data themselves, or two on copies, the larger first.

    An epoch grows as CACHES says, a search of neighbours with the pairs of items or as CELLS says, a test with its
    scores; the rest of the graphs and memory lie on a line through the trials, unless they show that they are of pairs.

    Args:
        trials: what `recsys.runs.trial.measure` gives, with the sizes of the copy: `n` interactions, `items`, and the
            `users` of a test.
        interactions, items, users: the same of the run.
        load: seconds that loading its data took.
    """
    first = trials[0]
    if len(trials) == 1:
        graphs = first["graphs"] + first["exact"] + first["approximate"]
        parts = graphs, first["epoch"], first["ranking"], first["memory"]
        return Forecast(load, *parts, (int(first["n"]),))

    def points(part: str) -> list[tuple[float, float]]:
        return [(trial["n"], trial[part]) for trial in trials]

    base = min(trial["base"] for trial in trials)
    taken = [(n, memory - base) for n, memory in points("memory")]
    searches = rows_and_pairs([(trial["items"], trial["exact"]) for trial in trials], items)
    searches += first["approximate"] * (items / first["items"]) ** CELLS
    return Forecast(
        load=load,
        graphs=line_or_pairs(points("graphs"), interactions) + searches,
        epoch=grown(points("epoch"), interactions),
        ranking=linear([(t["users"] * t["items"], t["ranking"]) for t in trials], users * items),
        memory=base + line_or_pairs(taken, interactions, 2.0),
        measured_on=tuple(int(trial["n"]) for trial in trials),
    )


def check_forecast(expected: Forecast, config: RunConfig, dataset: Dataset | None = None) -> None:
    """UserError where the run would not fit into the memory that is left, with a setting that would make it fit."""
    left = available()
    if left is None:
        return
    free = left + resident()  # of which the data set is part of what is forecast
    if expected.memory <= free:
        return
    needed, what = gib(int(expected.memory)), f"{config.model} on {config.dataset}"
    said = f"{what} needs about {needed} of memory, and {gib(free)} are left"
    width = resolve(config, dataset).config.settings.get("width")
    while isinstance(width, int) and width >= 16:
        width //= 2
        narrow = config.model_copy(update={"settings": config.settings | {"width": width}})
        if (less := forecast(narrow, dataset).memory) <= free:
            raise UserError(f"{said}; with --set width={width} it would need about {gib(int(less))}")
    raise UserError(f"{said}; use a machine with more, or fewer interactions")


def linear(points: list[tuple[float, float]], at: float) -> float:
    """The value at `at` on the line through two points of which the first lies further out; never falling.

    Example:
        >>> linear([(40, 30.0), (20, 20.0)], 100)
        60.0
    """
    (far, high), (near, low) = points
    return high + max(high - low, 0.0) / (far - near) * (at - far)


def grown(points: list[tuple[float, float]], at: float, most: float = MOST) -> float:
    """The value at `at` on a power law through the first of two points, which lies further out: of the power that they
    show, at most `most`, or of CACHES where that is less than SQUARE.

    Example:
        >>> grown([(20, 40.0), (10, 10.0)], 40), round(grown([(20, 40.0), (10, 20.0)], 40), 2)
        (160.0, 91.9)
    """
    power = shown(points)
    far, high = points[0]
    return high * (at / far) ** min(power if power >= SQUARE else CACHES, most)


def line_or_pairs(points: list[tuple[float, float]], at: float, most: float = MOST) -> float:
    """The value at `at` on the line through two points, or as `grown` where they show a power of SQUARE and more."""
    return linear(points, at) if shown(points) < SQUARE else grown(points, at, most)


def shown(points: list[tuple[float, float]]) -> float:
    """The power of the power law through two points.

    Example:
        >>> shown([(20, 40.0), (10, 10.0)])
        2.0
    """
    (far, high), (near, low) = points
    return math.log(max(high, 1e-6) / max(low, 1e-6)) / math.log(far / near)


def rows_and_pairs(points: list[tuple[float, float]], at: float) -> float:
    """The value at `at` of a n + b n^2, neither of them negative, through two points of which the first lies further
    out.

    Example:
        >>> rows_and_pairs([(4, 20.0), (2, 6.0)], 8)  # n + n^2
        72.0
    """
    (far, high), (near, low) = points
    pairs = min(max((high / far - low / near) / (far - near), 0.0), high / far**2)
    return (high / far - pairs * far) * at + pairs * at**2


def _trial(resolved: Resolved, interactions: int) -> dict[str, float]:
    """What a few epochs took on a copy of so many interactions."""
    dataset, config = resolved.dataset, resolved.config
    small = shrunk(dataset, interactions)
    share = small.n_items / dataset.n_items
    changes: dict[str, Any] = {"metrics": [], "warm_start": None}
    if resolved.train_settings is not None:
        changes["settings"] = config.settings | trained(resolved, share)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        if small is dataset and dataset.origin is not None:
            changes |= {"dataset": dataset.origin.name, "data_root": dataset.origin.data_root}
        else:
            convert(small, folder / "copy")
            changes |= {"dataset": str(folder / "copy" / "card.yaml"), "data_root": None}
            if small is not dataset:
                changes["evaluate_users"] = min(config.evaluate_users or TRIAL_USERS, TRIAL_USERS)
        trial = config.model_copy(update=changes)
        asked = {"config": trial.model_dump(mode="json"), "share": share}
        (folder / TRIAL_FILE).write_text(json.dumps(asked), "utf-8")
        command = [sys.executable, "-m", "recsys.runs.trial", str(folder)]
        # What a copy's graphs leave in the cache is of no use to anybody.
        own = {"RECSYS_CACHE": str(folder / "cache"), CHOSEN: str(int(HEAP * share))}
        env = os.environ | ({} if small is dataset else own)
        done = subprocess.run(command, capture_output=True, text=True, env=env)
        if done.returncode:
            said = (done.stderr.strip().splitlines() or [f"status {done.returncode}"])[-1]
            raise UserError(f"no forecast: a trial on {interactions:,} interactions failed: {said[:300]}")
        found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    users = min(trial.evaluate_users or small.n_users, small.n_users)
    return found | {"n": len(small.interactions), "items": small.n_items, "users": users}


def trained(resolved: Resolved, share: float) -> dict[str, int]:
    """The training settings of a trial on a `share` of the data. Where a step costs the whole graph, its batch is that
    share of the run's, so that an epoch has as many steps as in the run, and each step the same share of its work."""
    if share == 1.0:
        return {"max_epochs": 1}
    size = resolved.train_settings.batch_size
    whole_graph = resolved.model_class.whole_graph
    return {"max_epochs": TRIAL_EPOCHS, "batch_size": math.ceil(size * share) if whole_graph else size}
