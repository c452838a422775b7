"""Making a report: what is read, what is computed, and which files it leaves."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from threadpoolctl import threadpool_limits

from recsys.experiments.bench import tables as text
from recsys.experiments.bench.results import (
    RESULTS_FILE,
    default_columns,
    doubtful_content,
    read_json,
    table_of,
    unequal_content,
)
from recsys.experiments.report.charts import charts_of
from recsys.experiments.report.collect import Collection, Group, collect
from recsys.experiments.report.explorer import explore
from recsys.experiments.report.figures import write_figures
from recsys.experiments.report.page import Section, render
from recsys.experiments.report.slices import slices
from recsys.experiments.report.sources import Source, activity, open_sources
from recsys.experiments.report.sweeps import Point, sweeps
from recsys.experiments.stats.verdicts import Rules
from recsys.files import cannot_write, write_text

PAGE, LATEX, MARKDOWN, CSV = "index.html", "tables.tex", "tables.md", "tables.csv"
DECIDE_BY = "ndcg@20"


@dataclass(frozen=True)
class ReportOptions:
    """What a report shows.

    Attributes:
        out: its folder; None for `report` inside the folder of runs.
        data_root: folder of the data sets; None for the one that each run recorded.
        users, models: how many the explorer offers at most, of each table.
    """

    out: Path | None = None
    data_root: str | None = None
    users: int = 50
    models: int = 8


def write_report(folder: Path, options: ReportOptions, console: Console) -> Path:
    """Write the report on the runs in `folder` and say what was left out.

    Returns:
        The page's path.

    Raises:
        UserError: there is no run to report on, or the files cannot be written.
    """
    # Its matrices are small: several threads would spend more time on waiting for each other than on them.
    with threadpool_limits(1, user_api="blas"):
        return _write(folder, options, console)


def _write(folder: Path, options: ReportOptions, console: Console) -> Path:
    out = options.out or folder / "report"
    collection = collect(folder, out)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise cannot_write(out, error) from error
    sources = open_sources(collection.groups, options.data_root)
    stored = collection.results.get("rules", {})
    rules = Rules(margin=float(stored.get("margin", Rules.margin)), reference=stored.get("reference"))
    known = _known(collection.results, read_json(out / RESULTS_FILE))
    sections = [
        _section(group, collection.results, sources[group.dataset], rules, known)
        for group in collection.groups
    ]
    ranked = [[row["model"] for row in section.table["rows"]] for section in sections]
    explored = explore(collection.groups, ranked, sources, options.users, options.models)
    curves = sweeps([Point(s.group, s.table, s.slices) for s in sections])
    results = _results(collection, sections)
    paper = text.beside_paper(results["paper"]) if results["paper"] else None
    page = render(collection, sections, curves, paper, sources, explored, rules.margin)
    write_text(out / LATEX, text.latex(results))
    write_text(out / MARKDOWN, text.markdown(results))
    write_text(out / CSV, text.csv_text(results))
    write_text(out / RESULTS_FILE, json.dumps(results, indent=2) + "\n")
    charts = [(s.group.title, s.charts) for s in sections] + [(c.title, c.charts) for c in curves]
    lines = write_figures(charts, list(explored.maps.values()), out)
    write_text(out / PAGE, page)
    for line in [
        *_left_out(collection),
        *(f"not explored: {n}: {e}" for n, e in explored.troubles.items()),
        *lines,
    ]:
        console.print(line, markup=False, soft_wrap=True)
    return out / PAGE


def _known(*results: Mapping[str, Any]) -> dict[str, Any]:
    """Tables that were computed before, by their stamps."""
    return {table["stamp"]: table for one in results for table in one.get("tables", ()) if "stamp" in table}


def _section(
    group: Group, results: Mapping[str, Any], source: Source, rules: Rules, known: Mapping[str, Any]
) -> Section:
    scored = [run.scored for run in sorted(group.runs, key=lambda r: (r.scored.label, r.scored.draw))]
    written: Mapping[str, Any] = next(
        (t for t in results.get("tables", ()) if t.get("title") == group.title), {}
    )
    columns = written.get("columns") or default_columns(group.split, scored)
    decide = results.get("decide_by") or _decided_by(group)
    table = table_of(scored, group.draws, columns, decide, rules, known)
    environments = [run.environment for run in group.runs]
    content = {"content": doubtful_content(environments), "unequal": unequal_content(environments)}
    table = {**table, "dataset": group.dataset, "split": group.split, **content}
    metric = table["decide_by"].rpartition(":")[2]
    parts = slices(scored, group.draws, metric, rules, activity(source, group)) if metric else []
    return Section(group, table, parts, charts_of(group, table, parts))


def _decided_by(group: Group) -> str:
    """What the experiments that made the runs are decided by, where they agree on it."""
    experiments = {run.scored.folder.parents[1] for run in group.runs if run.job}
    named = {read_json(folder / RESULTS_FILE).get("decide_by") for folder in experiments} - {None}
    return str(named.pop()) if len(named) == 1 else DECIDE_BY


def _results(collection: Collection, sections: Sequence[Section]) -> dict[str, Any]:
    """What the text tables are made of, and a later report takes up; the same form as an experiment's."""
    known = collection.results
    return {
        "title": known.get("title", ""),
        "tables": [{**s.table, "title": s.group.title, "slices": list(s.slices)} for s in sections],
        "failed": collection.failed,
        "paper": known.get("paper", []),
    }


def _left_out(collection: Collection) -> list[str]:
    lines = [f"left out: {name}: {error}" for name, error in collection.failed.items()]
    if collection.replaced:
        lines.append(f"{len(collection.replaced)} older runs of the same models and seeds are left out")
    return lines
