"""What an experiment found: means over seeds with intervals, verdicts, and ours beside what papers report."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from rich.table import Table

from recsys.errors import UserError
from recsys.experiments.cells import read_result
from recsys.experiments.plan import Cell, Experiment
from recsys.experiments.verdicts import Rules, best_of, compare, estimates
from recsys.files import write_text
from recsys.runs import USERS_FILE
from recsys.tables import make_table, number

RESULTS_FILE, MARKDOWN_FILE, CSV_FILE = "results.json", "table.md", "table.csv"
AGAINST = ("reference", "difference", "p_holm", "p_wilcoxon_holm", "p_bootstrap_holm", "p_equivalence_holm")
AGAINST += ("d_z", "rank_biserial", "smallest_detectable")
SEED = 20260101
"""Of the bootstrap, so that the same cells give the same table."""


def summarise(
    experiment: Experiment,
    cells: Sequence[Cell],
    folders: Mapping[Cell, Path],
    failed: Mapping[str, str],
    out: Path,
) -> dict[str, Any]:
    """The experiment's results, also written to results.json, table.md and table.csv below `out`.

    Args:
        folders: each finished cell's folder; cells without one did not finish.
        failed: the error of each cell that failed, by the cell's name.

    Returns:
        What results.json holds. Where it holds the same cells already, nothing is computed or written.
    """
    rules = Rules(margin=experiment.margin)
    stamp = [[str(folders.get(c)), c.label] for c in cells]
    told = experiment.model_dump(include={"title", "columns", "decide_by", "margin", "paper"})
    key = hashlib.sha256(json.dumps([stamp, dict(failed), told], sort_keys=True).encode()).hexdigest()
    written = _read(out / RESULTS_FILE)
    if written.get("key") == key and (out / MARKDOWN_FILE).exists() and (out / CSV_FILE).exists():
        return written
    groups: dict[tuple[str, str], list[Cell]] = {}
    for cell in cells:
        groups.setdefault((cell.config.dataset, cell.config.split), []).append(cell)
    broken: dict[str, str] = {}
    tables = [
        _table(experiment, members, folders, rules, broken) | {"dataset": Path(dataset).stem, "split": split}
        for (dataset, split), members in groups.items()
    ]
    results = {
        "key": key,
        "title": experiment.title,
        "decide_by": experiment.decide_by,
        "rules": asdict(rules),
        "tables": tables,
        "failed": dict(failed) | broken,
        "paper": _paper(experiment, tables),
    }
    write_text(out / MARKDOWN_FILE, markdown(results))
    write_text(out / CSV_FILE, _csv(results))
    write_text(out / RESULTS_FILE, json.dumps(results, indent=2) + "\n")
    return results


def _read(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        return values if isinstance(values, dict) else {}
    except (OSError, ValueError):
        return {}


def _table(
    experiment: Experiment,
    cells: Sequence[Cell],
    folders: Mapping[Cell, Path],
    rules: Rules,
    broken: dict[str, str],
) -> dict[str, Any]:
    """One data set under one protocol: a row for each model, highest first."""
    draws = sorted({(c.config.split_seed, c.config.seed) for c in cells})
    metrics: dict[str, list[dict[str, Any]]] = {}
    users: dict[str, dict[tuple[int, int], pd.DataFrame]] = {}
    for cell in cells:
        if cell not in folders:
            continue
        try:
            result, frame = read_result(folders[cell]), _per_user(folders[cell])
        except UserError as error:
            broken[cell.name] = str(error)
            continue
        metrics.setdefault(cell.label, []).append(result)
        users.setdefault(cell.label, {})[cell.config.split_seed, cell.config.seed] = frame
    rows = {
        label: {
            "model": label,
            "seeds": len(results),
            "seeds_wanted": len(draws),
            "ranks_cold_items": results[0]["ranks_cold_items"],
            "seconds": float(np.mean([r["timing"]["total"] for r in results])),
            "columns": {},
        }
        for label, results in metrics.items()
    }
    wanted = experiment.columns or default_columns(cells[0].config.split)
    columns = [*dict.fromkeys([experiment.decide_by, *wanted])]
    found = [c for c in columns if _column(rows, users, draws, c, rules)]
    decide = experiment.decide_by if experiment.decide_by in found else (found or [""])[0]
    order = sorted(rows.values(), key=lambda row: -row["columns"].get(decide, {}).get("mean", -1.0))
    chance = {c: _chance(next(iter(metrics.values())), c) for c in found} if metrics else {}
    shown = [c for c in wanted if c in found]
    return {"columns": shown, "decide_by": decide, "chance": chance, "rows": order, "seeds": len(draws)}


def default_columns(protocol: str) -> list[str]:
    """What a table shows where the file does not say."""
    if protocol == "cold-item":
        return ["recall@20", "ndcg@20", "warm:recall@20", "cold:recall@20", "cold_pool:recall@20"]
    if protocol == "cold-user":
        return ["recall@20", "ndcg@20", "warm_users:recall@20", "cold_users:recall@20"]
    return ["recall@10", "recall@20", "ndcg@10", "ndcg@20"]


def _per_user(folder: Path) -> pd.DataFrame:
    try:
        return pd.read_parquet(folder / USERS_FILE)
    except (OSError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"{folder / USERS_FILE} is not readable ({reason}); delete the folder") from None


def _column(rows: dict, users: dict, draws: list[tuple[int, int]], column: str, rules: Rules) -> bool:
    """Put a column's means, intervals and verdicts into the rows; False where no model has it."""
    group, _, metric = column.rpartition(":")
    series: dict[str, list[pd.Series | None]] = {}
    for label, frames in users.items():
        series[label] = [_values(frames.get(draw), group or "overall", metric) for draw in draws]
    series = {label: s for label, s in series.items() if any(v is not None for v in s)}
    if not series:
        return False
    size = 1 + max(int(v.index.max()) for s in series.values() for v in s if v is not None)
    table = {}
    for label, s in series.items():
        table[label] = np.full((len(draws), size), np.nan)
        for row, values in zip(table[label], s, strict=True):
            if values is not None:
                row[values.index] = values.to_numpy()
    for label, values in table.items():
        seen = ~np.isnan(values).all(axis=1)
        per_seed = np.nanmean(values[seen], axis=1)
        rows[label]["columns"][column] = {"mean": float(per_seed.mean()), "per_seed": per_seed.tolist()}
    _judge(rows, table, column, rules)
    return True


def _values(frame: pd.DataFrame | None, group: str, metric: str) -> pd.Series | None:
    if frame is None or metric not in frame:
        return None
    part = frame[frame["group"] == group]
    return part.set_index("user")[metric] if len(part) else None


def _judge(rows: dict, table: dict[str, np.ndarray], column: str, rules: Rules) -> None:
    """Add intervals and, from two models on, verdicts against the best; too few users leave both out."""
    try:
        for label, estimate in estimates(table, np.random.default_rng(SEED), rules).items():
            rows[label]["columns"][column] |= {"interval": estimate.interval, "users": estimate.n_users}
        if len(table) < 2:
            return
        verdicts = compare(table, np.random.default_rng(SEED), rules)
    except UserError as error:
        for label in table:
            rows[label]["columns"][column]["note"] = str(error)
        return
    best = best_of(verdicts)
    reference = verdicts[0].reference
    for label in table:
        rows[label]["columns"][column]["may_be_best"] = label in best
    alone = "best" if best == (reference,) else "highest, not shown best"
    rows[reference]["columns"][column]["verdict"] = alone
    for verdict in verdicts:
        cell = rows[verdict.model]["columns"][column]
        cell["verdict"], cell["against"] = verdict.label, _plain(asdict(verdict))


def _plain(value: Any) -> Any:
    """JSON has no infinity: those become text."""
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    return str(value) if isinstance(value, float) and not np.isfinite(value) else value


def _chance(results: Sequence[Mapping[str, Any]], column: str) -> float | None:
    group, _, metric = column.rpartition(":")
    name = f"test_{group}" if group and group != "overall" else "test"
    values = [r["chance"][name][metric] for r in results if metric in r.get("chance", {}).get(name, {})]
    return float(np.mean(values)) if values else None


def _paper(experiment: Experiment, tables: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Reported figures beside ours, those that were run."""
    found = []
    for said in experiment.paper.reported if experiment.paper else ():
        for table in tables:
            if table["dataset"] != said.dataset or said.split not in ("", table["split"]):
                continue
            for row in table["rows"]:
                for column, reported in said.metrics.items() if row["model"] == said.model else ():
                    ours = row["columns"].get(column, {}).get("mean")
                    where = {"model": said.model, "dataset": said.dataset, "split": table["split"]}
                    found.append(
                        where | {"column": column, "reported": reported, "ours": ours, "reason": said.reason}
                    )
    return found


Grid = tuple[str, list[str], list[list[str]], str]
"""A table as text: title, header, rows, caption."""


def grids(results: Mapping[str, Any]) -> list[Grid]:
    """The tables as text. Models that may be best stand between `**`."""
    found: list[Grid] = []
    for table in results["tables"]:
        found += [_means(table), _verdicts(table)] if table["rows"] else []
    return [*found, _beside_paper(results["paper"])] if results["paper"] else found


def _means(table: Mapping[str, Any]) -> Grid:
    columns = table["columns"]
    cold = any(column.startswith("cold") for column in columns)
    rows = []
    for row in table["rows"]:
        texts = [row["model"] + (" *" if cold and not row["ranks_cold_items"] else "")]
        for column in columns:
            cell = row["columns"].get(column, {})
            text = number(cell.get("mean"))
            texts.append(f"**{text}**" if cell.get("may_be_best") else text)
        rows.append([*texts, f"{row['seconds']:.1f}"])
    rows.append(["chance", *(number(table["chance"].get(c)) for c in columns), ""])
    caption = "means over seeds; bold: not shown to be worse than any other"
    if cold and not all(row["ranks_cold_items"] for row in table["rows"]):
        caption += "; * cannot rank cold items: they score lowest, tied"
    return f"{table['dataset']}, {table['split']}", ["model", *columns, "seconds"], rows, caption


def _verdicts(table: Mapping[str, Any]) -> Grid:
    decide, rows = table["decide_by"], []
    for row in table["rows"]:
        cell = row["columns"].get(decide, {})
        against = cell.get("against", {})
        gap = f"{against['difference']:+.4f}" if against else ""
        seeds = [str(row["seeds"])]
        if row["seeds"] < row["seeds_wanted"]:
            seeds += ["of", str(row["seeds_wanted"])]
        texts = [row["model"], number(cell.get("mean")), _between(cell), gap, _between(against)]
        rows.append([*texts, cell.get("verdict", ""), " ".join(seeds)])
    header = ["model", decide, "95% interval", "to the best", "its interval", "verdict", "seeds"]
    caption = "paired over users and seeds, Holm-corrected"
    return f"{table['dataset']}, {table['split']}: verdicts on {decide}", header, rows, caption


def _beside_paper(paper: Sequence[Mapping[str, Any]]) -> Grid:
    header = ["model", "data set", "figure", "reported", "ours", "difference", "reason"]
    rows = []
    for p in paper:
        gap = "" if p["ours"] is None else f"{p['ours'] - p['reported']:+.4f}"
        figures = [number(p["reported"]), number(p["ours"]), gap]
        rows.append([p["model"], f"{p['dataset']}, {p['split']}", p["column"], *figures, p["reason"]])
    return "beside the paper", header, rows, ""


def _between(cell: Mapping[str, Any]) -> str:
    return "[{:.4f}, {:.4f}]".format(*cell["interval"]) if "interval" in cell else ""


def markdown(results: Mapping[str, Any]) -> str:
    """The tables as Markdown."""
    lines = [f"# {results['title'] or 'Results'}", ""]
    for title, header, rows, caption in grids(results):
        lines += [f"## {title}", "", _line(header), _line(["---", *["---:"] * (len(header) - 1)])]
        lines += [_line(row) for row in rows] + [""] + ([caption, ""] if caption else [])
    if results["failed"]:
        lines += ["## failed", "", *(f"- {name}: {error}" for name, error in results["failed"].items()), ""]
    return "\n".join(lines)


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|").replace(" *", " \\*") for cell in cells) + " |"


def _csv(results: Mapping[str, Any]) -> str:
    """Every figure in long form: one line a model and column."""
    lines = [
        {"dataset": table["dataset"], "split": table["split"], "model": row["model"], "column": column}
        | {name: cell[name] for name in ("mean", "users", "verdict") if name in cell}
        | _ends("", cell)
        | {"seeds": row["seeds"], "seconds": row["seconds"]}
        | _ends("difference_", cell.get("against", {}))
        | {name: cell["against"][name] for name in AGAINST if "against" in cell}
        for table in results["tables"]
        for row in table["rows"]
        for column, cell in row["columns"].items()
    ]
    return pd.DataFrame(lines).to_csv(index=False)


def _ends(prefix: str, cell: Mapping[str, Any]) -> dict[str, float]:
    return dict(zip((f"{prefix}low", f"{prefix}high"), cell.get("interval", ()), strict=False))


def tables_for_screen(results: Mapping[str, Any]) -> list[Table]:
    """The tables for a terminal."""
    tables = []
    for title, header, rows, caption in grids(results):
        table = make_table(title, header, caption or None)
        for row in rows:
            cells = [f"[bold]{c.strip('*')}[/]" if c.startswith("**") else c for c in row]
            table.add_row(*cells, style="dim" if row[0] == "chance" else None)
        tables.append(table)
    return tables
