"""The charts of a table, as data: the page draws them as SVG, `figures` as files for papers."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from recsys.experiments.report.collect import Found, Group

DRAWN = 8
"""Models in a chart of lines; more cannot be told apart."""
POINTS = 120
"""Points of a line."""
Slices = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Series:
    """A name and its points; `low` and `high` are the ends of intervals, empty where there are none."""

    name: str
    x: tuple[float, ...]
    y: tuple[float, ...]
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()


@dataclass(frozen=True)
class Chart:
    """A chart.

    Attributes:
        key: name of its files, after the table's.
        kind: "points", each named where it stands; or "lines", which a legend names.
        x_names: what stands at x = 0, 1, 2, … instead of numbers.
        note: one line on how to read it.
    """

    key: str
    title: str
    x_label: str
    y_label: str
    kind: Literal["points", "lines"]
    series: tuple[Series, ...]
    x_log: bool = False
    x_names: tuple[str, ...] = ()
    note: str = ""


def charts_of(group: Group, table: Mapping[str, Any], slices: Slices) -> list[Chart]:
    """The charts that a table's runs allow."""
    made = (
        _time(group, table),
        _curves(group, table),
        _warm_cold(table, slices),
        _popularity(table, slices),
        _modalities(group, table),
    )
    return [chart for chart in made if chart is not None]


def _order(table: Mapping[str, Any]) -> list[str]:
    return [row["model"] for row in table["rows"]]


def _time(group: Group, table: Mapping[str, Any]) -> Chart | None:
    """The decisive metric against the seconds of training, graphs included."""
    metric, seconds = table["decide_by"], {}
    for run in group.runs:
        timing = run.scored.metrics["timing"]
        spent = timing["total"] - timing.get("evaluate", 0.0)
        seconds.setdefault(run.scored.label, []).append(max(spent, 0.01))
    series = []
    for row in table["rows"]:
        cell = row["columns"].get(metric)
        if cell:
            x = (float(np.mean(seconds[row["model"]])),)
            ends = tuple((end,) for end in cell.get("interval", ()))
            series.append(Series(row["model"], x, (cell["mean"],), *ends))
    if not series:
        return None
    note = "Up and to the left is better. Bars are 95% intervals."
    x_label = "seconds to train, mean over seeds"
    return Chart(
        "time",
        "Accuracy against training time",
        x_label,
        metric,
        "points",
        tuple(series),
        x_log=True,
        note=note,
    )


def _curves(group: Group, table: Mapping[str, Any]) -> Chart | None:
    """The validation metric by epoch: of each model the run with the first seeds."""
    series, monitors = [], []
    for label in _order(table):
        runs = [r for r in group.runs if r.scored.label == label and r.history is not None]
        run = min(runs, key=lambda r: r.scored.draw, default=None)
        curve = _curve(run) if run else None
        if curve and len(series) < DRAWN:
            monitor, epochs, values = curve
            monitors.append(monitor)
            series.append(Series(label, epochs, values))
    if not series:
        return None
    metric = " or ".join(dict.fromkeys(monitors))
    note = "One run of each model that trains by epochs, the one with the first seeds."
    return Chart(
        "curves", "Learning curves", "epoch", f"{metric} on validation", "lines", tuple(series), note=note
    )


def _curve(run: Found) -> tuple[str, tuple[float, ...], tuple[float, ...]] | None:
    monitor = run.config.settings.get("monitor")
    if run.history is None or monitor not in run.history or "epoch" not in run.history:
        return None
    frame = run.history[["epoch", monitor]].dropna()
    keep = np.unique(np.linspace(0, len(frame) - 1, min(POINTS, len(frame))).round().astype(int))
    frame = frame.iloc[keep]
    epochs = (frame["epoch"].astype(float) + 1).tolist()
    return (monitor, tuple(epochs), tuple(frame[monitor].astype(float))) if len(frame) else None


def _cells(slices: Slices, key: str) -> Mapping[str, Any]:
    return next((s["cells"] for s in slices if s["key"] == key), {})


def _warm_cold(table: Mapping[str, Any], slices: Slices) -> Chart | None:
    """Warm items against cold ones; cold users where only they are cold."""
    for warm, cold, noun in (("warm", "cold", "items"), ("warm_users", "cold_users", "users")):
        x, y = _cells(slices, warm), _cells(slices, cold)
        both = [m for m in _order(table) if m in x and m in y]
        if both:
            series = [Series(m, (x[m]["mean"],), (y[m]["mean"],)) for m in both]
            metric = _metric(table)
            labels = f"{metric}, warm {noun}", f"{metric}, cold {noun}"
            note = f"Right: better with {noun} known from training. Up: better with new {noun}."
            return Chart("warm-cold", "Warm against cold", *labels, "points", tuple(series), note=note)
    return None


def _metric(table: Mapping[str, Any]) -> str:
    return table["decide_by"].rpartition(":")[2]


def _popularity(table: Mapping[str, Any], slices: Slices) -> Chart | None:
    """From items without training interactions to the most popular ones."""
    names = {"cold": "none", "tail": "tail", "head": "head"}
    there = {key: cells for key in names if (cells := _cells(slices, key))}
    if len(there) < 2:
        return None
    series = []
    for label in _order(table)[:DRAWN]:
        places = [n for n, cells in enumerate(there.values()) if label in cells]
        cells = [list(there.values())[n][label] for n in places]
        series.append(Series(label, tuple(map(float, places)), tuple(c["mean"] for c in cells)))
    x_names = tuple(names[key] for key in there)
    note = "Items to be found by their training interactions: head, the most popular fifth; tail, the other warm ones"
    note += "; none, cold items." if "cold" in there else "."
    metric = _metric(table)
    return Chart(
        "popularity",
        "By popularity of the item",
        "popularity of the items to be found",
        metric,
        "lines",
        tuple(series),
        x_names=x_names,
        note=note,
    )


def _modalities(group: Group, table: Mapping[str, Any]) -> Chart | None:
    """Models that were run with some of the modalities missing: the setting `modalities` is all that differs."""
    kinds: dict[tuple[str, str], dict[tuple[str, ...], str]] = {}
    for run in group.runs:
        rest = dict(run.config.settings)
        chosen = rest.pop("modalities", None)
        if isinstance(chosen, list):
            key = run.config.model, json.dumps(rest, sort_keys=True, default=str)
            kinds.setdefault(key, {})[tuple(chosen)] = run.scored.label
    varied = {key: variants for key, variants in kinds.items() if len(variants) > 1}
    if not varied:
        return None
    sets = {chosen for variants in varied.values() for chosen in variants}
    order = sorted(sets, key=lambda chosen: (-len(chosen) if chosen else -99, chosen))
    rows = {row["model"]: row["columns"].get(table["decide_by"]) for row in table["rows"]}
    series = []
    for (model, _), variants in list(varied.items())[:DRAWN]:
        places = [n for n, chosen in enumerate(order) if rows.get(variants.get(chosen, ""))]
        means = tuple(rows[variants[order[n]]]["mean"] for n in places)
        series.append(Series(model, tuple(map(float, places)), means))
    x_names = tuple(" + ".join(chosen) or "all" for chosen in order)
    title, note = "With modalities missing", "The same settings, with only some of the modalities."
    return Chart(
        "modalities",
        title,
        "modalities read",
        table["decide_by"],
        "lines",
        tuple(series),
        x_names=x_names,
        note=note,
    )
