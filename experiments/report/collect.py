"""The runs in a folder: which there are, which of them share a table, and which cannot be used and why."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from recsys.datasets.cards import dataset_label
from recsys.errors import UserError
from recsys.experiments.bench.config import ERROR_FILE, JOB_FILE, Job
from recsys.experiments.bench.results import RESULTS_FILE, Draw, Scored, read_json, read_scored
from recsys.experiments.bench.sweep import config_title
from recsys.inputs.corruption import CONTROLS, ContentCorruption
from recsys.runs.artifacts import CONFIG_FILE, METRICS_FILE, read_environment, read_history, read_metrics
from recsys.runs.config import RunConfig, load_config

NAMED_SETTINGS = 3
"""Settings that a label names at most, where runs of one model differ in more than their seeds."""


@dataclass(frozen=True, eq=False)
class StoredRun:
    """A readable run.

    Attributes:
        name: its folder, relative to the one that is reported on.
        title: what people call it.
        job, environment: what its job's file and environment.json hold; may be empty.
        history: a row for each epoch; None for a closed-form model.
    """

    name: str
    title: str
    config: RunConfig
    scored: Scored
    job: Mapping[str, Any]
    environment: Mapping[str, Any]
    history: pd.DataFrame | None

    @property
    def key(self) -> tuple[str, str, str, str, str, str]:
        """What the runs of one table share: data set, task, split and its options, what is done to content but for
        controls, and how the test is not the usual one."""
        config = self.config
        content = config.content.model_copy(update={"control": ""}).model_dump_json()
        options = json.dumps(config.split_options, sort_keys=True)
        return dataset_label(config.dataset), config.task, config.split, options, content, config.tested


@dataclass(frozen=True, eq=False)
class Group:
    """The runs of one table."""

    dataset: str
    task: str
    split: str
    options: Mapping[str, float]
    content: ContentCorruption
    tested: str
    runs: Sequence[StoredRun]

    @property
    def title(self) -> str:
        """What stands above the table."""
        return config_title(self.dataset, self.split, self.options, self.content, self.tested)

    @property
    def draws(self) -> list[Draw]:
        """The seeds that any of its runs has."""
        return sorted({run.scored.draw for run in self.runs})

    @property
    def noun(self) -> str:
        """Whom the models rank items for."""
        return "bundle" if self.task == "bundle" else "user"


@dataclass
class Collection:
    """What a folder holds.

    Attributes:
        failed: run folder -> why it has no figures.
        replaced: folders of runs that a newer one of the same model and seeds stands in for.
        results: the folder's results.json, empty where there is none.
    """

    folder: Path
    groups: list[Group] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    replaced: list[str] = field(default_factory=list)
    results: Mapping[str, Any] = field(default_factory=dict)


def collect(folder: Path, without: Path | None = None) -> Collection:
    """Read every run below `folder`, but not below `without`. Broken runs are named, not raised.

    Raises:
        UserError: there is no such folder, or no readable run in it.
    """
    if not folder.is_dir():
        raise UserError(f"there is no folder {folder}; give one that holds runs, for example runs/demo")
    collection = Collection(folder, results=read_json(folder / RESULTS_FILE))
    runs, failed = [], {}
    for path in run_folders(folder, without):
        name = path.relative_to(folder).as_posix()
        try:
            runs.append(_read(path, name))
        except Exception as error:  # whatever a damaged file raises: the report names it and goes on
            line = " ".join(str(error).split())
            failed[name] = line if isinstance(error, UserError) else f"{type(error).__name__}: {line}"
    if not runs:
        raise _nothing(folder, failed)
    runs = _labelled(runs)
    kept = _newest(runs, _listed(collection.results))
    collection.replaced = sorted(run.name for run in runs if run not in kept)
    finished = {run.title for run in kept}
    collection.failed = {n: e for n, e in failed.items() if _title(folder / n) not in finished}
    collection.replaced += sorted(failed.keys() - collection.failed.keys())
    groups: dict[tuple, list[StoredRun]] = {}
    for run in kept:
        groups.setdefault(run.key, []).append(run)
    for (dataset, task, split, options, content, tested), group_runs in groups.items():
        corruption = ContentCorruption.model_validate_json(content)
        group = Group(dataset, task, split, json.loads(options), corruption, tested, group_runs)
        collection.groups.append(group)
    order = [t.get("title") for t in collection.results.get("tables", ())]
    collection.groups.sort(key=lambda group: _place(group, order))
    return collection


def run_folders(folder: Path, without: Path | None = None) -> Iterator[Path]:
    """Folders at or below `folder` that a run has left files in, by name; none inside another, none hidden."""
    skipped = os.path.realpath(without) if without else None
    for path, folders, files in os.walk(folder):
        here = Path(path)
        if os.path.realpath(here) == skipped:
            folders.clear()
        elif {CONFIG_FILE, METRICS_FILE, ERROR_FILE} & set(files):
            folders.clear()
            yield here
        folders[:] = sorted(name for name in folders if not name.startswith("."))


def _nothing(folder: Path, failed: Mapping[str, str]) -> UserError:
    if failed:
        name, error = next(iter(failed.items()))
        return UserError(f"{folder} holds no readable run; the first of {len(failed)}: {name}: {error}")
    scan = (
        "; it is a scan's folder: train or bench its best.yaml first"
        if (folder / "best.yaml").exists()
        else ""
    )
    return UserError(
        f"{folder} holds no run; expected folders with {CONFIG_FILE} and {METRICS_FILE}, as `recsys bench` and "
        f"`recsys train` leave them{scan}"
    )


def _read(folder: Path, name: str) -> StoredRun:
    if not (folder / METRICS_FILE).exists():
        error = read_json(folder / ERROR_FILE).get("error")
        raise UserError(str(error) if error else f"not finished: it has no {METRICS_FILE}")
    config, job = load_config(folder), read_json(folder / JOB_FILE)
    if not (read_metrics(folder) or {}).get("test"):
        raise UserError("it was trained for use, with nothing held out for a test")
    control = f", {CONTROLS[config.content.control]}" if config.content.control else ""
    reranked = f", {config.reranked}" if config.rerank else ""
    label = job["label"] if isinstance(job.get("label"), str) else config.model + control + reranked
    scored = read_scored(folder, label, (config.split_seed, config.seed))
    environment = read_environment(folder)
    title = _name(label, config)
    return StoredRun(name, title, config, scored, job, environment, read_history(folder))


def _name(label: str, config: RunConfig) -> str:
    return Job(label, config, "", "", Path()).name


def _title(folder: Path) -> str:
    """What people call the run that failed in a folder; empty where that is not known."""
    title = read_json(folder / ERROR_FILE).get("cell")
    label = read_json(folder / JOB_FILE).get("label")
    try:
        return title if isinstance(title, str) else _name(label, load_config(folder)) if label else ""
    except UserError:
        return ""


def _labelled(runs: Sequence[StoredRun]) -> list[StoredRun]:
    """The runs, those of one model that differ in their settings labelled with what they differ in."""
    kinds: dict[tuple, dict[str, Mapping[str, Any]]] = {}
    for run in runs:
        if "label" not in run.job:
            settings = run.config.settings
            kinds.setdefault((*run.key, run.scored.label), {})[_frozen(settings)] = settings
    labelled = []
    for run in runs:
        variants = kinds.get((*run.key, run.scored.label), {})
        if "label" in run.job or len(variants) < 2:
            labelled.append(run)
            continue
        difference = _difference(run.config.settings, list(variants.values()))
        labelled.append(_renamed(run, f"{run.scored.label} ({difference})"))
    return labelled


def _renamed(run: StoredRun, label: str) -> StoredRun:
    values = {**vars(run), "scored": Scored(**{**vars(run.scored), "label": label})}
    return StoredRun(**values | {"title": _name(label, run.config)})


def _frozen(settings: Mapping[str, Any]) -> str:
    return json.dumps(settings, sort_keys=True, default=str)


def _difference(settings: Mapping[str, Any], variants: Sequence[Mapping[str, Any]]) -> str:
    """The settings that variants of a model differ in, as this one has them."""
    names = {name for variant in variants for name in variant}
    differing = sorted(n for n in names if len({_frozen({"": v.get(n)}) for v in variants}) > 1)
    parts = [f"{name} {_frozen(settings[name])}" for name in differing if name in settings]
    number = "" if len(parts) <= NAMED_SETTINGS else f", … {1 + variants.index(settings)}"
    return ", ".join(parts[:NAMED_SETTINGS]).replace('"', "") + number


def _listed(results: Mapping[str, Any]) -> set[str]:
    """Folder names of the runs that results.json was made of."""
    rows = [row for table in results.get("tables", ()) for row in table.get("rows", ())]
    return {name for row in rows for name in row.get("runs", ())}


def _newest(runs: Sequence[StoredRun], listed: set[str]) -> list[StoredRun]:
    """One run for each model and pair of seeds: the one that results.json lists, else the newest."""
    best: dict[tuple, tuple[tuple, StoredRun]] = {}
    for run in runs:
        folder = run.scored.folder
        rank = folder.name in listed, (folder / METRICS_FILE).stat().st_mtime_ns, run.name
        key = *run.key, run.scored.label, run.scored.draw
        if key not in best or rank > best[key][0]:
            best[key] = rank, run
    return [run for _, run in best.values()]


def _place(group: Group, order: Sequence[str | None]) -> tuple:
    place = order.index(group.title) if group.title in order else len(order)
    return place, group.dataset, group.split.startswith("cold"), group.split
