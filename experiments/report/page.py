"""The report's one page: nothing is fetched, and what a data set holds is shown as text, never as markup."""

from __future__ import annotations

import base64
import hashlib
import json
import math
import shlex
from collections.abc import Mapping, Sequence, Sized
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from recsys.experiments.bench.tables import Grid
from recsys.experiments.report.charts import Chart
from recsys.experiments.report.collect import Collection, Group, StoredRun
from recsys.experiments.report.explorer import Explored
from recsys.experiments.report.maps import ItemMap
from recsys.experiments.report.phrasing import (
    column_words,
    headline,
    interval_words,
    settings_words,
    tests_words,
    verdict_words,
)
from recsys.experiments.report.slices import DEFINITIONS
from recsys.experiments.report.sources import Source
from recsys.experiments.report.svg import draw, draw_map, swatch
from recsys.experiments.report.sweeps import Sweep
from recsys.runs.tables import number

HERE = Path(__file__).parent
REPEATED = 3
"""Runs outside an experiment that the head of the page tells how to repeat; of more, the list of runs does."""


@dataclass(frozen=True, eq=False)
class Section:
    """One table with what belongs to it: slices and charts."""

    group: Group
    table: Mapping[str, Any]
    slices: Sequence[Mapping[str, Any]]
    charts: Sequence[Chart]


def render(
    collection: Collection,
    sections: Sequence[Section],
    curves: Sequence[Sweep],
    paper: Grid | None,
    sources: Mapping[str, Source],
    explored: Explored,
    margin: float,
) -> str:
    """The page as HTML."""
    style, script = ((HERE / name).read_text(encoding="utf-8") for name in ("style.css", "page.js"))
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    template = environment.from_string((HERE / "page.html").read_text(encoding="utf-8"))
    runs = [run for section in sections for run in section.group.runs]
    return template.render(
        title=collection.results.get("title") or f"Runs in {collection.folder.resolve().name}",
        headlines=[headline(s.group.title, s.table) for s in sections],
        facts=_facts(collection, runs),
        sources=[source.facts() for source in sources.values()],
        sections=[_section(n, s, margin) for n, s in enumerate(sections)],
        curves=[_sweep(n, one) for n, one in enumerate(curves)],
        paper=paper,
        maps=[_map(n, m) for n, m in enumerate(explored.maps.values())],
        explorer=bool(explored.tables),
        data=as_json({"tables": explored.tables, "items": explored.items, "maps": _map_data(explored)}),
        failed=collection.failed,
        replaced=collection.replaced,
        troubles=explored.troubles,
        runs=[_run(run, section.table["decide_by"]) for section in sections for run in section.group.runs],
        definitions=DEFINITIONS,
        settings=settings_words([run.config for run in runs]),
        tests=tests_words([run.scored.metrics for run in runs]),
        margin=f"{margin:.0%}",
        style=Markup(style),
        script=Markup(script),
        style_hash=_hash(style),
        script_hash=_hash(script),
    )


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def as_json(value: Any) -> Markup:
    """JSON that can stand in a script element: no character of it can end one."""
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=False)
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)


def _facts(collection: Collection, runs: Sequence[StoredRun]) -> list[tuple[str, list[str]]]:
    """What the head of the page says: name and values."""
    seeds = {run.scored.draw for run in runs}
    commits = sorted({str(c)[:12] for run in runs if (c := run.environment.get("commit"))})
    versions = {str(run.environment.get("packages", {}).get("recsys", "")) for run in runs} - {""}
    made = ", ".join(sorted(versions)) or "unknown"
    counts = (runs, "run"), ({r.scored.label for r in runs}, "model"), (seeds, "seed")
    facts = [
        ("Runs", [", ".join(_count(*counted) for counted in counts)]),
        ("Engine", [f"recsys {made}; this page by recsys {metadata.version('recsys')}"]),
        ("Commit", commits),
        ("Machine", sorted({_machine(run.environment) for run in runs} - {""})),
    ]
    facts.append(("Again", _commands(collection, runs)))
    return [(name, values) for name, values in facts if values]


def _commands(collection: Collection, runs: Sequence[StoredRun]) -> list[str]:
    """Command lines that make the runs again, where there are a few at most, and this page."""
    command = collection.results.get("command")
    commands = [command] if command else []
    if not command and len(runs) <= REPEATED:
        commands = [shlex.join(["recsys", "rerun", str(run.scored.folder)]) for run in runs]
    return [*commands, shlex.join(["recsys", "report", str(collection.folder)])]


def _count(things: Sized, noun: str) -> str:
    return f"{len(things)} {noun}{'' if len(things) == 1 else 's'}"


def _machine(environment: Mapping[str, Any]) -> str:
    hardware = environment.get("hardware")
    if isinstance(hardware, Mapping):
        parts = [hardware.get("cpu"), f"{hardware.get('cores')} cores", *(hardware.get("gpus") or [])]
        return ", ".join(str(part) for part in parts if part)
    cores = environment.get("cores")
    return f"{environment.get('machine', '')}, {cores} cores" if cores else ""


def _section(place: int, section: Section, margin: float) -> dict[str, Any]:
    table, group = section.table, section.group
    columns = list(dict.fromkeys([table["decide_by"], *table["columns"]])) if table["rows"] else []
    rows = []
    for rank, row in enumerate(table["rows"], start=1):
        cells = [_cell(row["columns"].get(column, {})) for column in columns]
        verdict = verdict_words(row, table, margin)
        cannot_score_cold = not row["ranks_cold_items"]
        rows.append(
            {**row, "rank": rank, "cells": cells, "verdict": verdict, "cannot_score_cold": cannot_score_cold}
        )
    cold = any(s["key"] in ("cold", "cold_pool") for s in section.slices) and any(
        r["cannot_score_cold"] for r in rows
    )
    return {
        "id": f"table{place}",
        "title": group.title,
        "noun": group.noun,
        "count": len(group.runs),
        "decide": column_words(table["decide_by"]),
        "columns": [column_words(column).partition(", ")[::2] for column in columns],
        "rows": rows,
        "chance": [number(table["chance"].get(c)) for c in columns],
        "cold": cold,
        "slices": _slices(section, cold),
        "charts": [_chart(f"table{place}-{chart.key}", chart) for chart in section.charts],
    }


def _sweep(place: int, sweep: Sweep) -> dict[str, Any]:
    ident = f"curve{place}"
    charts = [_chart(f"{ident}-{chart.key}", chart) for chart in sweep.charts]
    return {"id": ident, "title": sweep.title, "charts": charts}


def _cell(cell: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "value": cell.get("mean", ""),
        "text": number(cell.get("mean")),
        "interval": interval_words(cell.get("interval")),
        "best": bool(cell.get("may_be_best")),
    }


def _slices(section: Section, cold: bool) -> dict[str, Any]:
    metric = section.table["decide_by"].rpartition(":")[2]
    rows = []
    for row in section.table["rows"]:
        cells = [_cell(s["cells"].get(row["model"], {})) for s in section.slices]
        rows.append(
            {"model": row["model"], "cells": cells, "cannot_score_cold": cold and not row["ranks_cold_items"]}
        )
    users = [max((c["users"] for c in s["cells"].values()), default=0) for s in section.slices]
    return {
        "metric": metric,
        "columns": [(s["label"], f"{n:,}") for s, n in zip(section.slices, users, strict=True)],
        "chance": [number(s["chance"]) for s in section.slices],
        "rows": rows,
    }


def _chart(ident: str, chart: Chart) -> dict[str, Any]:
    series = enumerate(chart.series if chart.kind != "points" else ())
    legend = [(swatch(place, line=chart.kind == "lines"), one.name) for place, one in series]
    return {
        "title": chart.title,
        "note": chart.note,
        "svg": draw(chart, ident),
        "legend": legend,
        "header": _figures_header(chart),
        "figures": [[s.name, *_figures(chart, s)] for s in chart.series],
    }


def _figures_header(chart: Chart) -> list[str]:
    if chart.kind == "points":
        return ["model", chart.x_label, chart.y_label]
    if chart.x_names:
        return ["model", *chart.x_names]
    return ["model", f"best {chart.y_label}", f"at {chart.x_label}", f"last {chart.x_label}"]


def _figures(chart: Chart, one: Any) -> list[str]:
    """A series as a few figures, for those who do not see it."""
    if chart.kind == "points":
        return [f"{one.x[0]:.4g}", number(one.y[0])]
    if chart.x_names:
        there = dict(zip(one.x, one.y, strict=True))
        return [number(there.get(float(place))) for place in range(len(chart.x_names))]
    best = max(range(len(one.y)), key=lambda n: -math.inf if math.isnan(one.y[n]) else one.y[n])
    return [number(one.y[best]), f"{one.x[best]:g}", f"{one.x[-1]:g}"]


def _map(place: int, drawn: ItemMap) -> dict[str, Any]:
    counts = [int((drawn.kind == n).sum()) for n in range(len(drawn.kinds))]
    return {
        "dataset": drawn.dataset,
        "model": drawn.model,
        "by": drawn.by,
        "size": len(drawn.items),
        "svg": draw_map(drawn, f"map{place}"),
        "legend": [(swatch(n, line=False), name, counts[n]) for n, name in enumerate(drawn.kinds)],
        "further": drawn.further,
    }


def _map_data(explored: Explored) -> list[dict[str, Any]]:
    data = []
    for dataset, drawn in explored.maps.items():
        names = list(dict.fromkeys(drawn.names))
        place = {name: number for number, name in enumerate(names)}
        one = {"dataset": dataset, "items": drawn.items.tolist(), "places": drawn.places.ravel().tolist()}
        one |= {"kind": drawn.kind.tolist(), "names": names, "name": [place[name] for name in drawn.names]}
        data.append(one)
    return data


def _run(run: StoredRun, decide: str) -> dict[str, Any]:
    metrics = run.scored.metrics
    group, _, metric = decide.rpartition(":")
    values = metrics.get(f"test_{group}" if group else "test", {})
    usage = run.environment.get("usage")
    peak = usage.get("peak_memory_mib") if isinstance(usage, Mapping) else None
    return {
        "name": run.name,
        "model": run.scored.label,
        "dataset": run.key[0],
        "split": run.config.split,
        "draw": run.scored.draw,
        "metric": decide,
        "value": values.get(metric),
        "text": number(values.get(metric)),
        "seconds": metrics["timing"]["total"],
        "epochs": metrics.get("epochs", ""),
        "memory": f"{peak:,.0f} MiB" if isinstance(peak, int | float) else "",
        "commit": str(run.environment.get("commit") or "")[:12],
        "opened": metrics.get("test_opened", ""),
    }
