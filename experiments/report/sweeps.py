"""Curves over tables that differ in one number: support, any other option of a split, the share missing."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from recsys.experiments.bench.sweep import config_title
from recsys.experiments.report.charts import DRAWN, Chart, Series
from recsys.experiments.report.collect import Group
from recsys.inputs.corruption import ContentCorruption

SHOWN = {
    "all": "all",
    "cold": "cold items among all",
    "cold_pool": "cold items among cold items",
    "cold_users": "cold users",
}
ABOUT = {"support": ("cold_users", "cold_pool", "cold", "all")}
"""The slices that an option of a split is about; the others are about all that there are."""
MISSING, NOISE = "missing", "noise"
AXES = {
    NOISE: "noise added to the content, in standard deviations of its values",
    MISSING: "share of items with a missing modality",
    "support": "support interactions of each cold user or item",
}
FILLED = {"mask": "masked", "zero": "zeros", "mean": "mean", "neighbours": "neighbours"}
"""How missing features are filled, as the charts name it."""
FILLS = list(FILLED)
Lines = Mapping[str, Mapping[float, Mapping[str, Any]]]


@dataclass(frozen=True, eq=False)
class Point:
    """One table, as a place on a curve."""

    group: Group
    table: Mapping[str, Any]
    slices: Sequence[Mapping[str, Any]]

    @property
    def numbers(self) -> dict[str, float]:
        """What a curve can run over."""
        content = self.group.content
        return {**self.group.options, MISSING: content.missing, NOISE: content.noise}


@dataclass(frozen=True, eq=False)
class Sweep:
    """Charts over the same tables."""

    title: str
    charts: tuple[Chart, ...]


def sweeps(points: Sequence[Point]) -> list[Sweep]:
    """The curves that the tables allow: over each number that at least two of them differ in, and in nothing else
    but how holes are filled."""
    curves = []
    for axis in dict.fromkeys(name for point in points for name in point.numbers):
        families: dict[str, list[Point]] = {}
        for point in points:
            if axis in point.numbers:
                for family in _families(point, axis, points):
                    families.setdefault(family, []).append(point)
        for points_of_curve in families.values():
            values = sorted({point.numbers[axis] for point in points_of_curve})
            if len(values) > 1:
                charts = tuple(_charts(axis, values, points_of_curve))
                curves += [Sweep(_title(axis, points_of_curve), charts)] if charts else []
    return curves


def _families(point: Point, axis: str, points: Sequence[Point]) -> Iterable[str]:
    """Keys of what a point shares with others on a curve; where nothing is missing, it is on every pattern's."""
    group, content = point.group, point.group.content
    options = {key: value for key, value in group.options.items() if key != axis}
    patterns = [(content.pattern, content.modality)]
    if axis == MISSING and not content.missing:
        patterns = [(p.group.content.pattern, p.group.content.modality) for p in points if p.numbers[MISSING]]
    for pattern in dict.fromkeys(patterns):
        rest: list[object] = [*pattern] if axis == MISSING else [*pattern, content.missing, content.fill]
        rest += [content.noise] if axis != NOISE else []
        yield json.dumps(
            [group.dataset, group.task, group.split, group.tested, sorted(options.items()), rest]
        )


def _title(axis: str, points_of_curve: Sequence[Point]) -> str:
    group = max(points_of_curve, key=lambda point: point.numbers[axis]).group
    options = {key: value for key, value in group.options.items() if key != axis}
    content = group.content
    if axis == NOISE:
        content = content.model_copy(update={"noise": 0.0})
    if axis != MISSING:
        return f"{config_title(group.dataset, group.split, options, content, group.tested)}: by {axis}"
    where = content.model_copy(update={"fill": "mask", "missing": 1.0}).title.replace("100% ", "")
    return f"{config_title(group.dataset, group.split, options, ContentCorruption(), group.tested)}: {where}"


def _charts(axis: str, values: Sequence[float], points_of_curve: Sequence[Point]) -> Iterable[Chart]:
    """A chart for each slice, of holes as they are; where holes are filled too, one for each model with its fills."""
    fills = sorted({point.group.content.fill for point in points_of_curve}, key=FILLS.index)
    plain = [point for point in points_of_curve if point.group.content.fill == fills[0]]
    filling = f", missing features: {FILLED[fills[0]]}" if len(fills) > 1 else ""
    drawn = [key for key in ABOUT.get(axis, SHOWN) if _cells(key, axis, plain)]
    for key in drawn:
        lines = _cells(key, axis, plain)
        order = sorted(
            lines, key=lambda name: -sum(c["mean"] for c in lines[name].values()) / len(lines[name])
        )
        chosen = {name: lines[name] for name in order[: DRAWN - 1]}
        yield _chart(
            f"{axis}-{key}",
            f"{SHOWN[key]}{filling}",
            axis,
            values,
            plain,
            {**chosen, **_chance(key, axis, plain)},
        )
    if len(fills) == 1 or not drawn:
        return
    key = "cold_pool" if "cold_pool" in drawn else drawn[0]
    by_fill = {f: _cells(key, axis, [p for p in points_of_curve if p.group.content.fill == f]) for f in fills}
    for model in by_fill[fills[0]]:
        lines = {FILLED[f]: cells[model] for f, cells in by_fill.items() if model in cells}
        yield _chart(f"{axis}-{key}-{model}", f"{SHOWN[key]}: {model}", axis, values, plain, lines)


def _chart(
    key: str, title: str, axis: str, values: Sequence[float], points_of_curve: Sequence[Point], lines: Lines
) -> Chart:
    metric = next((m for p in points_of_curve if (m := p.table["decide_by"].rpartition(":")[2])), "")
    names = tuple(f"{100 * value:g}%" if axis == MISSING else f"{value:g}" for value in values)
    same = "; the test items are the same at every point" if axis in ABOUT else ""
    return Chart(
        key.replace("_", "-"),
        f"{metric}, {title}",
        AXES.get(axis, axis),
        metric,
        "lines",
        tuple(_line(name, values, cells) for name, cells in lines.items()),
        x_names=names,
        note=f"Means over seeds{same}.",
    )


def _cells(key: str, axis: str, points_of_curve: Sequence[Point]) -> Lines:
    """Model -> place on the axis -> its cell of a slice; models that stand at one place alone are left out."""
    lines: dict[str, dict[float, Mapping[str, Any]]] = {}
    for point in points_of_curve:
        part = next((s for s in point.slices if s["key"] == key), None)
        for model, cell in part["cells"].items() if part else ():
            lines.setdefault(model, {})[point.numbers[axis]] = cell
    return {model: cells for model, cells in lines.items() if len(cells) > 1}


def _chance(key: str, axis: str, points_of_curve: Sequence[Point]) -> Lines:
    parts = [(p.numbers[axis], s) for p in points_of_curve for s in p.slices if s["key"] == key]
    levels = {place: {"mean": part["chance"]} for place, part in parts if part["chance"] is not None}
    return {"chance": levels} if len(levels) > 1 else {}


def _line(name: str, values: Sequence[float], cells: Mapping[float, Mapping[str, Any]]) -> Series:
    there = [n for n, value in enumerate(values) if value in cells]
    drawn = [cells[values[n]] for n in there]
    ends: list[tuple[float, ...]] = [(), ()]
    if all("interval" in cell for cell in drawn):
        ends = [tuple(cell["interval"][side] for cell in drawn) for side in (0, 1)]
    return Series(name, tuple(map(float, there)), tuple(cell["mean"] for cell in drawn), *ends)
