"""RunConfig: the one description of a run, and the one function that resolves it.

The command line, experiment and scan files, `rerun`, the demo and the Python calls fill a RunConfig and hand it to
`resolve` (through `recsys.runs.run.prepare`). What decides a figure is declared here and nowhere else.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
import yaml
from pydantic import Field, field_validator

from recsys.datasets.cards import load_dataset
from recsys.datasets.dataset import Dataset
from recsys.datasets.splits import SplitOption, default_protocol
from recsys.errors import UserError
from recsys.evaluation.facts import Facts
from recsys.evaluation.metrics import check_metrics, parse_metric
from recsys.files import read_yaml, write_text
from recsys.inputs.corruption import ContentCorruption
from recsys.inputs.train_settings import AS_PUBLISHED
from recsys.models import MODELS
from recsys.reranking.base import make_reranker
from recsys.runs.artifacts import CONFIG_FILE, MASK, own_card
from recsys.runs.tasks import TASKS, TaskName
from recsys.settings import Settings, build, divide, merge, setting

if TYPE_CHECKING:
    from recsys.models.base import Model

WITHOUT_EFFECT = frozenset({"diagnostics", "logger"})
"""Settings that change what is noted of a run and none of its figures: a run goes on with others."""
LOGGED = "log_gradients"
"""The same of a model's `objectives`."""
OF_A_SPLIT = ("split", "split_options", "split_seed")
PLACES = frozenset({"data_root", "device", "settings_from"})
"""Fields that say where a run runs and where its settings are from; its figures do not depend on them."""


class Refit(Settings):
    """What a training on everything takes from the tested run that it repeats."""

    run: str = setting(meaning="name of the tested run's folder")
    epochs: dict[str, int] = setting({}, "stage -> epochs; the only stage of most models is called model")
    calibrated: dict[str, list[float]] = setting({}, "calibrated buffer of the model -> its values")


class WarmStart(Settings):
    """The run whose weights a training starts from."""

    run: str = setting(meaning="path of the run's folder")
    fingerprint: str = setting(meaning="SHA-256 that its weights and configuration are known by")


class RunConfig(Settings):
    """Everything that decides a run's figures.

    Stability: stable.

    Example:
        >>> config = RunConfig(model="ease", dataset="ml-100k", split="cold-item", settings={"content": 1.0})
        >>> config.seed, config.tuned
        (0, False)
    """

    model: str = setting(meaning="name of the model")
    dataset: str = setting(meaning="name of the data set, or path of its card")
    task: TaskName = setting("recommend", "rank items for users, or to complete bundles")
    split: str = setting("", "split protocol; empty: predefined where the data set has one, else random")
    split_options: dict[str, SplitOption] = setting({}, "options of the protocol")
    split_seed: int = setting(0, "seed of the split", low=0)
    seed: int = setting(0, "seed of the model and its training", low=0)
    content: ContentCorruption = setting(ContentCorruption(), "corruption of the content that the model sees")
    settings: dict[str, Any] = setting(
        {}, "the model's and the trainer's settings by name; they override tuned ones"
    )
    tuned: bool | str = setting(
        False,
        "settings found by a recorded search: true for those that ship for this model, data set and split, or the "
        "path of a scan's best.yaml",
    )
    published: bool = setting(
        False,
        "start from the settings and the protocol that the model's authors published, where they are known; its mask "
        "is train",
    )
    settings_from: str = setting(
        "",
        "the file of tuned settings, or the published code, that `settings` were taken from, and which of them were "
        "changed; filled in",
    )
    mask: Literal["train", "train+valid"] = setting(
        MASK,
        "whose items the test leaves out of a user's ranking: those of both parts, or, as in many published tables, of "
        "the training part alone",
    )
    evaluate_users: int = setting(
        0, "so many users, drawn once, are validated and tested, where there are more; 0: all", low=0
    )
    rerank: str = setting("", "re-ranking step of the test's lists and of recommendations; empty: none")
    rerank_options: dict[str, Any] = setting({}, "settings of the re-ranking step")
    metrics: list[str] = setting([], "metrics to report beside the task's own, such as recall@5")
    data_root: str | None = setting(None, "folder that holds the data sets")
    teacher_run: str = setting(
        "",
        "folder of a trained run whose rankings a student learns, on the same split, which need not be said again",
    )
    refit: Refit | None = setting(None, "what a training on everything takes from a tested run; filled in")
    warm_start: WarmStart | None = setting(None, "the run whose weights training starts from")
    device: Annotated[str, Field(pattern=r"^(auto|cpu|cuda(:\d+)?)$")] = setting(
        "auto", "where training runs: auto, cpu, cuda, or cuda:N for one GPU by number"
    )

    @field_validator("metrics")
    @classmethod
    def _known_metrics(cls, metrics: list[str]) -> list[str]:
        return list(dict.fromkeys(str(parse_metric(metric)) for metric in metrics))

    def wanted_metrics(self) -> tuple[str, ...]:
        """The task's metrics, and those asked for besides."""
        return tuple(dict.fromkeys([*TASKS[self.task].metrics, *self.metrics]))

    @property
    def tested(self) -> str:
        """In what the test is not the usual one, for titles; empty where it is."""
        parts = [] if self.mask == MASK else [f"mask: {self.mask}"]
        return ", ".join([*parts, *([f"{self.evaluate_users:,} users drawn"] if self.evaluate_users else [])])

    @property
    def reranked(self) -> str:
        """The re-ranking step and its settings, for titles; empty where there is none."""
        options = ", ".join(f"{name} {value}" for name, value in self.rerank_options.items() if value != "")
        return f"{self.rerank} ({options})" if self.rerank and options else self.rerank

    def identity(self) -> dict[str, Any]:
        """What decides the figures, as plain values: of two resolved configurations with the same identity one
        run's figures are the other's."""
        values = self.model_dump(exclude=set(PLACES))
        settings = {k: v for k, v in values["settings"].items() if k not in WITHOUT_EFFECT}
        if self.warm_start:  # wherever it lies
            values["warm_start"] = self.warm_start.fingerprint
        if isinstance(objectives := settings.get("objectives"), dict):
            settings["objectives"] = {k: v for k, v in objectives.items() if k != LOGGED}
        return values | {"settings": settings}


@dataclass(frozen=True)
class Resolved:
    """A configuration with nothing left open.

    Attributes:
        config: every setting of the model and its training spelled out, the split named, tuned settings taken in.
        dataset: as the task sees it.
        model_class, settings, train_settings: how to build the model and train it; the last is None for a
            closed-form model.
    """

    config: RunConfig
    dataset: Dataset
    model_class: type[Model]
    settings: Any
    train_settings: Any


def resolve(config: RunConfig, dataset: Dataset | None = None) -> Resolved:
    """Load the data set and make every choice that `config` leaves open.

    Args:
        dataset: the data set, where the caller has it already.

    Raises:
        UserError, DataError: anything in the configuration that cannot be.
    """
    model_class = MODELS.get(config.model)
    if config.teacher_run and "teacher" not in config.settings:
        config = as_taught(config, model_class)
    dataset = TASKS[config.task].view(dataset or load_dataset(config.dataset, config.data_root))
    content = dataset.modalities, dataset.item_attributes, dataset.user_attributes
    facts = Facts(np.zeros(dataset.n_items), np.zeros(dataset.n_users), *content)
    check_metrics(config.wanted_metrics(), facts)
    reranking = rerank_settings(config.rerank, config.rerank_options, facts)
    split = config.split or default_protocol(dataset)
    path = tuned_path(config, dataset.name, split)
    start = read_yaml(path) if path else published_settings(config, model_class)
    settings, training = resolve_settings(model_class, merge(start, config.settings))
    values = settings.model_dump() | (training.model_dump() if training else {})
    changes: dict[str, Any] = {"split": split, "settings": values, "tuned": False, "published": False}
    changes["rerank_options"] = reranking
    origin = path.name if path else ""
    if config.published and model_class.published:
        origin, changes["mask"] = model_class.published.source, "train"
    if origin:
        by_hand = f", but for {', '.join(config.settings)}" if config.settings else ""
        changes["settings_from"] = origin + by_hand
    return Resolved(config.model_copy(update=changes), dataset, model_class, settings, training)


def as_taught(config: RunConfig, model_class: type[Model]) -> RunConfig:
    """`config` with the split of the run that it learns from, and what that says of the teacher.

    Raises:
        UserError: the model learns from no run, there is no such run, or another split is named: the teacher may have
            seen what the student is then tested on.
    """
    if "teacher" not in model_class.Settings.model_fields:
        raise UserError(f"{config.model} learns from no run; leave out the teacher, or train a student")
    folder = Path(config.teacher_run).resolve()
    taught = load_config(folder)
    split, given = ({key: getattr(one, key) for key in OF_A_SPLIT} for one in (taught, config))
    if any(given.values()) and given != split:
        options = "".join(f", {key} {value}" for key, value in taught.split_options.items())
        raise UserError(
            f"the teacher {config.teacher_run} was trained on split {taught.split}{options}, split seed "
            f"{taught.split_seed}, and may have seen what a student on another one is tested on; leave the split out"
        )
    own = {"teacher": taught.model, "teacher_settings": taught.settings}
    changes = {**split, "teacher_run": str(folder), "settings": {**own, **config.settings}}
    return config.model_copy(update=changes)


def rerank_settings(name: str, options: Mapping[str, Any], facts: Facts) -> dict[str, Any]:
    """The re-ranking step's settings, spelled out; empty without a step.

    Raises:
        UserError: there is no such step or setting, or nothing in `facts` that it names.
    """
    if name:
        return dict(make_reranker(name, options, facts).settings.model_dump())
    if options:
        raise UserError("settings of a re-ranking step were given, and no step: name one with rerank")
    return {}


def resolve_settings(model_class: type[Model], values: Mapping[str, Any]) -> tuple[Any, Any]:
    """The model's settings and the trainer's (None for a closed-form model) from one flat mapping.

    Raises:
        UserError: an unknown setting, or a value out of its range.
    """
    name = model_class.__name__
    groups: dict[str, type[Settings]] = {"model": model_class.Settings}
    if not model_class.closed_form:
        from recsys.inputs.train_settings import TrainSettings

        groups["train"] = TrainSettings
    parts = divide(values, **groups)
    settings = build(model_class.Settings, parts["model"], name)
    if model_class.closed_form:
        return settings, None
    training = build(groups["train"], {**model_class.train_defaults, **parts["train"]}, "training")
    parse_metric(training.monitor)
    return settings, training


def published_settings(config: RunConfig, model_class: type[Model]) -> dict[str, Any]:
    """The settings that the model's authors published, where `config` asks for them.

    Raises:
        UserError: none are known.
    """
    if not config.published:
        return {}
    if model_class.published is None:
        names = (name for name in MODELS.builtin if MODELS.get(name).published is not None)
        raise UserError(
            f"what {config.model}'s authors published is not recorded; leave out published, or use one of "
            f"{', '.join(sorted(names))}"
        )
    return {**AS_PUBLISHED, **model_class.published.settings}


def tuned_folder() -> Path:
    """Where the tuned settings that ship are."""
    spec = importlib.util.find_spec("recsys.experiments")
    places = spec.submodule_search_locations if spec else None
    return Path(next(iter(places or ["experiments"]))) / "tuned"


def shipped_tuned(model: str, dataset: str, split: str) -> Path:
    """The file of tuned settings that ships for a model, data set and split, where there is one."""
    return tuned_folder() / f"{model.replace(':', '-')}-{dataset}-{split}.yaml"


def tuned_path(config: RunConfig, dataset: str, split: str) -> Path | None:
    """The file of tuned settings that `config` asks for; None where it asks for none.

    Raises:
        UserError: there is no such file.
    """
    if config.tuned is False:
        return None
    if config.published:
        raise UserError("tuned and published are two sets of settings to start from; ask for one of them")
    path = shipped_tuned(config.model, dataset, split) if config.tuned is True else Path(config.tuned)
    if path.is_file():
        return path
    if config.tuned is not True:
        raise UserError(f"there is no file {path} of tuned settings; make it with `recsys scan`")
    others = sorted(p.stem for p in tuned_folder().glob(f"{config.model.replace(':', '-')}-*.yaml"))
    ship = f"there are {', '.join(others)}" if others else f"none ship for {config.model}"
    raise UserError(
        f"no tuned settings for {config.model} on {dataset}, {split}: {ship}; make some with `recsys scan`, or "
        f"leave out tuned"
    )


def save_config(config: RunConfig, folder: Path) -> None:
    """Write config.yaml."""
    write_text(folder / CONFIG_FILE, yaml.safe_dump(config.model_dump(), sort_keys=False))


def load_config(folder: Path) -> RunConfig:
    """Read config.yaml.

    Raises:
        UserError: the folder is no run's, or its config.yaml is damaged.
    """
    path = folder / CONFIG_FILE
    if not path.is_file():
        raise UserError(f"{folder} is not a run's folder: it has no {CONFIG_FILE}")
    values = read_yaml(path)
    if not values:
        raise UserError(f"{path} holds no settings; run the training again")
    config: RunConfig = build(RunConfig, values, CONFIG_FILE)
    card = own_card(folder)
    # The folder may have been moved since.
    return config.model_copy(update={"dataset": str(card.resolve())}) if card else config


def config_checksum(values: Mapping[str, Any]) -> str:
    """SHA-256 of what config.yaml says, but for where the run and its data lie."""
    said = {k: v for k, v in values.items() if k not in (*PLACES, "dataset")}
    return hashlib.sha256(json.dumps(said, sort_keys=True, default=str).encode()).hexdigest()


def check_same_run(folder: Path, config: RunConfig) -> None:
    """UserError where the folder belongs to a run of another configuration."""
    if not (folder / CONFIG_FILE).exists():
        return
    old, new = load_config(folder).identity(), config.identity()
    for key in new:
        if old[key] != new[key]:
            there, here = _differing(old[key], new[key])
            raise UserError(
                f"{folder} holds a run with other settings: {key} is {there!r} there and {here!r} here; choose another "
                f"folder with --out"
            )


def _differing(old: Any, new: Any) -> tuple[Any, Any]:
    """Two values, of mappings only the entries in which they differ."""
    if not isinstance(old, Mapping) or not isinstance(new, Mapping):
        return old, new
    keys = [key for key in {**old, **new} if old.get(key) != new.get(key)]
    return {k: old[k] for k in keys if k in old}, {k: new[k] for k in keys if k in new}
