"""An experiment's YAML file, and the cells that it stands for: models x data sets x splits x seeds.

Everything in the file is checked before the first cell runs.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import yaml

from recsys.datasets.cards import load_dataset
from recsys.datasets.dataset import Dataset
from recsys.datasets.splits import default_protocol, make_split
from recsys.errors import UserError, nearest
from recsys.evaluation.evaluator import BUNDLE_METRICS, DEFAULT_METRICS
from recsys.evaluation.metrics import LIST_METRICS
from recsys.experiments.bench.sweep import (
    Missing,
    check_missing,
    check_steps,
    config_title,
)
from recsys.inputs.corruption import ContentCorruption
from recsys.models import MODELS
from recsys.runs.controls import CONTENT_ONLY, control_contents
from recsys.runs.run import TOLD, RunConfig, resolve_settings, task_view
from recsys.runs.versions import code_version, data_checksum
from recsys.settings import Settings, build, setting

SHIPPED = Path(__file__).parents[1]
GROUPS = ("overall", "warm", "cold", "cold_pool", "head", "tail", "warm_users", "cold_users")


class Variant(Settings):
    """A row of the table: a model, its label, its settings."""

    model: str = setting("", "name of the model; empty: the label is its name")
    settings: dict[str, Any] = setting({}, "settings by name; they go before tuned ones")
    tuned: bool | str = setting(False, "true: the tuned settings shipped; or the path of a scan's best.yaml")


class Splitting(Settings):
    """One way to split, and its seeds."""

    protocol: str = setting("", "split protocol; empty: predefined where the data set has one, else random")
    options: dict[str, float] = setting({}, "options of the protocol")
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

    datasets: list[str] | None = setting(None, "instead of the experiment's")
    splits: list[Splitting] | None = setting(None, "instead of the experiment's")
    seeds: list[int] | None = setting(None, "instead of the experiment's")
    missing: Missing | None = setting(None, "instead of the experiment's")
    settings: dict[str, Any] = setting({}, "for each model that has a setting of this name")


class Experiment(Settings):
    """The file: what to compare on what, and how."""

    title: str = setting("", "one line for people")
    models: dict[str, Variant] = setting(meaning="label -> variant, or a list of names")
    datasets: list[str] = setting(meaning="names of data sets, or paths of their cards")
    task: Literal["recommend", "bundle"] = setting(
        "recommend", "rank items for users, or to complete bundles"
    )
    splits: list[Splitting] = setting([Splitting()], "protocols, or mappings with options and seeds")
    seeds: list[int] = setting([0], "seeds of the models and their training")
    missing: Missing | None = setting(None, "a sweep over missing modalities")
    controls: bool = setting(False, "beside each model that reads content: with content that tells nothing")
    columns: list[str] = setting([], "what the table shows: metric@k, or group:metric@k; empty: by protocol")
    decide_by: str = setting("ndcg@20", "the column that ranks the table and that verdicts are about")
    reference: str = setting("", "the row that all others are compared with; empty: whichever is best")
    margin: float = setting(0.01, "differences below this share of the mean count as none", low=0, high=1)
    paper: Paper | None = setting(None, "figures to stand beside ours")
    smoke: Smoke | None = setting(None, "the tiny size that --smoke runs")


@dataclass(frozen=True, eq=False)
class Cell:
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
        values = self.config.model_dump(exclude={"data_root", "device"}) | {"data": self.data}
        values["settings"] = {k: v for k, v in values["settings"].items() if k not in TOLD}
        if values["task"] == "recommend":
            del values["task"]
        if self.config.content == ContentCorruption():
            del values["content"]
        return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()

    @property
    def name(self) -> str:
        """What people call it."""
        c = self.config
        split = f"{c.split}-{c.split_seed}" if c.split_seed else c.split
        return f"{self.label} on {config_title(c.dataset, split, c.split_options, c.content)}, seed {c.seed}"

    @property
    def folder(self) -> Path:
        """The run's folder."""
        return self.out / "cells" / f"{self._stem}-{self.code[:6]}"

    @property
    def _stem(self) -> str:
        return f"{_plain(self.name)}-{self.key[:10]}"

    def made_by_other_code(self) -> list[Path]:
        """Finished folders of this cell that another version of the code made, newest first."""
        found = self.folder.parent.glob(f"{self._stem}-*/metrics.json")
        return [p.parent for p in sorted(found, key=lambda p: -p.stat().st_mtime)]


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


def read_yaml(path: Path) -> dict[str, Any]:
    """A YAML mapping; UserError in one line otherwise."""
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UserError(f"cannot read {path}: {' '.join(str(error).split())}") from None
    if not isinstance(values, dict) or not all(isinstance(key, str) for key in values):
        raise UserError(f"{path}: expected `name: value` lines")
    return values


def read_experiment(path: Path, smoke: bool = False, controls: bool = False) -> Experiment:
    """The experiment in a file; with `smoke` its tiny size, with `controls` what the file may ask for itself.

    Raises:
        UserError: not YAML, an unknown key (the nearest is offered), or a value that cannot be.
    """
    values, where = read_yaml(path), path.name
    values["models"] = _variants(values.get("models"), where)
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
    experiment = build(Experiment, values, where)
    _check(experiment, where)
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
    if all((variant.model or label) != CONTENT_ONLY for label, variant in models.items()):
        tuned = any(variant.tuned is True for variant in models.values())
        models = models | {CONTENT_ONLY: Variant(tuned=tuned)}
    return experiment.model_copy(update={"models": models, "controls": True})


def _part(group: type[Settings], value: Any, where: str) -> Any:
    if not isinstance(value, Mapping):
        raise UserError(f"{where}: expected `name: value` lines, got {value!r}")
    return build(group, {str(key): v for key, v in value.items()}, where)


def _variants(value: Any, where: str) -> dict[str, Variant]:
    if isinstance(value, list) and all(isinstance(name, str) for name in value):
        value = dict.fromkeys(value)
    if not isinstance(value, dict) or not value:
        raise UserError(f"models of {where}: expected a list of names, or label: {{model, settings, tuned}}")
    return {str(k): _part(Variant, v or {}, f"models.{k} of {where}") for k, v in value.items()}


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
    found = []
    for values in itertools.product(*part.sweep.values()):
        options = part.options | dict(zip(part.sweep, values, strict=True))
        found.append(part.model_copy(update={"options": options, "sweep": {}}))
    return found


def _check(experiment: Experiment, where: str) -> None:
    """UserError for what a single value's type cannot tell."""
    lists = {"datasets": experiment.datasets, "seeds": experiment.seeds}
    lists |= {f"seeds of split '{s.protocol}'": s.seeds for s in experiment.splits}
    for key, values in lists.items():
        if not values or len(set(values)) < len(values):
            raise UserError(f"{key} of {where}: expected at least one, each once, got {values}")
    lowest = min([*experiment.seeds, *(seed for s in experiment.splits for seed in s.seeds)])
    if lowest < 0:
        raise UserError(f"seeds of {where}: expected 0 or more, got {lowest}")
    for missing in (experiment.missing, experiment.smoke.missing if experiment.smoke else None):
        if missing:
            check_missing(missing, where)
    for column in {*experiment.columns, experiment.decide_by}:
        group, _, metric = column.rpartition(":")
        if group and group not in GROUPS:
            raise UserError(f"column '{column}' of {where}: no group '{group}'{nearest(group, GROUPS)}")
        metrics = BUNDLE_METRICS if experiment.task == "bundle" else DEFAULT_METRICS
        if metric not in metrics or metric.partition("@")[0] in LIST_METRICS:
            known = [m for m in metrics if m.partition("@")[0] not in LIST_METRICS]
            raise UserError(f"column '{column}' of {where}: no metric '{metric}'{nearest(metric, known)}")
    named = [("reference", experiment.reference)] if experiment.reference else []
    named += [("paper", reported.model) for reported in experiment.paper.reported] if experiment.paper else []
    for key, name in named:
        if name not in experiment.models:
            raise UserError(f"{key} of {where}: no model '{name}'{nearest(name, experiment.models)}")


def _shrunk(experiment: Experiment, smoke: Smoke, where: str) -> Experiment:
    used, models = set(), {}
    for label, variant in experiment.models.items():
        known = _fields(variant.model or label)
        here = {key: value for key, value in smoke.settings.items() if key in known}
        used |= here.keys()
        # Tuned settings are for the experiment's own data.
        models[label] = variant.model_copy(update={"settings": variant.settings | here, "tuned": False})
    if unused := sorted(smoke.settings.keys() - used):
        raise UserError(f"smoke of {where}: no model of the file has a setting '{unused[0]}'")
    changes = {key: getattr(smoke, key) for key in ("datasets", "splits", "seeds", "missing")}
    changes = {key: value for key, value in changes.items() if value is not None}
    return experiment.model_copy(update=changes | {"models": models, "paper": None})


def _fields(name: str) -> set[str]:
    """The settings that a model and its training have."""
    model_class = MODELS.get(name)
    groups = resolve_settings(model_class, {})
    return {field for group in groups if group is not None for field in type(group).model_fields}


def tuned_file(model: str, dataset: str, split: str) -> Path:
    """Where the settings are that a recorded search on validation found, if there was one."""
    return SHIPPED / "tuned" / f"{model.replace(':', '-')}-{dataset}-{split}.yaml"


def tuned_settings(variant: Variant, label: str, dataset: str, split: str, beside: Path) -> dict[str, Any]:
    """The tuned settings that a variant asks for; none where it asks for none.

    Raises:
        UserError: there are none.
    """
    if not variant.tuned:
        return {}
    model = variant.model or label
    path = tuned_file(model, dataset, split) if variant.tuned is True else beside / str(variant.tuned)
    if not path.is_file():
        raise UserError(
            f"{label}: no tuned settings for {model} on {dataset}, {split} at {path}; "
            f"make them with `recsys scan`, or drop `tuned`"
        )
    return read_yaml(path)


def load_datasets(names: Iterable[str], data_root: str | None) -> dict[str, Dataset]:
    """The data sets by name, each read once."""
    return {name: load_dataset(name, data_root) for name in names}


def make_cells(
    experiment: Experiment,
    datasets: Mapping[str, Dataset],
    out: Path,
    *,
    beside: Path = Path(),
    data_root: str | None = None,
    device: str = "auto",
) -> list[Cell]:
    """Every cell of the experiment, resolved and checked: models, settings, splits.

    Raises:
        UserError, DataError: an unknown model or setting, a value out of range, an impossible split.
    """
    classes = {label: MODELS.get(v.model or label) for label, v in experiment.models.items()}
    code = {label: code_version("recsys.runs.run", c.__module__) for label, c in classes.items()}
    steps = experiment.missing.steps() if experiment.missing else [ContentCorruption()]
    cells = []
    for name in experiment.datasets:
        dataset, data = datasets[name], data_checksum(datasets[name])
        view = task_view(dataset, experiment.task)
        for splitting in experiment.splits:
            protocol = splitting.protocol or default_protocol(view)
            for split_seed in splitting.seeds:
                split = make_split(view, protocol, split_seed, **splitting.options)
                check_steps(steps, experiment.controls, view, split)
            for label, variant in experiment.models.items():
                tuned = tuned_settings(variant, label, dataset.name, protocol, beside)
                settings = _resolved(classes[label], tuned | variant.settings, label)
                beside_it = control_contents(classes[label]) if experiment.controls else {}
                rows = [(label, step) for step in steps]
                rows += [(f"{label}, {told}", content) for told, content in beside_it.items()]
                config = RunConfig(
                    model=variant.model or label,
                    dataset=name,
                    task=experiment.task,
                    split=protocol,
                    split_options=splitting.options,
                    settings=settings,
                    data_root=data_root,
                    device=device,
                )
                for (row, content), split_seed, seed in itertools.product(
                    rows, splitting.seeds, experiment.seeds
                ):
                    drawn = {"content": content, "split_seed": split_seed, "seed": seed}
                    cell = Cell(row, config.model_copy(update=drawn), data, code[label], out.resolve())
                    cells.append(cell)
    return cells


def _resolved(model_class: Any, values: dict[str, Any], label: str) -> dict[str, Any]:
    try:
        groups = resolve_settings(model_class, values)
    except UserError as error:
        raise UserError(f"model '{label}': {error}") from None
    return {key: value for group in groups if group is not None for key, value in group.model_dump().items()}
