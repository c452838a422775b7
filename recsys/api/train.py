"""Train and test one model."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from recsys.api.models import ModelMaker, ModelSpec, spec_of
from recsys.api.trained_run import TrainedRun, train_config
from recsys.datasets.cards import load_dataset
from recsys.datasets.dataset import Dataset
from recsys.errors import UserError
from recsys.runs.artifacts import MASK
from recsys.runs.config import RunConfig
from recsys.runs.warm_start import warm_start_of
from recsys.settings import build, merge


def train(
    model: str | ModelSpec | ModelMaker,
    data: Dataset | str,
    *,
    split: str = "",
    split_options: Mapping[str, Any] | None = None,
    split_seed: int = 0,
    seed: int = 0,
    task: str = "recommend",
    content_corruption: Mapping[str, Any] | None = None,
    tuned: bool | str = False,
    published: bool = False,
    rerank: str = "",
    rerank_options: Mapping[str, Any] | None = None,
    metrics: Iterable[str] = (),
    mask: str = MASK,
    evaluate_users: int = 0,
    teacher_run: str | Path | TrainedRun | None = None,
    warm_start: str | Path | TrainedRun | None = None,
    device: str = "auto",
    folder: str | Path | None = None,
    resume: bool = False,
    progress: bool = False,
    **settings: Any,
) -> TrainedRun:
    """Split the data, train the model on the training part, stop by the validation part, test once.

    The same arguments give the same figures as `recsys train` on the command line.

    Args:
        model: a name, or a model with settings such as `recsys.MMHCL(layers=3)`.
        data: a data set, or the name of one.
        split: name of the protocol, such as "random", "temporal", "cold-item", "cold-user"; empty: the data set's own
            where it has one, else "random".
        split_options: of the protocol.
        split_seed, seed: of the split; of the model and its training.
        task: "recommend", or "bundle" to complete bundles.
        content_corruption: what is done to the content that the model sees, such as {"missing": 0.5}.
        tuned: True: start from the settings that ship for this model, data set and split; or the path of a scan's
            best.yaml.
        published: start from the settings and the protocol that the model's authors published.
        rerank, rerank_options: a step that puts the lists of the test and of recommendations in another order, such as
            "mmr", and its settings; see `recsys list reranking`.
        metrics: to report beside the task's own, such as "recall@5".
        mask: whose items the test leaves out of a user's ranking: "train+valid", or, as in many published tables,
            those of "train" alone.
        evaluate_users: so many users, drawn once, are validated and tested, where there are more; 0: all.
        teacher_run: of the model "student": a run on `data`, or its folder, whose rankings it learns; the split is that
            run's.
        warm_start: a run of the same model, or its folder, whose weights training starts from, by raw id; usually on
            data that have grown since.
        device: "auto", "cpu", "cuda" or "cuda:1".
        folder: where the run's files go, to be resumed or kept; None: a temporary folder, and `save` keeps it.
        resume: go on with an unfinished run in `folder`, or return the finished one.
        progress: show epochs on standard error.
        **settings: of the model and its training, such as `layers=3, max_epochs=50`.

    Raises:
        UserError: an unknown model, setting or metric, a value out of range, a folder that holds another run.
        DataError: no such data set, or data that cannot be split so.

    Stability: stable.

    Example:
        >>> import recsys
        >>> run = recsys.train("ease", recsys.toy_data(), split="random", seed=0)
        >>> 0 < run.metrics.test["recall@20"] <= 1
        True
    """
    spec, dataset = spec_of(model), dataset_of(data)
    values = {
        "model": spec.name,
        **place_of(dataset),
        "task": task,
        "split": split,
        "split_options": dict(split_options or {}),
        "split_seed": split_seed,
        "seed": seed,
        "content": dict(content_corruption or {}),
        "settings": merge(spec.settings, settings),
        "tuned": tuned,
        "published": published,
        "rerank": rerank,
        "rerank_options": dict(rerank_options or {}),
        "metrics": list(metrics),
        "mask": mask,
        "evaluate_users": evaluate_users,
        "teacher_run": "" if teacher_run is None else str(folder_of(teacher_run)),
        "warm_start": None if warm_start is None else warm_start_of(folder_of(warm_start)),
        "device": device,
    }
    config: RunConfig = build(RunConfig, values, "train")
    return train_config(config, dataset, folder, resume=resume, progress=progress)


def folder_of(run: str | Path | TrainedRun) -> Path:
    """Where a run's files are."""
    return run.folder if isinstance(run, TrainedRun) else Path(run)


def dataset_of(data: Dataset | str) -> Dataset:
    """A data set, or the one of that name.

    Raises:
        UserError: it is neither.
        DataError: there is no such data set.
    """
    if isinstance(data, str):
        return load_dataset(data)
    if isinstance(data, Dataset):
        return data
    raise UserError(
        f"expected a data set or its name, got {type(data).__name__}; make one of a frame with "
        "recsys.Dataset.from_frame(frame, user=..., item=...)"
    )


def place_of(dataset: Dataset) -> dict[str, Any]:
    """The fields of a RunConfig that say which data set it is about."""
    if dataset.origin is None:
        return {"dataset": dataset.name}
    return {"dataset": dataset.origin.name, "data_root": dataset.origin.data_root}
