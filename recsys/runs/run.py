"""A run: one model trained and tested on one split of one data set, in a folder that can repeat it."""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
import yaml
from pydantic import Field

from recsys.datasets.bundles import BundleView, bundle_view
from recsys.datasets.cards import load_dataset
from recsys.datasets.dataset import Dataset
from recsys.datasets.splits import Split, default_protocol, head_items, make_split
from recsys.errors import UserError
from recsys.evaluation.evaluator import BUNDLE_METRICS, DEFAULT_METRICS, OVERALL, Evaluation, Evaluator
from recsys.evaluation.metrics import parse_metric
from recsys.files import atomic, cannot_write, write_text
from recsys.inputs.corruption import ContentCorruption, corrupt
from recsys.inputs.training_data import TrainingData
from recsys.models import MODELS
from recsys.models.base import Model
from recsys.runs.record import Usage, environment, usage
from recsys.settings import Settings, build, divide, setting
from recsys.training.distributed import Distributed

if TYPE_CHECKING:
    import scipy.sparse as sp
    from rich.console import Console

CALIBRATION_USERS = 8192
"""Users on whom a trained model calibrates what is left to choose, at most."""
CONFIG_FILE, METRICS_FILE, USERS_FILE = "config.yaml", "metrics.json", "per_user.parquet"
ENVIRONMENT_FILE = "environment.json"
TOLD = frozenset({"diagnostics"})
"""Settings that change what is told of a run and none of its figures: a run goes on with others."""


class RunConfig(Settings):
    """Everything that decides a run's figures."""

    model: str = setting(meaning="name of the model")
    dataset: str = setting(meaning="name of the data set, or path of its card")
    task: Literal["recommend", "bundle"] = setting(
        "recommend", "rank items for users, or to complete bundles"
    )
    split: str = setting("", "split protocol; empty: predefined where the data set has one, else random")
    split_options: dict[str, float] = setting({}, "options of the protocol")
    split_seed: int = setting(0, "seed of the split", low=0)
    seed: int = setting(0, "seed of the model and its training", low=0)
    content: ContentCorruption = setting(ContentCorruption(), "what is done to the content that models see")
    settings: dict[str, Any] = setting({}, "the model's and the trainer's settings by name")
    data_root: str | None = setting(None, "folder that holds the data sets")
    device: Annotated[str, Field(pattern=r"^(auto|cpu|cuda(:\d+)?)$")] = setting(
        "auto", "where training runs: auto, cpu, cuda, or cuda:N for one GPU by number"
    )


@dataclass
class Run:
    """A run's parts, made from its configuration: nothing is trained or written yet.

    Attributes:
        config: with every setting resolved.
        dataset, split, data: what is trained and tested on.
        model: built, untrained.
        train_settings: how to train it; None for a closed-form model.
        graph_seconds: time to build the model and its graphs.
        begun: the clocks when its making began.
    """

    config: RunConfig
    dataset: Dataset
    split: Split
    data: TrainingData
    model: Model
    train_settings: Any
    graph_seconds: float
    begun: Usage = field(default_factory=Usage.now)

    def support(self, part: str) -> sp.csr_array | None:
        """(n_users, n_items) CSR, what cold users bring along to "valid" or "test"; None where they bring nothing."""
        return support_of(self.dataset, self.split, part)


def support_of(dataset: Dataset, split: Split, part: str) -> sp.csr_array | None:
    """`Run.support` where there is no run yet."""
    rows = getattr(split, f"{part}_support")
    return dataset.matrix(rows) if len(rows) else None


def prepare(config: RunConfig, dataset: Dataset | None = None) -> Run:
    """Resolve the configuration, load and split the data, build the model.

    Args:
        dataset: the data set, where the caller has it already.

    Raises:
        UserError, DataError: anything in the configuration or data that cannot be.
    """
    begun = Usage.now()
    model_class = MODELS.get(config.model)
    if config.device.startswith("cuda"):
        import torch

        if torch.cuda.device_count() <= int(config.device.partition(":")[2] or 0):
            raise UserError(f"device '{config.device}' was asked for, and torch finds none; use --device cpu")
    settings, train_settings = resolve_settings(model_class, config.settings)
    dataset = task_view(dataset or load_dataset(config.dataset, config.data_root), config.task)
    protocol = config.split or default_protocol(dataset)
    split = make_split(dataset, protocol, config.split_seed, **config.split_options)
    data = training_data(config, dataset, split)
    start = time.perf_counter()
    model = model_class(settings, data, config.seed)
    seconds = time.perf_counter() - start
    resolved = settings.model_dump() | (train_settings.model_dump() if train_settings else {})
    config = config.model_copy(update={"split": protocol, "settings": resolved})
    return Run(config, dataset, split, data, model, train_settings, seconds, begun)


def training_data(config: RunConfig, dataset: Dataset, split: Split) -> TrainingData:
    """What the run's model may see of `dataset` under `split`.

    Raises:
        UserError: content that cannot be corrupted as the configuration asks.
    """
    content = config.content
    data = TrainingData.of(corrupt(dataset, split, content, (config.split_seed, config.seed)), split)
    if content.fill in ("mean", "neighbours"):
        data.ledger.record("filling", content.fill, items=data.warm_items)
    return data


def task_view(dataset: Dataset, task: str) -> Dataset:
    """The data set as a task sees it: users' items, or bundles in the users' place.

    Raises:
        DataError: it has no bundles.
    """
    return bundle_view(dataset) if task == "bundle" else dataset


def resolve_settings(model_class: type[Model], values: dict[str, Any]) -> tuple[Any, Any]:
    """The model's settings and the trainer's (None for a closed-form model) from one flat mapping."""
    name = model_class.__name__
    groups: dict[str, type[Settings]] = {"model": model_class.Settings}
    if not model_class.closed_form:
        from recsys.training.loop import TrainSettings

        groups["train"] = TrainSettings
    parts = divide(values, **groups)
    settings = build(model_class.Settings, parts["model"], name)
    if model_class.closed_form:
        return settings, None
    training = build(groups["train"], {**model_class.train_defaults, **parts["train"]}, "training")
    parse_metric(training.monitor)
    return settings, training


def new_folder(parent: Path, name: str) -> Path:
    """`parent`/`name`, or with -2, -3, … behind it where that is taken."""
    folder, number = parent / name, 2
    while folder.exists():
        folder, number = parent / f"{name}-{number}", number + 1
    return folder


def make_folder(folder: Path, resume: bool = False) -> None:
    """Make the run's folder, or raise a UserError: it cannot be written, or holds another run."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()) and not resume:
            raise UserError(
                f"{folder} is not empty; go on with --resume, or choose another folder with --out"
            )
    except OSError as error:
        raise cannot_write(folder, error) from error
    if not os.access(folder, os.W_OK):
        raise UserError(f"cannot write {folder}: permission denied; choose another folder with --out")


def execute(
    run: Run,
    folder: Path,
    *,
    resume: bool = False,
    console: Console | None = None,
    distributed: Distributed = Distributed(),  # noqa: B008 - immutable
) -> dict[str, Any]:
    """Train, test once, and leave a folder that tells it all. Returns what metrics.json holds.

    With `resume` a finished run is returned as it is, and an unfinished one goes on where it was killed. Of
    several processes that train together all but the first return nothing.
    """
    start = time.perf_counter()
    distributed.check(run.config.model)
    leads = distributed.rank(run.config.device) == 0
    if leads:
        make_folder(folder, resume)
    if resume and (finished := read_metrics(folder, run.config)):
        return finished if leads else {}
    if leads:
        save_config(run.config, folder)
    trained = _train(run, folder, console, distributed)
    if not leads:
        return {}
    checked = run.data.ledger.audit(run.split.cold_users, run.split.cold_items)
    scored = time.perf_counter()
    evaluator = make_evaluator(run.dataset, run.split, run.data, "test")
    evaluation = evaluator.evaluate(run.model.scorer(run.support("test")))
    timing = {
        "graph": run.graph_seconds,
        "train_epoch_median": trained.pop("train_epoch_median"),
        "evaluate": time.perf_counter() - scored,
        "total": run.graph_seconds + time.perf_counter() - start,
    }
    metrics = _report(run, evaluation) | trained | {"timing": timing, "leak_audit": checked}
    record = environment(run.dataset, run.split) | {
        "processes": distributed.processes,
        "usage": usage(run.begun),
    }
    write_text(folder / ENVIRONMENT_FILE, json.dumps(record, indent=2) + "\n")
    with atomic(folder / USERS_FILE) as temporary:
        evaluation.per_user.to_parquet(temporary, index=False)
    write_text(folder / METRICS_FILE, json.dumps(metrics, indent=2) + "\n")
    return metrics


def _train(run: Run, folder: Path, console: Console | None, distributed: Distributed) -> dict[str, Any]:
    if run.train_settings is None:
        from recsys.training.loop import save_model

        start = time.perf_counter()
        run.model.fit()
        save_model(run.model, folder)
        return {"train_epoch_median": time.perf_counter() - start, "epochs": 1}
    from recsys.training.loop import train

    validate = validator(run.dataset, run.split, run.data, run.train_settings.monitor)
    callbacks: tuple = ()
    if console is not None:
        from recsys.training.progress import EpochBar

        callbacks = (EpochBar(f"{run.config.model} on {run.dataset.name}", console),)
    return train(
        run.model,
        run.train_settings,
        folder,
        validate,
        run.config.seed,
        device=run.config.device,
        distributed=distributed,
        callbacks=callbacks,
    )


def validator(dataset: Dataset, split: Split, data: TrainingData, metric: str) -> Callable[..., float]:
    """A model -> its `metric` on the validation part: of all answers, or of the group named; NaN where there is no
    such group. With `calibrating`, which asks a hundred times, on at most `SETTLED_ON` users."""
    whole = make_evaluator(dataset, split, data, "valid")
    few = cache(lambda: make_evaluator(dataset, split, data, "valid", CALIBRATION_USERS))
    support = support_of(dataset, split, "valid")

    def validate(model: Model, group: str = OVERALL, calibrating: bool = False) -> float:
        evaluator = few() if calibrating else whole
        if group not in evaluator.groups:
            return math.nan
        groups = () if group == OVERALL else (group,)
        found = evaluator.evaluate(model.scorer(support), metrics=(metric,), groups=groups)
        return found.metrics[group][metric]

    return validate


def make_evaluator(
    dataset: Dataset, split: Split, data: TrainingData, part: str, at_most: int | None = None
) -> Evaluator:
    """The evaluator of "valid" or "test". What a user is known to have by then is masked: the training part,
    the support part, and in the test also the validation part, whose items cannot be answers any more.

    Args:
        at_most: so many users, always the same ones; None for all.
    """
    seen = [split.train, getattr(split, f"{part}_support")]
    if part == "test":
        seen.append(split.valid)
    counts = data.item_counts()
    head = head_items(counts)
    pool = getattr(split, f"{part}_pool")
    # Items held out that kept some interactions to train on are told apart from the others too.
    cold = split.cold_items | pool
    groups = {"warm": ~cold, "cold": cold, "head": head & ~cold, "tail": ~cold & ~head}
    truth = dataset.matrix(getattr(split, part))
    if at_most is not None:
        asked = np.flatnonzero(np.diff(truth.indptr))
        left_out = np.random.default_rng(0).permutation(asked)[at_most:]
        truth.data[np.isin(truth.nonzero()[0], left_out)] = 0
        truth.eliminate_zeros()
    users = {"warm_users": ~split.cold_users, "cold_users": split.cold_users}
    answers = np.unique(truth.indices)
    # Every tested bundle is one that training has not seen: there are no two groups of them.
    bundles = isinstance(dataset, BundleView)
    tested_cold = not bundles and split.cold_users[np.diff(truth.indptr) > 0].any()
    return Evaluator(
        truth,
        dataset.matrix(np.concatenate(seen)),
        groups={name: mask for name, mask in groups.items() if mask[answers].any()},
        user_groups=users if tested_cold else None,
        pool=pool if pool[answers].any() else None,
        item_counts=counts,
        metrics=BUNDLE_METRICS if bundles else DEFAULT_METRICS,
    )


def _report(run: Run, evaluation: Evaluation) -> dict[str, Any]:
    config = run.config
    name = {"overall": "test"}
    report: dict[str, Any] = {
        "model": config.model,
        "dataset": run.dataset.name,
        "task": config.task,
        "split": config.split,
        "seed": config.seed,
        "split_seed": config.split_seed,
        "ranks_cold_items": run.model.ranks_cold_items or not run.split.cold_items.any(),
    }
    for group, values in evaluation.metrics.items():
        report[name.get(group, f"test_{group}")] = values
    report["chance"] = {name.get(g, f"test_{g}"): values for g, values in evaluation.chance.items()}
    report["users"] = {name.get(g, f"test_{g}"): count for g, count in evaluation.users.items()}
    report["test_opened"] = 1
    return report


def save_config(config: RunConfig, folder: Path) -> None:
    """Write config.yaml."""
    write_text(folder / CONFIG_FILE, yaml.safe_dump(config.model_dump(), sort_keys=False))


def load_config(folder: Path) -> RunConfig:
    """Read config.yaml.

    Raises:
        UserError: the folder is no run's.
    """
    path = folder / CONFIG_FILE
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError:
        raise UserError(f"{folder} is not a run's folder: it has no {CONFIG_FILE}") from None
    except (yaml.YAMLError, UnicodeDecodeError):
        raise UserError(f"{path} is not readable as YAML; run the training again") from None
    if not isinstance(values, dict):
        raise UserError(f"{path} holds no settings; run the training again")
    return build(RunConfig, values, CONFIG_FILE)


def read_metrics(folder: Path, config: RunConfig) -> dict[str, Any] | None:
    """What a finished run reported, None where it has not finished.

    Raises:
        UserError: the folder belongs to a run with other settings.
    """
    if (folder / CONFIG_FILE).exists():
        ignored = {"data_root", "device"}
        old, new = load_config(folder).model_dump(exclude=ignored), config.model_dump(exclude=ignored)
        for values in (old, new):
            values["settings"] = {k: v for k, v in values["settings"].items() if k not in TOLD}
        for key in new:
            if old[key] != new[key]:
                raise UserError(
                    f"{folder} holds a run with other settings: {key} is {old[key]!r} there and {new[key]!r} "
                    f"here; choose another folder with --out"
                )
    path = folder / METRICS_FILE
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


def load_run(folder: Path, data_root: str | None = None) -> Run:
    """A trained run, ready to score.

    Raises:
        UserError: the folder is no finished run's.
    """
    from recsys.training.loop import BEST_FILE, load_model

    config = load_config(folder)
    if data_root:
        config = config.model_copy(update={"data_root": data_root})
    if not (folder / BEST_FILE).exists():
        raise UserError(f"{folder} holds no trained model; finish it with --resume")
    run = prepare(config)
    load_model(run.model, folder)
    run.model.eval()
    return run
