"""A run: one model trained and tested on one split of one data set, in a folder that can repeat it."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from recsys.datasets.dataset import Dataset
from recsys.datasets.splits import Split, head_items, make_split
from recsys.errors import DataChanged, UserError
from recsys.evaluation.evaluator import OVERALL, Evaluation, Evaluator
from recsys.evaluation.facts import Facts
from recsys.evaluation.metrics import parse_metric
from recsys.files import atomic, read_yaml
from recsys.inputs.corruption import corrupt
from recsys.inputs.training_data import TrainingData
from recsys.models.base import Model
from recsys.models.student import Student
from recsys.reranking.base import make_reranker
from recsys.reranking.scorer import RerankedScorer
from recsys.runs import warm_start
from recsys.runs.artifacts import (
    CONFIG_FILE,
    ENVIRONMENT_FILE,
    MASK,
    METRICS_FILE,
    MODEL_FILE,
    USERS_FILE,
    Environment,
    Metrics,
    make_folder,
    read_environment,
    read_metrics,
    test_key,
    write_json,
)
from recsys.runs.config import (
    Refit,
    RunConfig,
    check_same_run,
    config_checksum,
    load_config,
    resolve,
    save_config,
)
from recsys.runs.forecast import FORECAST_FROM, Forecast, check_forecast, forecast
from recsys.runs.record import Usage, checksums, environment, usage
from recsys.runs.tasks import task_of
from recsys.training.distributed import Distributed
from recsys.training.filenames import resume_files

if TYPE_CHECKING:
    import pandas as pd
    import scipy.sparse as sp
    from rich.console import Console

CALIBRATION_USERS = 8192
"""Users whom a trained model is calibrated on, at most."""


@dataclass
class Run:
    """A run's parts, made from its configuration: nothing is trained or written yet.

    Attributes:
        config: with every setting resolved.
        dataset, split, data: what is trained and tested on.
        model: built; trained where `trained` says so.
        train_settings: how to train it; None for a closed-form model.
        graph_seconds: time to build the model and its graphs.
        begun: the clocks when its making began.
        expected: what it was forecast to take, where the data are large.
        started: what the model took over from another run's weights, where it starts from them; see
            `recsys.runs.warm_start`.
        trained: whether the model is.
    """

    config: RunConfig
    dataset: Dataset
    split: Split
    data: TrainingData
    model: Model
    train_settings: Any
    graph_seconds: float
    begun: Usage = field(default_factory=Usage.now)
    expected: Forecast | None = None
    started: dict[str, Any] | None = None
    trained: bool = False

    @property
    def notes(self) -> list[str]:
        """What should be known of the data, the split and the graphs, as far as they are built."""
        started = [warm_start.note(self.started)] if self.started else []
        return [*self.dataset.notes, *self.split.notes, *self.data.notes, *started]

    def support(self, part: str) -> sp.csr_array | None:
        """(n_users, n_items) CSR, what cold users bring along to "valid" or "test"; None where they bring nothing."""
        return support_of(self.dataset, self.split, part)


def support_of(dataset: Dataset, split: Split, part: str) -> sp.csr_array | None:
    """`Run.support` where there is no run yet."""
    rows = getattr(split, f"{part}_support")
    return dataset.matrix(rows) if len(rows) else None


def prepare(
    config: RunConfig, dataset: Dataset | None = None, *, forecasts: bool = True, trains: bool = True
) -> Run:
    """Resolve the configuration, load and split the data, build the model.

    Args:
        dataset: the data set, where the caller has it already.
        forecasts: with `FORECAST_FROM` interactions and more, first forecast what the run takes, and refuse it where
            it does not fit into memory.
        trains: the model is to be trained: it starts from the run that the configuration names, where it names one.

    Raises:
        UserError, DataError: anything in the configuration or data that cannot be.
    """
    begun = Usage.now()
    check_device(config.device)
    resolved, load = resolve(config, dataset), time.perf_counter() - begun.wall
    epochs_given = "max_epochs" in config.settings or config.refit is not None
    config, dataset = resolved.config, resolved.dataset
    split = make_split(dataset, config.split, config.split_seed, **config.split_options)
    if not len(split.valid) and resolved.train_settings and not (epochs_given or config.teacher_run):
        raise UserError(
            f"split '{config.split}' has no validation part to choose the epoch by; give the epochs with --set "
            "max_epochs=N, or a tested run that says how many, with --refit RUN"
        )
    expected = None
    if forecasts and len(dataset.interactions) >= FORECAST_FROM:
        expected = forecast(config, dataset, load)
        check_forecast(expected, config, dataset)
    data = training_data(config, dataset, split)
    start = time.perf_counter()
    model = resolved.model_class(resolved.settings, data, config.seed)
    if config.refit:
        keep_calibration(model, config.refit)
    if config.teacher_run:
        assert isinstance(model, Student)
        model.learn_from(partial(trained_teacher, config, dataset, split))
    seconds = time.perf_counter() - start
    started = None
    if config.warm_start and trains:
        started = warm_start.start(config, model, dataset, split, data)
    return Run(
        config, dataset, split, data, model, resolved.train_settings, seconds, begun, expected, started
    )


def trained_teacher(config: RunConfig, dataset: Dataset, split: Split) -> Model:
    """The model of the run that a student of these data, under this split, learns from.

    Raises:
        UserError: the run is of another model than the student's settings say, or its data or split are others: it may
            have seen what the student is tested on.
    """
    run, named = load_run(Path(config.teacher_run), config.data_root), config.settings["teacher"]
    if run.config.model != named:
        raise UserError(f"the teacher {config.teacher_run} is a run of {run.config.model}, not of {named}")
    if checksums(run.dataset, run.split) != checksums(dataset, split):
        raise UserError(
            f"the teacher {config.teacher_run} was trained on other data or another split, and may have seen what the "
            "student is tested on; train the student on the same"
        )
    return run.model


def keep_calibration(model: Model, refit: Refit) -> None:
    """Fill a new model's calibrated buffers with what the tested run's held.

    Raises:
        UserError: the model has others.
    """
    import torch

    buffers = model.calibration()
    sizes = {name: buffer.numel() for name, buffer in buffers.items()}
    given = {name: len(values) for name, values in refit.calibrated.items()}
    if sizes != given:
        raise UserError(f"refit.calibrated: expected {sizes} values, got {given}; make the run with --refit")
    for name, buffer in buffers.items():
        buffer.copy_(torch.tensor(refit.calibrated[name], dtype=buffer.dtype).reshape(buffer.shape))


def check_device(device: str) -> None:
    """UserError where torch finds no such device."""
    if device.startswith("cuda"):
        import torch

        if torch.cuda.device_count() <= int(device.partition(":")[2] or 0):
            raise UserError(f"device '{device}' was asked for, and torch finds none; use --device cpu")


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


def execute(
    run: Run,
    folder: Path,
    *,
    resume: bool = False,
    console: Console | None = None,
    distributed: Distributed = Distributed(),  # noqa: B008 - immutable
) -> dict[str, Any]:
    """Train, test once, and leave a folder that records it. Returns what metrics.json holds.

    With `resume` a finished run is returned as it is, and an unfinished one goes on where it was killed. Of
    several processes that train together all but the first return nothing.
    """
    start = time.perf_counter()
    distributed.check(run.config.model, run.model)
    if isinstance(run.model, Student) and run.config.teacher_run and not (resume and read_metrics(folder)):
        run.model.teacher()  # refused before anything is written
    leads = distributed.rank(run.config.device) == 0
    if leads:
        make_folder(folder, resume)
    if resume:
        check_same_run(folder, run.config)
        check_same_data(folder, run)
        if finished := read_metrics(folder):
            return finished if leads else {}
    if leads:
        about = environment(run.dataset, run.split) | {
            "processes": distributed.processes,
            "notes": run.notes,
            "forecast": run.expected and asdict(run.expected),
            "warm_start": run.started,
        }
        save_config(run.config, folder)
        about["config_sha256"] = config_checksum(run.config.model_dump())
        write_json(Environment(**about), folder / ENVIRONMENT_FILE)
    trained = _train(run, folder, console, distributed)
    run.trained = True
    if not leads:
        return {}
    checked = run.data.ledger.audit(run.split.cold_users, run.split.cold_items)
    scored = time.perf_counter()
    evaluation, figures = _tested(run) if len(run.split.test) else (None, {"test_opened": 0})
    timing = {
        "graph": run.graph_seconds,
        "train_epoch_median": trained.pop("train_epoch_median"),
        "evaluate": time.perf_counter() - scored,
        "total": run.graph_seconds + time.perf_counter() - start,
    }
    reported = _names(run) | figures | trained | {"timing": timing, "leak_audit": checked}
    about |= {"notes": run.notes, "usage": usage(run.begun)}
    write_json(Environment(**about), folder / ENVIRONMENT_FILE)
    if evaluation is not None:
        with atomic(folder / USERS_FILE) as temporary:
            with_ids(evaluation.per_user, run.dataset).to_parquet(temporary, index=False)
    return _close(folder, reported)


def _tested(run: Run) -> tuple[Evaluation, dict[str, Any]]:
    """The test of a trained run, and its figures under the names of metrics.json."""
    config, drawn = run.config, run.config.evaluate_users or None
    evaluator = make_evaluator(
        run.dataset, run.split, run.data, "test", drawn, metrics=config.wanted_metrics(), mask=config.mask
    )
    users = run.data.query_users(run.support("test"))
    scorer = run.model.scorer(users)
    if config.rerank:
        step = make_reranker(config.rerank, config.rerank_options, facts_of(run.dataset, run.data))
        known = run.dataset.matrix(known_rows(run.split, "test", config.mask))
        longest = max(parse_metric(metric).k for metric in config.wanted_metrics())
        scorer = RerankedScorer(scorer, step, known, users.history, longest)
    evaluation = evaluator.evaluate(scorer)
    figures = reported_figures(evaluation) | {"test_opened": 1}
    if drawn:
        answering = np.count_nonzero(np.diff(run.dataset.matrix(run.split.test).indptr))
        if drawn < answering:
            errors = standard_errors(evaluation, drawn / answering)
            figures |= {"drawn": answering, "standard_error": errors}
    return evaluation, figures


def _close(folder: Path, reported: dict[str, Any]) -> dict[str, Any]:
    """Write a run's last file, and remove what only an unfinished run needs; what metrics.json holds."""
    written = write_json(Metrics(**reported), folder / METRICS_FILE)
    for path in resume_files(folder):
        path.unlink(missing_ok=True)
    return written


def check_same_data(folder: Path, run: Run) -> None:
    """UserError where the run in `folder` was trained on other data, or on another split of them: what it learned
    belongs to other users and items; or where its config.yaml has been edited since."""
    recorded, path = read_environment(folder), folder / CONFIG_FILE
    known = recorded.get("config_sha256") if path.exists() else ""
    if known and known != config_checksum(read_yaml(path)):
        raise UserError(
            f"{path} has been edited since this run was trained; bring the old file back, or train "
            "again in another folder"
        )
    for key, now in checksums(run.dataset, run.split).items() if recorded else ():
        if recorded[key] != now:
            what = f"the data set '{run.dataset.name}'" if key == "data_sha256" else "its split"
            raise DataChanged(
                f"{folder}: {what} has changed since this run was trained ({key} was {recorded[key][:12]}, is "
                f"{now[:12]}); bring the old files back, or train again in another folder"
            )


def _train(run: Run, folder: Path, console: Console | None, distributed: Distributed) -> dict[str, Any]:
    if run.train_settings is None or run.model.closed_form:
        from recsys.training.weights import save_model

        start = time.perf_counter()
        run.model.fit()
        save_model(run.model, folder)
        return {"train_epoch_median": time.perf_counter() - start, "epochs": 1}
    from recsys.training.loop import train

    validate = None
    if len(run.split.valid):
        validate = validator(
            run.dataset, run.split, run.data, run.train_settings.monitor, run.config.evaluate_users or None
        )
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
        epochs=run.config.refit.epochs if run.config.refit else {},
    )


def validator(
    dataset: Dataset, split: Split, data: TrainingData, metric: str, at_most: int | None = None
) -> Callable[..., float]:
    """A model -> its `metric` on the validation part: of all answers, or of the group named; NaN where there is no
    such group. On `at_most` users; with `calibrating`, which asks a hundred times, on at most `CALIBRATION_USERS`."""
    whole = make_evaluator(dataset, split, data, "valid", at_most)
    calibrated_on = min(at_most or CALIBRATION_USERS, CALIBRATION_USERS)
    few = cache(lambda: make_evaluator(dataset, split, data, "valid", calibrated_on))
    users = data.query_users(support_of(dataset, split, "valid"))

    def validate(model: Model, group: str = OVERALL, calibrating: bool = False) -> float:
        evaluator = few() if calibrating else whole
        if group not in evaluator.groups:
            return math.nan
        groups = () if group == OVERALL else (group,)
        evaluation = evaluator.evaluate(model.scorer(users), metrics=(metric,), groups=groups)
        return evaluation.metrics[group][metric]

    return validate


def make_evaluator(
    dataset: Dataset,
    split: Split,
    data: TrainingData,
    part: str,
    at_most: int | None = None,
    metrics: Sequence[str] = (),
    mask: str = MASK,
) -> Evaluator:
    """The evaluator of "valid" or "test". What a user is known to have by then is masked: the training part,
    the support part, and in the test also the validation part, whose items cannot be answers any more.

    Args:
        at_most: so many users, always the same ones; None for all.
        metrics: what it measures; the task's metrics where empty.
        mask: "train": the test ranks the items of the validation part too.
    """
    if not len(getattr(split, part)):
        purpose = "validation" if part == "valid" else "the test"
        raise UserError(
            f"split '{split.protocol}' holds nothing out for {purpose}: nothing can be measured; use another split"
        )
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
    task = task_of(dataset)
    tested_cold = task.tests_new_users_apart and split.cold_users[np.diff(truth.indptr) > 0].any()
    return Evaluator(
        truth,
        dataset.matrix(known_rows(split, part, mask)),
        groups={name: mask for name, mask in groups.items() if mask[answers].any()},
        user_groups=users if tested_cold else None,
        pool=pool if pool[answers].any() else None,
        facts=facts_of(dataset, data),
        metrics=metrics or task.metrics,
    )


def known_rows(split: Split, part: str, mask: str = MASK) -> np.ndarray:
    """Rows of the interactions whose items "valid" or "test" leaves out of a user's ranking; see `make_evaluator`."""
    seen = [split.train, getattr(split, f"{part}_support")]
    if part == "test" and mask == MASK:
        seen.append(split.valid)
    return np.concatenate(seen)


def facts_of(dataset: Dataset, data: TrainingData) -> Facts:
    """What metrics read of users and items: counts of the training part, and content and attributes as they are."""
    return Facts(
        data.item_counts(),
        np.diff(data.interactions.indptr),
        dataset.modalities,
        dataset.item_attributes,
        dataset.user_attributes,
    )


def with_ids(per_user: pd.DataFrame, dataset: Dataset) -> pd.DataFrame:
    """An evaluation's users by their raw ids in `user`, their numbers in `number`."""
    numbers = per_user["user"].to_numpy()
    frame = per_user.assign(user=dataset.user_ids[numbers])
    frame.insert(1, "number", numbers)
    return frame


def _names(run: Run) -> dict[str, Any]:
    config = run.config
    return {
        "model": config.model,
        "dataset": run.dataset.name,
        "task": config.task,
        "split": config.split,
        "seed": config.seed,
        "split_seed": config.split_seed,
        "mask": config.mask,
        "rerank": config.reranked or None,
        "ranks_cold_items": run.model.ranks_cold_items or not run.split.cold_items.any(),
    }


def reported_figures(evaluation: Evaluation) -> dict[str, Any]:
    """A test's figures under the names of metrics.json."""
    figures: dict[str, Any] = {test_key(group): values for group, values in evaluation.metrics.items()}
    figures["chance"] = {test_key(group): values for group, values in evaluation.chance.items()}
    figures["users"] = {test_key(group): count for group, count in evaluation.users.items()}
    return figures


def standard_errors(evaluation: Evaluation, share: float) -> dict[str, dict[str, float]]:
    """Group -> metric -> standard error of the mean over users who were drawn, without replacement, as a `share` of
    all: s / sqrt(n) sqrt(1 - share)."""
    by_group = {}
    for group, rows in evaluation.per_user.groupby("group", observed=True):
        values = rows.drop(columns=["user", "group"])
        errors = values.std(ddof=1) / math.sqrt(len(rows)) * math.sqrt(1 - share)
        by_group[test_key(str(group))] = {str(name): float(error) for name, error in errors.dropna().items()}
    return by_group


def load_run(folder: Path, data_root: str | None = None) -> Run:
    """A trained run, ready to score.

    Raises:
        UserError: the folder is no finished run's, or its data have changed since.
    """
    from recsys.training.weights import load_model

    config = load_config(folder)
    if data_root:
        config = config.model_copy(update={"data_root": data_root})
    if not (folder / MODEL_FILE).exists():
        raise UserError(f"{folder} holds no trained model; finish it with --resume")
    run = prepare(config, forecasts=False, trains=False)
    check_same_data(folder, run)
    load_model(run.model, folder)
    run.model.eval()
    run.trained = True
    return run
