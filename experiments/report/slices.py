"""One metric by slices: warm and cold, head and tail, and users by how active they were in training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from recsys.errors import UserError
from recsys.experiments.bench.results import SEED, Draw, Scored, chance_of, matrices
from recsys.experiments.stats.verdicts import Rules, estimates
from recsys.runs.tables import SHARE_SHOWN

SLICES = {
    "": "all",
    "warm": "warm items",
    "cold": "cold items",
    "cold_pool": "cold among cold",
    "head": "head items",
    "tail": "tail items",
    "warm_users": "warm users",
    "cold_users": "cold users",
}
DEFINITIONS = (
    "Warm items have training interactions, cold items have none. Head items are the most popular fifth of the warm "
    "items, tail items the others. In “cold among cold”, models rank only the items that the split holds out. With "
    "the split option “support”, held-out items keep that many training interactions each and still count as cold. "
    "“Users of 1–9 items” are users with 1 to 9 training interactions. Slices with test items of fewer than 2% of the "
    "users are left out."
)


def slices(
    scored: Sequence[Scored],
    draws: Sequence[Draw],
    metric: str,
    rules: Rules,
    activity: Mapping[Draw, np.ndarray] | None = None,
) -> list[dict[str, Any]]:
    """Each slice with test items of enough users: key, label, chance, and results by model.

    Args:
        metric: such as "ndcg@20".
        activity: (n_users,) training interactions of each user, by the seeds that they were drawn with.
    """
    parts, everybody = [], 0
    for key, label in SLICES.items():
        column = f"{key}:{metric}" if key else metric
        table = matrices(scored, draws, column)
        cells = _cells(table, rules)
        users = max((cell["users"] for cell in cells.values()), default=0)
        everybody = everybody or users
        if users >= max(2, SHARE_SHOWN * everybody):
            chance = chance_of(scored, column)
            parts.append({"key": key or "all", "label": label, "cells": cells, "chance": chance})
    overall = matrices(scored, draws, metric)
    for number, (label, table) in enumerate(by_activity(overall, draws, activity or {})):
        parts.append(
            {"key": f"activity{number}", "label": label, "cells": _cells(table, rules), "chance": None}
        )
    return parts


def by_activity(
    table: Mapping[str, np.ndarray], draws: Sequence[Draw], activity: Mapping[Draw, np.ndarray]
) -> list[tuple[str, dict[str, np.ndarray]]]:
    """The users in three parts of about one size by training interactions: label, and the table of each part.

    Empty where activity is not known, or does not tell three parts apart.
    """
    if not table or not all(draw in activity for draw in draws):
        return []
    size = next(iter(table.values())).shape[1]
    counts = np.array([activity[draw][:size] for draw in draws])
    tested = np.any([~np.isnan(values) for values in table.values()], axis=0)
    low, high = (int(q) for q in np.quantile(counts[tested], [1 / 3, 2 / 3]))
    top = int(counts[tested].max())
    if not int(counts[tested].min()) <= low < high < top:
        return []
    parts = []
    for first, last in ((int(counts[tested].min()), low), (low + 1, high), (high + 1, top)):
        inside = (counts >= first) & (counts <= last)
        masked = {label: np.where(inside, values, np.nan) for label, values in table.items()}
        parts.append((f"users of {first}–{last} items", masked))
    return parts


def _cells(table: Mapping[str, np.ndarray], rules: Rules) -> dict[str, dict[str, Any]]:
    cells: dict[str, dict[str, Any]] = {}
    for label, values in table.items():
        counted = ~np.isnan(values).all(axis=1)
        if counted.any():
            mean = np.nanmean(values[counted], axis=1).mean()
            users = int((~np.isnan(values)).any(axis=0).sum())
            cells[label] = {"mean": float(mean), "users": users}
    try:
        estimated = estimates({label: table[label] for label in cells}, np.random.default_rng(SEED), rules)
    except UserError:  # too few users for an interval: the means stand alone
        return cells
    for label, estimate in estimated.items():
        cells[label]["interval"] = estimate.interval
    return cells
