"""The charts and maps as SVG and PDF files, for papers and slides, and their figures as one CSV."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from recsys import plots
from recsys.errors import UserError
from recsys.experiments.report import svg
from recsys.experiments.report.charts import Chart, Series
from recsys.experiments.report.maps import OTHER, ItemMap
from recsys.files import cannot_write, write_text
from recsys.optional_imports import require

FOLDER, VALUES = "figures", "figures.csv"
TITLE = 22
"""Points above a chart for its title; below it a figure has the page's own measures, and its labels' places."""


def write_figures(
    charts: Sequence[tuple[str, Sequence[Chart]]], maps: Sequence[ItemMap], out: Path
) -> list[str]:
    """Write figures.csv, and figures/*.svg and *.pdf where matplotlib is there.

    Args:
        charts: the charts below each title.

    Returns:
        What to tell: nothing where all were written.
    """
    write_text(out / VALUES, _values(charts))
    try:
        require("matplotlib", "plots")
    except UserError:
        return ["figures as SVG and PDF files are left out; for them: pip install 'recsys[plots]'"]
    folder = out / FOLDER
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise cannot_write(folder, error) from error
    with plots.style():
        for title, below in charts:
            for chart in below:
                _save(_draw(chart, title), folder, f"{title}-{chart.key}")
        for one in maps:
            _save(_draw_map(one), folder, f"{one.dataset}-map")
    return []


def _values(charts: Sequence[tuple[str, Sequence[Chart]]]) -> str:
    rows = []
    for title, below in charts:
        for chart in below:
            for one in chart.series:
                ends = one.low or (None,) * len(one.x), one.high or (None,) * len(one.x)
                for x, y, low, high in zip(one.x, one.y, *ends, strict=True):
                    place = chart.x_names[int(x)] if chart.x_names else x
                    rows.append((title, chart.key, one.name, place, y, low, high))
    return pd.DataFrame(rows, columns=["table", "chart", "model", "x", "y", "low", "high"]).to_csv(
        index=False
    )


def _draw(chart: Chart, title: str) -> Any:
    from matplotlib.figure import Figure

    height = svg.HEIGHT + TITLE
    figure = Figure(figsize=(svg.WIDTH / 72, height / 72))
    inner = svg.WIDTH - svg.LEFT - svg.RIGHT, svg.HEIGHT - svg.TOP - svg.BOTTOM
    place = svg.LEFT / svg.WIDTH, svg.BOTTOM / height, inner[0] / svg.WIDTH, inner[1] / height
    axes = figure.add_axes(place)
    x, y = svg.axes_of(chart)
    limits = (10**x.low, 10**x.high) if chart.x_log else (x.low, x.high)
    axes.set(xscale="log" if chart.x_log else "linear", xlim=limits, ylim=(y.low, y.high))
    axes.set(xlabel=plain(chart.x_label), ylabel=plain(chart.y_label))
    figure.suptitle(plain(f"{chart.title}: {title}"), x=0.02, ha="left", fontsize=9)
    if chart.x_names:
        axes.set_xticks(range(len(chart.x_names)), [plain(name) for name in chart.x_names])
    elif chart.x_whole:
        axes.set_xticks([value for value, _ in x.ticks()])
    if chart.kind == "points":
        _draw_points(chart, x, y, figure)
    else:
        _draw_series(chart, axes)
    return figure


def _draw_points(chart: Chart, x: svg.Axis, y: svg.Axis, figure: Any) -> None:
    """One mark a series, named where it stands."""
    from matplotlib.lines import Line2D

    (axes,), height = figure.axes, svg.HEIGHT + TITLE
    for one in chart.series:
        axes.errorbar(one.x, one.y, yerr=_bars(one), fmt="o", color=plots.PALETTE[0], elinewidth=0.8, ms=4)
    for label in svg.labels(chart, x, y):
        ends = [
            (a / svg.WIDTH, 1 - (b + TITLE) / height) for a, b in ((label.x, label.y), *(label.leader or ()))
        ]
        side = "left" if label.anchor == "start" else "right"
        figure.text(*ends[0], plain(label.text), ha=side, fontsize=8)
        if label.leader:
            figure.add_artist(Line2D(*zip(*ends[1:], strict=True), lw=0.6, ls=":", color="0.4"))


def _bars(one: Series) -> list[list[float]] | None:
    """How far the intervals reach below and above the points."""
    if not one.low:
        return None
    down = [y - low for y, low in zip(one.y, one.low, strict=True)]
    return [down, [high - y for y, high in zip(one.y, one.high, strict=True)]]


def _draw_series(chart: Chart, axes: Any) -> None:
    """Lines, or dots beside each other above their names, with a legend."""
    for number, one in enumerate(chart.series):
        colour, marker, dash = plots.look(number)
        looks = {"label": plain(one.name), "color": colour, "marker": marker, "ms": 3.5}
        if chart.kind == "lines":
            axes.plot(one.x, one.y, ls=dash, lw=1.2, markevery=max(1, len(one.x) // 6), **looks)
        else:
            axes.errorbar(svg.shifted(chart, number), one.y, _bars(one), ls="none", elinewidth=0.8, **looks)
    axes.legend(fontsize=7, framealpha=0.7, edgecolor="none", loc="best")


def _draw_map(drawn: ItemMap) -> Any:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.6, 5.0))
    axes = figure.add_axes((0.02, 0.03, 0.69, 0.9))
    for number, name in enumerate(drawn.kinds):
        places = drawn.places[drawn.kind == number]
        colour, marker, _ = plots.look(number)
        label = f"{name} ({len(drawn.further)} more)" if drawn.further and name == OTHER else name
        axes.scatter(places[:, 0], -places[:, 1], 14, colour, marker=marker, label=plain(label), lw=0)
    axes.set(xticks=[], yticks=[], title=f"{plain(drawn.dataset)}: item vectors of {plain(drawn.model)}")
    axes.title.set_fontsize(9)
    axes.legend(
        fontsize=8,
        frameon=False,
        title=plain(drawn.by),
        markerscale=1.5,
        loc="upper left",
        bbox_to_anchor=(1.01, 1),
    )
    return figure


def plain(text: str) -> str:
    """Text that matplotlib shows as it is: no mathematics between dollar signs, no label hidden by an underscore."""
    text = text.replace("$", r"\$")
    return f"\u200b{text}" if text.startswith("_") else text


def _save(figure: Any, folder: Path, name: str) -> None:
    plots.save(figure, folder / (re.sub(r"[^A-Za-z0-9.]+", "-", name).strip("-").lower() or "figure"))
