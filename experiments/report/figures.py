"""The charts and maps as SVG and PDF files, for papers and slides, and their figures as one CSV."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from recsys.experiments.report import svg
from recsys.experiments.report.charts import Chart
from recsys.experiments.report.maps import ItemMap
from recsys.files import atomic, cannot_write, write_text

FOLDER, VALUES = "figures", "figures.csv"
TITLE = 22
"""Points above a chart for its title; below it a figure has the page's own measures, and its labels' places."""
MARKERS = "os^DXvP*"
STYLES = "-", "--", ":", "-."
COLOURS = "0072b2", "d55e00", "009e73", "b0508a", "8c6d00", "5b4bb7", "4e7f96", "444444"
STYLE = {
    "svg.hashsalt": "recsys",
    "svg.fonttype": "none",
    "pdf.fonttype": 3,
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.3,
    "axes.prop_cycle": f"cycler('color', {list(COLOURS)})",
}


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
        import matplotlib
    except ImportError:
        return ["figures as SVG and PDF files are left out; for them: pip install 'recsys[plots]'"]
    folder = out / FOLDER
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise cannot_write(folder, error) from error
    with matplotlib.rc_context(STYLE):
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
    from matplotlib.lines import Line2D

    height = svg.HEIGHT + TITLE
    figure = Figure(figsize=(svg.WIDTH / 72, height / 72))
    inner = svg.WIDTH - svg.LEFT - svg.RIGHT, svg.HEIGHT - svg.TOP - svg.BOTTOM
    place = svg.LEFT / svg.WIDTH, svg.BOTTOM / height, inner[0] / svg.WIDTH, inner[1] / height
    axes = figure.add_axes(place)
    x, y = svg.axes_of(chart)
    limits = (10**x.low, 10**x.high) if chart.x_log else (x.low, x.high)
    axes.set(xscale="log" if chart.x_log else "linear", xlim=limits, ylim=(y.low, y.high))
    axes.set(xlabel=chart.x_label, ylabel=chart.y_label)
    figure.suptitle(f"{chart.title}: {title}", x=0.02, ha="left", fontsize=9)
    if chart.x_names:
        axes.set_xticks(range(len(chart.x_names)), chart.x_names)
    if chart.kind == "lines":
        _draw_lines(chart, axes)
        return figure
    for one in chart.series:
        bars = [[one.y[0] - one.low[0]], [one.high[0] - one.y[0]]] if one.low else None
        axes.errorbar(one.x, one.y, yerr=bars, fmt="o", color=f"#{COLOURS[0]}", elinewidth=0.8, ms=4)
    for label in svg.labels(chart, x, y):
        ends = [
            (a / svg.WIDTH, 1 - (b + TITLE) / height) for a, b in ((label.x, label.y), *(label.leader or ()))
        ]
        figure.text(*ends[0], label.text, ha="left" if label.anchor == "start" else "right", fontsize=8)
        if label.leader:
            figure.add_artist(Line2D(*zip(*ends[1:], strict=True), lw=0.6, ls=":", color="0.4"))
    return figure


def _draw_lines(chart: Chart, axes: Any) -> None:
    for number, one in enumerate(chart.series):
        look = {"marker": MARKERS[number % len(MARKERS)], "ls": STYLES[number % len(STYLES)], "ms": 3.5}
        axes.plot(one.x, one.y, label=one.name, lw=1.2, markevery=max(1, len(one.x) // 6), **look)
    axes.legend(fontsize=7, framealpha=0.7, edgecolor="none", loc="best")


def _draw_map(found: ItemMap) -> Any:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.6, 5.0))
    axes = figure.add_axes((0.02, 0.03, 0.69, 0.9))
    for number, name in enumerate(found.kinds):
        places = found.places[found.kind == number]
        axes.scatter(places[:, 0], -places[:, 1], 14, marker=MARKERS[number % len(MARKERS)], label=name, lw=0)
    axes.set(xticks=[], yticks=[], title=f"{found.dataset}: item vectors of {found.model}")
    axes.title.set_fontsize(9)
    axes.legend(
        fontsize=8, frameon=False, title=found.by, markerscale=1.5, loc="upper left", bbox_to_anchor=(1.01, 1)
    )
    return figure


def _save(figure: Any, folder: Path, name: str) -> None:
    stem = re.sub(r"[^A-Za-z0-9.]+", "-", name).strip("-").lower()
    for kind, dates in (("svg", {"Date": None}), ("pdf", {"CreationDate": None})):
        with atomic(folder / f"{stem}.{kind}") as temporary:
            figure.savefig(temporary, format=kind, metadata=dates)
