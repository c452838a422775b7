"""An experiment's YAML file, and the jobs that it stands for: models x data sets x splits x seeds.

A job is one RunConfig. The file's `run` holds the fields that all jobs share, each entry of `models` those in which a
row differs; `datasets`, `splits` and `seeds` are the axes. Everything in the file is checked before the first job runs.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from recsys.datasets.cards import load_dataset
from recsys.datasets.dataset import ALL_INTERACTIONS, Dataset
from recsys.datasets.splits import SplitOption, default_protocol, make_split
from recsys.errors import UserError, nearest
from recsys.evaluation.metrics import parse_metric
from recsys.experiments.bench.sweep import Missing, check_missing, check_steps, config_title
from recsys.files import read_yaml
from recsys.inputs.corruption import ContentCorruption
from recsys.models import MODELS
from recsys.runs.artifacts import GROUPS
from recsys.runs.config import RunConfig, resolve, resolve_settings
from recsys.runs.controls import CONTENT_ONLY, control_contents
from recsys.runs.tasks import TASKS
from recsys.runs.versions import code_version, data_checksum
from recsys.settings import Settings, build, setting

SHIPPED = Path(__file__).parents[1]
AXES = ("dataset", "split", "split_options", "split_seed", "seed")
"""Fields of a RunConfig that an experiment varies; no row has its own."""


class Splitting(Settings):
    """One way to split, and its seeds."""

    protocol: str = setting("", "split protocol; empty: predefined where the data set has one, else random")
    options: dict[str, SplitOption] = setting({}, "options of the protocol")
    sweep: dict[str, list[float]] = setting({}, "option -> the values that it takes one after another")
    seeds: list[int] = setting([0], "seeds of the split")


class Reported(Settings):
    """Figures that a paper prints for one model on one data set."""

    model: str = setting(meaning="label of the model in this file")
    system: str = setting("", "whose figures they are, where `model` only stands beside them")
    dataset: str = setting(meaning="name of the data set")
    split: str = setting("", "protocol; empty: whichever was run")
    metrics: dict[str, float] = setting(meaning="column -> figure")
    reason: str = setting("", "why ours differs")


class Paper(Settings):
    """Where the figures beside ours come from."""

    citation: str = setting(meaning="authors, title, venue, year, and a link")
    reported: list[Reported] = setting([], "its figures")


class Smoke(Settings):
    """What a tiny size of the experiment replaces."""

    datasets: list[str] | None = setting(None, "replaces the experiment's")
    splits: list[Splitting] | None = setting(None, "replaces the experiment's")
    seeds: list[int] | None = setting(None, "replaces the experiment's")
    missing: Missing | None = setting(None, "replaces the experiment's")
    settings: dict[str, Any] = setting({}, "for each model that has a setting of this name")


class Experiment(Settings):
    """The file: what to compare on what, and how."""

    title: str = setting("", "title of the tables")
    run: dict[str, Any] = setting({}, "fields of RunConfig that all jobs share, such as task and content")
    models: dict[str, dict[str, Any]] = setting(
        meaning="row of the table -> the fields of RunConfig in which it differs (model, settings, tuned, ...), and "
        "`search`, setting -> values to choose from on validation; or a list of model names"
    )
    search: dict[str, dict[str, list[Any]]] = setting(
        {}, "row -> setting -> values to choose from, by the first seeds' validation"
    )
    datasets: list[str] = setting(meaning="names of data sets, or paths of their cards")
    splits: list[Splitting] = setting([Splitting()], "protocols, or mappings with options and seeds")
    seeds: list[int] = setting([0, 1, 2], "seeds of the models and their training")
    missing: Missing | None = setting(None, "a sweep over missing modalities")
    controls: bool = setting(
        False, "also run each model that reads content with permuted, random and no content"
    )
    content_of_all_interactions: bool = setting(
        False, "also compare on content that was made from all interactions, the test's among them"
    )
    columns: list[str] = setting([], "columns of the table: metric@k, or group:metric@k; empty: by protocol")
    decide_by: str = setting("ndcg@20", "the column that ranks the table and that verdicts are about")
    reference: str = setting("", "the row that all others are compared with; empty: whichever is best")
    margin: float = setting(0.01, "differences below this share of the mean count as none", low=0, high=1)
    paper: Paper | None = setting(None, "published figures to show beside ours")
    smoke: Smoke | None = setting(None, "the small version that --smoke runs")

    @property
    def task(self) -> str:
        """The task of all its jobs."""
        return str(self.run.get("task", "recommend"))

    def config(self, label: str) -> RunConfig:
        """The run that a row stands for, on no data set yet."""
        values = self.run | {"model": label} | self.models[label]
        return build(RunConfig, values | {"dataset": ""}, f"models.{label}")

    def metrics(self) -> list[str]:
        """The metrics that its columns show."""
        return [column.rpartition(":")[2] for column in (*self.columns, self.decide_by)]


ERROR_FILE, ERROR_LOG, JOB_FILE = "error.json", "error.log", "job.json"
"""What stands in a job's folder beside its run: why it failed, in a line and in full, and what it is."""


@dataclass(frozen=True, eq=False)
class Job:
    """One training and its test.

    Attributes:
        label: the row of the table it belongs to.
        config: resolved.
        data, code: checksums of what it rests on.
        out: the experiment's folder.
    """

    label: str
    config: RunConfig
    data: str
    code: str
    out: Path

    @cached_property
    def key(self) -> str:
        """Hash of settings and data; together with `code` it decides the figures."""
        values = self.config.identity() | {"data": self.data}
        return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()

    @property
    def name(self) -> str:
        """What people call it."""
        config = self.config
        split = f"{config.split}-{config.split_seed}" if config.split_seed else config.split
        title = config_title(config.dataset, split, config.split_options, config.content, config.tested)
        return f"{self.label} on {title}, seed {config.seed}"

    @property
    def folder(self) -> Path:
        """The run's folder."""
        return self.out / "jobs" / f"{self._stem}-{self.code[:6]}"

    @property
    def _stem(self) -> str:
        return f"{_plain(self.name)}-{self.key[:10]}"

    def made_by_other_code(self) -> list[Path]:
        """Finished folders of this job that another version of the code made, newest first."""
        records = self.folder.parent.glob(f"{self._stem}-*/metrics.json")
        return [p.parent for p in sorted(records, key=lambda p: -p.stat().st_mtime)]


def _plain(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9.]+", "-", text).strip("-").lower()


def find_file(name: str) -> Path:
    """The path `name`, or the shipped experiment of that name.

    Raises:
        UserError: neither is there.
    """
    path = Path(name)
    if path.is_file():
        return path
    shipped = {p.stem: p for p in (SHIPPED / "configs").glob("*/*.yaml")}
    if name in shipped:
        return shipped[name]
    raise UserError(f"there is no experiment file {name}{nearest(name, shipped)}")


def read_experiment(path: Path, smoke: bool = False, controls: bool = False) -> Experiment:
    """The experiment in a file; with `smoke` its tiny size, with `controls` what the file may ask for itself.

    Raises:
        UserError: not YAML, an unknown key (the nearest is offered), or a value that cannot be.
    """
    values, where = read_yaml(path), path.name
    if "search" in values:
        raise UserError(f"{where}: `search` belongs to a row of `models`")
    values["models"], values["search"] = _rows(values.get("models"), path)
    if "splits" in values:
        values["splits"] = _splittings(values["splits"], where)
    if isinstance(values.get("paper"), dict):
        paper = dict(values["paper"])
        paper["reported"] = [_part(Reported, r, f"paper of {where}") for r in paper.get("reported") or []]
        values["paper"] = _part(Paper, paper, f"paper of {where}")
    if values.get("smoke") is not None:
        small = dict(values["smoke"]) if isinstance(values["smoke"], dict) else values["smoke"]
        if isinstance(small, dict) and small.get("splits"):
            small["splits"] = _splittings(small["splits"], where)
        if isinstance(small, dict) and small.get("missing") is not None:
            small["missing"] = _part(Missing, small["missing"], f"missing of {where}")
        values["smoke"] = _part(Smoke, small, f"smoke of {where}")
    if values.get("missing") is not None:
        values["missing"] = _part(Missing, values["missing"], f"missing of {where}")
    values["run"] = _shared(values.get("run"), where)
    experiment = build(Experiment, values, where)
    check_experiment(experiment, where)
    if controls or experiment.controls:
        experiment = _with_controls(experiment)
    if not smoke:
        return experiment
    if experiment.smoke is None:
        raise UserError(f"{where} has no smoke section; add one, or leave out --smoke")
    return _shrunk(experiment, experiment.smoke, where)


def _with_controls(experiment: Experiment) -> Experiment:
    """The experiment with a model that has nothing but content beside its own."""
    models = experiment.models
    if all(row.get("model", label) != CONTENT_ONLY for label, row in models.items()):
        tuned = any(row.get("tuned") is True for row in models.values())
        models = models | {CONTENT_ONLY: {"tuned": tuned}}
    return experiment.model_copy(update={"models": models, "controls": True})


def _part(group: type[Settings], value: Any, where: str) -> Any:
    if not isinstance(value, Mapping):
        raise UserError(f"{where}: expected `name: value` lines, got {value!r}")
    return build(group, {str(key): v for key, v in value.items()}, where)


def _rows(value: Any, path: Path) -> tuple[dict[str, dict[str, Any]], dict[str, Any]]:
    """Row -> fields of RunConfig, and row -> what it searches; the path of a scan's best.yaml counts from the file's
    folder."""
    where = path.name
    if isinstance(value, list) and all(isinstance(name, str) for name in value):
        value = dict.fromkeys(value)
    if not isinstance(value, dict) or not value:
        raise UserError(
            f"models of {where}: expected a list of names, or row: {{model, settings, tuned, ...}}"
        )
    rows, searches = {}, {}
    for label, row in value.items():
        if isinstance(row, dict) and "search" in row:
            searches[str(label)] = _searched(row["search"], f"search of '{label}' in {where}")
            row = {key: part for key, part in row.items() if key != "search"}
        rows[str(label)] = _fields_of_run(row, f"models.{label} of {where}")
    for row in rows.values():
        if isinstance(row.get("tuned"), str):
            row["tuned"] = str(path.parent / row["tuned"])
    return rows, searches


def _searched(value: Any, where: str) -> dict[str, list[Any]]:
    if not isinstance(value, dict) or not value or not all(isinstance(v, list) and v for v in value.values()):
        raise UserError(f"{where}: expected `setting: [value, ...]` lines, got {value!r}")
    return {str(key): values for key, values in value.items()}


def _shared(value: Any, where: str) -> dict[str, Any]:
    fields = _fields_of_run(value, f"run of {where}")
    if "model" in fields:
        raise UserError(f"run of {where}: `model` belongs under `models`, one row each")
    return fields


def _fields_of_run(value: Any, where: str) -> dict[str, Any]:
    """Some fields of a RunConfig; UserError for one that it does not have, or that is an axis of the file."""
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise UserError(f"{where}: expected `name: value` lines, got {value!r}")
    for key in value:
        if key in AXES:
            raise UserError(f"{where}: `{key}` is an axis; list its values under datasets, splits or seeds")
        if key not in RunConfig.model_fields:
            raise UserError(f"{where} has no field '{key}'{nearest(str(key), RunConfig.model_fields)}")
    return dict(value)


def _splittings(value: Any, where: str) -> list[Splitting]:
    if not isinstance(value, list) or not value:
        raise UserError(
            f"splits of {where}: expected a list of protocols, or of {{protocol, options, seeds}}"
        )
    parts = [
        _part(Splitting, {"protocol": v} if isinstance(v, str) else v, f"splits of {where}") for v in value
    ]
    return [one for part in parts for one in _swept(part)]


def _swept(part: Splitting) -> list[Splitting]:
    """The splits that one with a sweep stands for."""
    parts = []
    for values in itertools.product(*part.sweep.values()):
        options = part.options | dict(zip(part.sweep, values, strict=True))
        parts.append(part.model_copy(update={"options": options, "sweep": {}}))
    return parts


def check_experiment(experiment: Experiment, where: str, beside: Iterable[str] = ()) -> None:
    """UserError for what a single value's type cannot tell.

    Args:
        where: the file, or whatever the experiment comes from, for messages.
        beside: further rows of its tables, which are not run.
    """
    lists: dict[str, Sequence[object]] = {"datasets": experiment.datasets, "seeds": experiment.seeds}
    lists |= {f"seeds of split '{split.protocol}'": split.seeds for split in experiment.splits}
    for key, values in lists.items():
        if not values or len(set(values)) < len(values):
            raise UserError(f"{key} of {where}: expected at least one, each once, got {values}")
    lowest = min([*experiment.seeds, *(seed for split in experiment.splits for seed in split.seeds)])
    if lowest < 0:
        raise UserError(f"seeds of {where}: expected 0 or more, got {lowest}")
    for missing in (experiment.missing, experiment.smoke.missing if experiment.smoke else None):
        if missing:
            check_missing(missing, where)
    for column in {*experiment.columns, experiment.decide_by}:
        group, _, metric = column.rpartition(":")
        if group and group not in GROUPS:
            raise UserError(f"column '{column}' of {where}: no group '{group}'{nearest(group, GROUPS)}")
        try:
            parsed = parse_metric(metric)
        except UserError as error:
            raise UserError(f"column '{column}' of {where}: {error}") from None
        if parsed.of_all_lists and (group or column == experiment.decide_by):
            raise UserError(
                f"column '{column}' of {where}: {parsed.name} is of all lists together, not of each user: it has no "
                "groups and decides nothing"
            )
    for label in experiment.models:
        experiment.config(label)
    named = [("reference", experiment.reference)] if experiment.reference else []
    named += [("paper", reported.model) for reported in experiment.paper.reported] if experiment.paper else []
    rows = [*experiment.models, *beside]
    for key, name in named:
        if name not in rows:
            raise UserError(f"{key} of {where}: no model '{name}'{nearest(name, rows)}")


def _shrunk(experiment: Experiment, smoke: Smoke, where: str) -> Experiment:
    used: set[str] = set()
    models: dict[str, Any] = {}
    for label, row in experiment.models.items():
        known = _fields(row.get("model", label))
        here = {key: value for key, value in smoke.settings.items() if key in known}
        used |= here.keys()
        # Tuned settings are for the experiment's own data.
        models[label] = row | {"settings": row.get("settings", {}) | here, "tuned": False}
    if unused := sorted(smoke.settings.keys() - used):
        raise UserError(f"smoke of {where}: no model of the file has a setting '{unused[0]}'")
    changes = {key: getattr(smoke, key) for key in ("datasets", "splits", "seeds", "missing")}
    changes = {key: value for key, value in changes.items() if value is not None}
    first = {
        label: {key: values[:1] for key, values in search.items()}
        for label, search in experiment.search.items()
    }
    return experiment.model_copy(update=changes | {"models": models, "search": first, "paper": None})


def _fields(name: str) -> set[str]:
    """The settings that a model and its training have."""
    model_class = MODELS.get(name)
    groups = resolve_settings(model_class, {})
    return {field for group in groups if group is not None for field in type(group).model_fields}


def load_datasets(names: Iterable[str], data_root: str | None) -> dict[str, Dataset]:
    """The data sets by name, each read once."""
    return {name: load_dataset(name, data_root) for name in names}


def make_jobs(
    experiment: Experiment,
    datasets: Mapping[str, Dataset],
    out: Path,
    *,
    data_root: str | None = None,
    device: str | None = None,
) -> list[Job]:
    """Every job of the experiment, resolved and checked: models, settings, splits.

    Args:
        data_root, device: override those of the file.

    Raises:
        UserError, DataError: an unknown model or setting, a value out of range, an impossible split.
    """
    places = {"data_root": data_root, "device": device}
    places = {name: value for name, value in places.items() if value is not None}
    rows = {label: experiment.config(label).model_copy(update=places) for label in experiment.models}
    jobs = []
    for name, splitting in itertools.product(experiment.datasets, experiment.splits):
        dataset, data = datasets[name], data_checksum(datasets[name])
        view = TASKS[experiment.task].view(dataset)
        if not experiment.content_of_all_interactions:
            check_content(dataset)
        protocol = splitting.protocol or default_protocol(view)
        steps = experiment.missing.steps() if experiment.missing else None
        for split_seed in splitting.seeds:
            split = make_split(view, protocol, split_seed, **splitting.options)
            if not len(split.test):
                raise UserError(
                    f"split '{protocol}' holds nothing out for the test, so that nothing can be compared"
                )
            check_steps(steps or [ContentCorruption()], experiment.controls, view, split)
        for label, row in rows.items():
            axes = {"dataset": name, "split": protocol, "split_options": splitting.options}
            axes["metrics"] = [*row.metrics, *_besides(experiment)]
            config = _resolved(build(RunConfig, row.model_dump() | axes, f"model '{label}'"), dataset, label)
            model_class = MODELS.get(config.model)
            code = code_version("recsys.runs.run", *model_class.source_modules(config.settings))
            contents = [(label, step) for step in steps or [config.content]]
            if experiment.controls:
                controls = control_contents(model_class)
                contents += [(f"{label}, {control}", content) for control, content in controls.items()]
            for (title, content), split_seed, seed in itertools.product(
                contents, splitting.seeds, experiment.seeds
            ):
                drawn = {"content": content, "split_seed": split_seed, "seed": seed}
                job = Job(title, config.model_copy(update=drawn), data, code, Path(os.path.realpath(out)))
                jobs.append(job)
    return jobs


def check_content(dataset: Dataset) -> None:
    """UserError where content was made with the test's answers in sight."""
    for name, made in dataset.provenance.items():
        if made.made_from == ALL_INTERACTIONS:
            raise UserError(
                f"'{name}' of {dataset.name} was made from all interactions, the test's among them: figures mean "
                "nothing; leave it out, or compare all the same with content_of_all_interactions: true"
            )


def _besides(experiment: Experiment) -> list[str]:
    """Metrics of the columns that the task does not report by itself."""
    return [metric for metric in experiment.metrics() if metric not in TASKS[experiment.task].metrics]


def _resolved(config: RunConfig, dataset: Dataset, label: str) -> RunConfig:
    try:
        return resolve(config, dataset).config
    except UserError as error:
        raise UserError(f"model '{label}': {error}") from None
