"""What a run will take: one epoch of it on small copies of its data, on this machine, each in a process of its own."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recsys.datasets.convert import convert
from recsys.datasets.dataset import Dataset
from recsys.datasets.shrink import shrunk
from recsys.errors import UserError
from recsys.memory import available, gib, resident
from recsys.runs.config import Resolved, RunConfig, resolve

SMALL, SHARE, APART = 600_000, 20, 4
"""Data of so many interactions are measured as they are. Of more a copy is, of this part of the interactions and at
least SMALL, and a second one that is so many times smaller."""
TRIAL_USERS = 2000
"""Users whom a copy is evaluated on, at most."""
CLOSED_FORM_POWER, GRAPH_POWER, EPOCH_POWER = 3.0, 2.0, 1.25
"""Powers of the interactions by which a closed form, graphs and an epoch grow at most: a machine's caches make small
trials cheaper than they ought to be, and noise must not be magnified."""
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


def forecast(config: RunConfig, dataset: Dataset | None = None) -> Forecast:
    """Measure one epoch of the run, on its data where they are small, else on two small copies, and tell what the run
    will take.

    Seconds grow with the interactions by the power that the two copies show, within bounds; memory grows linearly,
    that of a closed form by a power too.

    Raises:
        UserError, DataError: anything in the configuration or data that cannot be, or a trial that failed.
    """
    resolved = resolve(config, dataset)
    whole, answering = len(resolved.dataset.interactions), config.evaluate_users or resolved.dataset.n_users
    if whole <= SMALL:
        sizes = [whole]
    else:
        largest = max(SMALL, whole // SHARE)
        sizes = [largest, largest // APART]
    trials = [_trial(resolved, size) for size in sizes]
    cells = min(answering, resolved.dataset.n_users) * resolved.dataset.n_items
    ranking = trials[0]["ranking"] * max(cells / trials[0]["cells"], 1.0)
    closed = resolved.train_settings is None
    if len(trials) == 1:
        only = trials[0]
        return Forecast(
            only["load"], only["graphs"], only["epoch"], ranking, only["memory"], (int(only["n"]),)
        )
    base = min(trial["base"] for trial in trials)
    memory = (
        base + grown([(t["n"], t["memory"] - base) for t in trials], whole, 1.0, 2.0)
        if closed
        else linear([(t["n"], t["memory"]) for t in trials], whole)
    )
    powers = {"load": 1.0, "graphs": GRAPH_POWER, "epoch": CLOSED_FORM_POWER if closed else EPOCH_POWER}
    seconds = {
        name: grown([(trial["n"], trial[name]) for trial in trials], whole, 1.0, power)
        for name, power in powers.items()
    }
    return Forecast(**seconds, ranking=ranking, memory=memory, measured_on=tuple(int(t["n"]) for t in trials))


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


def grown(points: list[tuple[float, float]], at: float, lowest: float, highest: float) -> float:
    """The value at `at` on the power law through two points of which the first lies further out, the power held
    between `lowest` and `highest`.

    Example:
        >>> grown([(20, 40.0), (10, 10.0)], 40, 1.0, 3.0), grown([(20, 40.0), (10, 10.0)], 40, 1.0, 1.0)
        (160.0, 80.0)
    """
    (far, high), (near, low) = points
    power = math.log(max(high, 1e-6) / max(low, 1e-6)) / math.log(far / near)
    return high * (at / far) ** min(max(power, lowest), highest)


def _trial(resolved: Resolved, interactions: int) -> dict[str, float]:
    """What one epoch took on a copy of so many interactions."""
    dataset, config = resolved.dataset, resolved.config
    small = shrunk(dataset, interactions)
    settings = config.settings if resolved.train_settings is None else config.settings | {"max_epochs": 1}
    changes: dict[str, Any] = {"settings": settings, "metrics": [], "warm_start": None}
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
        # A search that is approximate on the whole data is on the copy too: its threshold shrinks as pairs of items do.
        share = (small.n_items / dataset.n_items) ** 2
        asked = {"config": trial.model_dump(mode="json"), "share": share}
        (folder / TRIAL_FILE).write_text(json.dumps(asked), "utf-8")
        command = [sys.executable, "-m", "recsys.runs.trial", str(folder)]
        # What a copy's graphs leave in the cache is of no use to anybody.
        env = os.environ | ({} if small is dataset else {"RECSYS_CACHE": str(folder / "cache")})
        done = subprocess.run(command, capture_output=True, text=True, env=env)
        if done.returncode:
            said = (done.stderr.strip().splitlines() or [f"status {done.returncode}"])[-1]
            raise UserError(f"no forecast: a trial on {interactions:,} interactions failed: {said[:300]}")
        found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    users = min(trial.evaluate_users or small.n_users, small.n_users)
    return found | {"n": len(small.interactions), "cells": users * small.n_items}
