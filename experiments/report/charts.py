"""The charts of a table, as data: the page draws them as SVG, `figures` as files for papers."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd

from recsys.experiments.report.collect import Group, StoredRun
from recsys.experiments.report.phrasing import column_words

DRAWN = 8
"""Models in a chart of lines; more cannot be distinguished."""
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
        kind: "points", each named where it stands; "lines", or "dots" above names that have no order between
            them; a legend names those.
        x_names: what stands at x = 0, 1, 2, … instead of numbers.
        x_log: the x axis is logarithmic.
        x_whole: only whole numbers are marked on the x axis.
        note: one line on how to read it.
    """

    key: str
    title: str
    x_label: str
    y_label: str
    kind: Literal["points", "lines", "dots"]
    series: tuple[Series, ...]
    x_log: bool = False
    x_whole: bool = False
    x_names: tuple[str, ...] = ()
    note: str = ""


def charts_of(group: Group, table: Mapping[str, Any], slices: Slices) -> list[Chart]:
    """The charts that a table's runs allow."""
    charts = (
        _time(group, table),
        *_curves(group, table),
        _warm_cold(table, slices),
        _popularity(table, slices),
        _modalities(group, table),
    )
    return [chart for chart in charts if chart is not None]


def _order(table: Mapping[str, Any]) -> list[str]:
    return [row["model"] for row in table["rows"]]


def _time(group: Group, table: Mapping[str, Any]) -> Chart | None:
    """The decisive metric against the seconds of training, graphs included."""
    metric = table["decide_by"]
    seconds: dict[str, list[float]] = {}
    for run in group.runs:
        timing = run.scored.metrics["timing"]
        spent = timing["total"] - timing.get("evaluate", 0.0)
        seconds.setdefault(run.scored.label, []).append(max(spent, 0.01))
    series = []
    for row in table["rows"]:
        cell = row["columns"].get(metric)
        if cell:
            series.append(_series(row["model"], [float(np.mean(seconds[row["model"]]))], [cell]))
    if not series:
        return None
    note = "Up and to the left is better. Bars are 95% confidence intervals."
    x_label = "training time in seconds, mean over seeds"
    title = "Accuracy against training time"
    return Chart("time", title, x_label, column_words(metric), "points", tuple(series), x_log=True, note=note)


def _series(name: str, x: Sequence[float], cells: Sequence[Mapping[str, Any]]) -> Series:
    """Means at `x`, with their intervals where all have one."""
    ends: list[tuple[float, ...]] = [(), ()]
    if all(cell.get("interval") for cell in cells):
        ends = [tuple(cell["interval"][side] for cell in cells) for side in (0, 1)]
    return Series(name, tuple(x), tuple(cell["mean"] for cell in cells), *ends)


def _curves(group: Group, table: Mapping[str, Any]) -> list[Chart]:
    """The validation metric by epoch: of each model the run with the first seeds; a chart of its own, with a curve
    for each stage, for a model that is trained in stages."""
    together: list[Series] = []
    monitors: list[str] = []
    staged: list[Chart] = []
    for label in _order(table):
        runs = [r for r in group.runs if r.scored.label == label and r.history is not None]
        run = min(runs, key=lambda r: r.scored.draw, default=None)
        curves = _curves_of(run) if run else {}
        if set(curves) == {""} and len(together) < DRAWN:
            monitor, epochs, values = curves[""]
            monitors.append(monitor)
            together.append(Series(label, epochs, values))
        elif curves and "" not in curves:
            number = f"-{len(staged) + 1}" if staged else ""
            staged.append(_staged(f"stages{number}", label, curves))
    note = "One run of each model that trains in epochs: the one with the lowest seeds."
    charts = [_epochs("curves", "Learning curves", together, monitors, note)] if together else []
    return [*charts, *staged]


Curve = tuple[str, tuple[float, ...], tuple[float, ...]]
"""The metric's name, epochs counted from 1, and its values."""


def _staged(key: str, label: str, curves: Mapping[str, Curve]) -> Chart:
    series = [Series(stage, epochs, values) for stage, (_, epochs, values) in curves.items()]
    note = f"{label} is trained in stages, one after another; shown is the run with the lowest seeds."
    return _epochs(key, f"Learning curves of {label}", series, [m for m, *_ in curves.values()], note)


def _epochs(key: str, title: str, series: Sequence[Series], monitors: Sequence[str], note: str) -> Chart:
    metric = " or ".join(dict.fromkeys(monitors))
    y_label = f"{metric} on validation"
    return Chart(key, title, "epoch", y_label, "lines", tuple(series), x_whole=True, note=note)


def _curves_of(run: StoredRun) -> dict[str, Curve]:
    """Stage -> its curve; the only stage of most models is called ""."""
    monitor = run.config.settings.get("monitor", "")
    if run.history is None or monitor not in run.history or "epoch" not in run.history:
        return {}
    parts: dict[str, pd.DataFrame] = {"": run.history}
    if "stage" in run.history:
        parts = {str(name): part for name, part in run.history.groupby("stage", sort=False)}
    curves: dict[str, Curve] = {}
    for stage, part in parts.items():
        frame = part[["epoch", monitor]].dropna()
        if len(frame):
            keep = np.linspace(0, len(frame) - 1, min(POINTS, len(frame))).round().astype(int)
            frame = frame.iloc[np.unique(keep)]
            epochs = tuple((frame["epoch"].astype(float) + 1).tolist())
            curves[stage] = (monitor, epochs, tuple(frame[monitor].astype(float)))
    return curves


def _cells(slices: Slices, key: str) -> Mapping[str, Any]:
    return next((part["cells"] for part in slices if part["key"] == key), {})


def _warm_cold(table: Mapping[str, Any], slices: Slices) -> Chart | None:
    """Warm items against cold ones; cold users where only they are cold."""
    for warm, cold, noun in (("warm", "cold", "items"), ("warm_users", "cold_users", "users")):
        x, y = _cells(slices, warm), _cells(slices, cold)
        both = [model for model in _order(table) if model in x and model in y]
        if both:
            series = [Series(model, (x[model]["mean"],), (y[model]["mean"],)) for model in both]
            metric = _metric(table)
            labels = f"{metric}, warm {noun}", f"{metric}, cold {noun}"
            note = f"Right: better with {noun} known from training. Up: better with new {noun}."
            return Chart("warm-cold", f"Warm and cold {noun}", *labels, "points", tuple(series), note=note)
    return None


def _metric(table: Mapping[str, Any]) -> str:
    return table["decide_by"].rpartition(":")[2]


def _popularity(table: Mapping[str, Any], slices: Slices) -> Chart | None:
    """Items without training interactions, less popular ones, and the most popular ones."""
    names = {"cold": "none", "tail": "tail", "head": "head"}
    there = {key: cells for key in names if (cells := _cells(slices, key))}
    if len(there) < 2:
        return None
    series = []
    for label in _order(table)[:DRAWN]:
        places = [place for place, cells in enumerate(there.values()) if label in cells]
        drawn = [list(there.values())[place][label] for place in places]
        if places:
            series.append(_series(label, list(map(float, places)), drawn))
    x_names = tuple(names[key] for key in there)
    note = "Test items by their number of training interactions: head, the most popular fifth; "
    note += "tail, the other warm items"
    note += "; none, cold items." if "cold" in there else "."
    title, x_label = "By item popularity", "popularity of the test items"
    metric = _metric(table)
    return Chart("popularity", title, x_label, metric, "dots", tuple(series), x_names=x_names, note=note)


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
        places = [place for place, chosen in enumerate(order) if rows.get(variants.get(chosen, ""))]
        cells = [rows[variants[order[place]]] for place in places]
        if places:
            series.append(_series(model, list(map(float, places)), cells))
    x_names = tuple(" + ".join(chosen) or "all" for chosen in order)
    title, note = "With modalities missing", "The same model and settings with only some of the modalities."
    x_label, y_label = "modalities used", column_words(table["decide_by"])
    return Chart("modalities", title, x_label, y_label, "dots", tuple(series), x_names=x_names, note=note)
