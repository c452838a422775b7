"""What an experiment found: means over seeds with intervals, verdicts, and ours beside what papers report."""

from __future__ import annotations

import functools
import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from pyarrow.parquet import read_table

from recsys.datasets.cards import dataset_label
from recsys.errors import UserError
from recsys.experiments.bench.config import Experiment, Job
from recsys.experiments.bench.search import Choice
from recsys.experiments.bench.sweep import config_title
from recsys.experiments.bench.tables import csv_text, markdown
from recsys.experiments.stats import statistics, verdicts
from recsys.experiments.stats.verdicts import ONE_SEED, Rules, best_of, compare, estimates
from recsys.files import check_regular, parse_json, write_text
from recsys.runs.artifacts import ENVIRONMENT_FILE, METRICS_FILE, USERS_FILE, read_metrics, test_key
from recsys.runs.tables import SHARE_SHOWN
from recsys.runs.tasks import TASKS

RESULTS_FILE, MARKDOWN_FILE, CSV_FILE = "results.json", "table.md", "table.csv"
Draw = tuple[int, int]
"""Seed of the split, seed of the training."""
ROUNDING = 1e-6
SEED = 20260101
"""Of the bootstrap, so that the same jobs give the same table."""


@dataclass(frozen=True, eq=False)
class Scored:
    """A finished run's figures.

    Attributes:
        label: the row of the table it belongs to.
        metrics: what metrics.json holds.
        users: what per_user.parquet holds: columns `user` (raw id), `number`, `group` and one for each metric.
        checksum: of both files.
    """

    label: str
    draw: Draw
    folder: Path
    metrics: dict[str, Any]
    users: pd.DataFrame
    checksum: str

    @functools.cached_property
    def _rows(self) -> dict[str, np.ndarray]:
        """Each group's rows of `users`."""
        groups = pd.Categorical(self.users["group"])
        return {
            str(name): np.flatnonzero(groups.codes == code) for code, name in enumerate(groups.categories)
        }

    def values(self, group: str, metric: str) -> tuple[np.ndarray, np.ndarray] | None:
        """The group's users and their values; None where the run has none."""
        rows = self._rows.get(group, ())
        if not len(rows) or metric not in self.users:
            return None
        return self.users["number"].to_numpy()[rows], self.users[metric].to_numpy()[rows]


def read_scored(folder: Path, label: str, draw: Draw) -> Scored:
    """A finished run's figures; UserError where a file is broken, with its name."""
    metrics, users = read_metrics(folder), folder / USERS_FILE
    if metrics is None:
        raise UserError(f"{folder} has no {METRICS_FILE}: the run has not finished; run it again")
    check_regular(users)
    try:
        # Straight from pyarrow: pandas.read_parquet takes three times as long, and reports read hundreds.
        frame = read_table(users, use_threads=False).to_pandas()
        if not {"number", "group"} <= set(frame):
            raise ValueError("no columns number and group")
        _check_figures(frame, metrics)
        digest = hashlib.sha256((folder / METRICS_FILE).read_bytes() + users.read_bytes())
    except (
        Exception
    ) as error:  # a damaged file raises ArrowException, ValueError, OSError, TypeError, KeyError ...
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise UserError(f"{users} is not readable ({reason}); delete the folder and run again") from None
    return Scored(label, draw, folder, metrics, frame, digest.hexdigest())


def _check_figures(users: pd.DataFrame, metrics: Mapping[str, Any]) -> None:
    """ValueError where the users' values are not those whose means metrics.json holds: a file has changed since."""
    numbers = users["number"]
    if numbers.dtype.kind not in "iu" or users.duplicated(["group", "number"]).any():
        raise ValueError("its numbers are no users'")
    groups = users["group"].astype(str).map(test_key)
    if (counts := groups.value_counts().to_dict()) != metrics["users"]:
        raise ValueError(f"{METRICS_FILE} counts other users than its {counts.get('test', 0):,}")
    means = users.groupby(groups)[[c for c in users if "@" in str(c)]].mean()
    for group, row in means.iterrows():
        stated = metrics.get(str(group)) or {}
        for name, mean in row.items():
            if not abs(mean - stated.get(name, math.nan)) <= ROUNDING:
                raise ValueError(f"the mean of {name:.40} is not that of {METRICS_FILE}")


def summarise(
    experiment: Experiment,
    jobs: Sequence[Job],
    folders: Mapping[Job, Path],
    failed: Mapping[str, str],
    out: Path,
    command: str = "",
    beside: Sequence[Scored] = (),
    choices: Sequence[Choice] = (),
) -> dict[str, Any]:
    """The experiment's results, also written to results.json, table.md and table.csv below `out`.

    Args:
        folders: each finished job's folder; jobs without one did not finish.
        failed: the error of each job that failed, by the job's name.
        command: what makes these results again.
        beside: figures of what was not run here, for further rows of each table.
        choices: settings that rows chose on validation.

    Returns:
        What results.json holds. Where it holds the same jobs already, nothing is computed or written.
    """
    rules = Rules(margin=experiment.margin, reference=experiment.reference or None)
    stamp = [[str(folders.get(job)), job.label] for job in jobs]
    presentation = experiment.model_dump(
        include={"title", "columns", "decide_by", "margin", "reference", "paper"}
    )
    chosen = [choice.record() for choice in choices]
    key = hashlib.sha256(
        json.dumps(
            [stamp, [row.checksum for row in beside], dict(failed), presentation, chosen], sort_keys=True
        ).encode()
    ).hexdigest()
    written = read_json(out / RESULTS_FILE)
    if written.get("key") == key and (out / MARKDOWN_FILE).exists() and (out / CSV_FILE).exists():
        return written
    broken: dict[str, str] = {}
    tables = _tables(experiment, jobs, folders, rules, broken, beside)
    results = {
        "key": key,
        "title": experiment.title,
        "command": command,
        "decide_by": experiment.decide_by,
        "rules": asdict(rules),
        "tables": tables,
        "failed": dict(failed) | broken,
        "paper": _paper(experiment, tables),
    } | ({"chosen": chosen} if chosen else {})
    write_text(out / MARKDOWN_FILE, markdown(results))
    write_text(out / CSV_FILE, csv_text(results))
    write_text(out / RESULTS_FILE, json.dumps(results, indent=2) + "\n")
    return results


def _tables(
    experiment: Experiment,
    jobs: Sequence[Job],
    folders: Mapping[Job, Path],
    rules: Rules,
    broken: dict[str, str],
    beside: Sequence[Scored] = (),
) -> list[dict[str, Any]]:
    """A table for each data set, split and content; jobs whose folder cannot be read go into `broken`."""
    groups: dict[str, list[Job]] = {}
    for job in jobs:
        config = job.config
        title = config_title(
            config.dataset, config.split, config.split_options, config.content, config.tested
        )
        groups.setdefault(title, []).append(job)
    tables = []
    for title, group in groups.items():
        dataset, split = group[0].config.dataset, group[0].config.split
        scored = [*_read_jobs(group, folders, broken), *beside]
        draws = sorted({(job.config.split_seed, job.config.seed) for job in group})
        wanted = experiment.columns or default_columns(split, scored)
        table = table_of(scored, draws, wanted, experiment.decide_by, rules)
        for row in table["rows"]:
            row["runs"] = [one.folder.name for one in scored if one.label == row["model"]]
        named = {"title": title, "dataset": dataset_label(dataset), "split": split}
        environments = [read_json(one.folder / ENVIRONMENT_FILE) for one in scored if one.folder.name]
        of_content = {"content": doubtful_content(environments), "unequal": unequal_content(environments)}
        tables.append(table | named | of_content)
    return tables


def doubtful_content(environments: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Modality -> what it was made from, of those that the runs' records do not call content or training alone."""
    made_from = {}
    for environment in environments:
        content = environment.get("content")
        for name, made in content.items() if isinstance(content, dict) else ():
            if made.get("made_from") in ("all interactions", "unknown"):
                made_from[name] = made["made_from"]
    return made_from


def unequal_content(environments: Sequence[Mapping[str, Any]]) -> dict[str, list[str]]:
    """Modality -> the ways in which the runs' features of it were made, of those that are not the same in all runs: by
    another encoder or revision, of other content, or not there. Runs that recorded none of this are left aside."""
    recorded = [e["content"] for e in environments if isinstance(e.get("content"), dict)]
    ways: dict[str, set[tuple[str, str]]] = {}
    for name in dict.fromkeys(name for content in recorded for name in content):
        for content in recorded:
            made = content.get(name, {"made_by": "none"})
            ways.setdefault(name, set()).add(
                (str(made.get("made_by", "")), str(made.get("content_sha256", "")))
            )
    unequal = {name: sorted(makers) for name, makers in ways.items() if len(makers) > 1}
    return {
        name: [by + (f" of content {sha[:8]}" if sha else "") for by, sha in makers]
        for name, makers in unequal.items()
    }


def read_json(path: Path) -> dict[str, Any]:
    """A JSON mapping; empty where the file is missing or holds none."""
    try:
        values = parse_json(path)
        return values if isinstance(values, dict) else {}
    except (OSError, ValueError):
        return {}


def _read_jobs(jobs: Sequence[Job], folders: Mapping[Job, Path], broken: dict[str, str]) -> list[Scored]:
    scored = []
    for job in jobs:
        if job in folders:
            try:
                draw = job.config.split_seed, job.config.seed
                scored.append(read_scored(folders[job], job.label, draw))
            except UserError as error:
                broken[job.name] = str(error)
    return scored


def table_of(
    scored: Sequence[Scored],
    draws: Sequence[Draw],
    wanted: Sequence[str],
    decide_by: str,
    rules: Rules,
    known: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """One data set under one protocol: a row for each model, highest first.

    Args:
        draws: the seeds that each model should have.
        wanted: columns to show; `decide_by` is computed besides.
        known: stamp -> a table computed before, taken where the stamp says that it is the same.
    """
    columns = [*dict.fromkeys([decide_by, *wanted])]
    of = sorted([one.label, one.checksum] for one in scored)
    stamp = _stamp([columns, decide_by, asdict(rules), list(draws), of])
    if known and stamp in known:
        return known[stamp]
    by_label: dict[str, list[Scored]] = {}
    for one in scored:
        by_label.setdefault(one.label, []).append(one)
    rows: dict[str, dict[str, Any]] = {
        label: {
            "model": label,
            "seeds": len(runs),
            "seeds_wanted": len(draws),
            "ranks_cold_items": bool(runs[0].metrics.get("ranks_cold_items", True)),
            "seconds": float(np.mean([run.metrics["timing"]["total"] for run in runs])),
            "columns": {},
        }
        for label, runs in by_label.items()
    }
    # A reference is declared for what decides; elsewhere nobody said beforehand who should win.
    others = replace(rules, reference=None)
    counted = [c for c in columns if _column(rows, scored, draws, c, rules if c == decide_by else others)]
    decide = decide_by if decide_by in counted else (counted or [""])[0]
    order = sorted(rows.values(), key=lambda row: -row["columns"].get(decide, {}).get("mean", -1.0))
    chance = {c: chance_of(next(iter(by_label.values())), c) for c in counted} if by_label else {}
    shown = [c for c in wanted if c in counted]
    facts = {"columns": shown, "decide_by": decide, "chance": chance, "rows": order, "seeds": len(draws)}
    return facts | {"stamp": stamp}


def _stamp(state: Any) -> str:
    return hashlib.sha256((json.dumps(state) + _code()).encode()).hexdigest()


@functools.cache
def _code() -> str:
    """Checksum of the code that tables come from."""
    files = (__file__, verdicts.__file__, statistics.__file__)
    return hashlib.sha256(b"".join(Path(f).read_bytes() for f in files)).hexdigest()


def default_columns(protocol: str, scored: Sequence[Scored] = ()) -> list[str]:
    """What a table shows where the file does not say: of cold items and users too, where the runs have enough of
    them."""
    groups = {"cold-item": ("warm", "cold", "cold_pool"), "cold-user": ("warm_users", "cold_users")}
    both = ["recall@20", "ndcg@20"]
    overall = both if protocol in groups else ["recall@10", "recall@20", "ndcg@10", "ndcg@20"]
    users = scored[0].metrics["users"] if scored else {}
    least = SHARE_SHOWN * users.get("test", 0)
    held_out = groups.get(protocol, ("cold", "cold_pool") if protocol == "predefined" else ())
    shown = [group for group in held_out if users.get(f"test_{group}", least) >= least]
    return [
        *overall,
        *(f"{group}:{metric}" for group in shown for metric in both),
        *(m for m in asked_for(scored) if m not in overall),
    ]


def asked_for(scored: Sequence[Scored]) -> list[str]:
    """The metrics that runs report beside their task's own."""
    columns: dict[str, None] = {}
    for one in scored:
        usual = TASKS[one.metrics.get("task", "recommend")].metrics
        columns |= dict.fromkeys(m for m in one.metrics.get("test", {}) if m not in usual)
    return list(columns)


def matrices(scored: Sequence[Scored], draws: Sequence[Draw], column: str) -> dict[str, np.ndarray]:
    """Model -> (n_seeds, n_users) float64 values of a column ("metric@k" or "group:metric@k"), NaN where a user
    was not counted; models that do not have it are left out."""
    group, _, metric = column.rpartition(":")
    series: dict[str, dict[Draw, tuple[np.ndarray, np.ndarray]]] = {}
    for one in scored:
        users_and_values = one.values(group or "overall", metric)
        if users_and_values is not None:
            series.setdefault(one.label, {})[one.draw] = users_and_values
    size = 1 + max(
        (int(users.max()) for by_draw in series.values() for users, _ in by_draw.values()), default=-1
    )
    table = {}
    for label, by_draw in series.items():
        table[label] = np.full((len(draws), size), np.nan)
        for row, draw in zip(table[label], draws, strict=True):
            if draw in by_draw:
                users, values = by_draw[draw]
                row[users] = values
    return table


def _column(rows: dict, scored: Sequence[Scored], draws: Sequence[Draw], column: str, rules: Rules) -> bool:
    """Put a column's means and, where users have values, intervals and verdicts into the rows; False where no model
    has it."""
    table = matrices(scored, draws, column)
    for label, values in table.items():
        seen = ~np.isnan(values).all(axis=1)
        per_seed = np.nanmean(values[seen], axis=1)
        rows[label]["columns"][column] = {"mean": float(per_seed.mean()), "per_seed": per_seed.tolist()}
    if table:
        _judge(rows, table, column, rules)
    # What is of all lists together has no value for each user, and no interval.
    whole: dict[str, list[float]] = {}
    for one in scored if not table else ():
        if (value := one.metrics.get("test", {}).get(column)) is not None:
            whole.setdefault(one.label, []).append(value)
    for label, by_seed in whole.items():
        rows[label]["columns"][column] = {"mean": float(np.mean(by_seed)), "per_seed": by_seed}
    return bool(table or whole)


def _judge(rows: dict, table: dict[str, np.ndarray], column: str, rules: Rules) -> None:
    """Add intervals and, from two models on, verdicts against the best; too few users leave both out."""
    try:
        for label, estimate in estimates(table, np.random.default_rng(SEED), rules).items():
            rows[label]["columns"][column] |= {"interval": estimate.interval, "users": estimate.n_users}
        if len(table) < 2:
            return
        declared = rules.reference if rules.reference in table else None
        verdicts = compare(table, np.random.default_rng(SEED), rules, declared)
    except UserError as error:
        for label in table:
            rows[label]["columns"][column]["note"] = str(error)
        return
    best = best_of(verdicts)
    reference = verdicts[0].reference
    unknown = any(verdict.label == ONE_SEED for verdict in verdicts)
    for label in table if not unknown else ():
        rows[label]["columns"][column]["may_be_best"] = label in best
    alone = "reference" if declared else f"highest, {ONE_SEED}" if unknown else "highest, not shown best"
    rows[reference]["columns"][column]["verdict"] = "best" if best == (reference,) else alone
    for verdict in verdicts:
        job = rows[verdict.model]["columns"][column]
        job["verdict"], job["against"] = verdict.label, _plain(asdict(verdict))


def _plain(value: Any) -> Any:
    """JSON has no infinity: those become text."""
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    return str(value) if isinstance(value, float) and not np.isfinite(value) else value


def chance_of(scored: Sequence[Scored], column: str) -> float | None:
    """What a random order scores on a column, mean over the runs; None where none of them tells."""
    group, _, metric = column.rpartition(":")
    name = f"test_{group}" if group and group != "overall" else "test"
    levels = [one.metrics.get("chance", {}).get(name, {}) for one in scored]
    values = [level[metric] for level in levels if metric in level]
    return float(np.mean(values)) if values else None


def _paper(experiment: Experiment, tables: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Reported figures beside ours, those that were run."""
    lines = []
    for said in experiment.paper.reported if experiment.paper else ():
        for table in tables:
            if table["dataset"] != said.dataset or said.split not in ("", table["split"]):
                continue
            for row in table["rows"]:
                for column, reported in said.metrics.items() if row["model"] == said.model else ():
                    ours = row["columns"].get(column, {}).get("mean")
                    label = f"{said.system}, beside {said.model}" if said.system else said.model
                    where = {"model": label, "dataset": said.dataset, "split": table["split"]}
                    lines.append(
                        where | {"column": column, "reported": reported, "ours": ours, "reason": said.reason}
                    )
    return lines
