"""Training on from another run's weights, usually on data that have grown since."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse as sp

from recsys.datasets.checks import positions
from recsys.datasets.dataset import Dataset
from recsys.datasets.splits import Split, make_split
from recsys.errors import DataChanged, UserError
from recsys.inputs.training_data import TrainingData
from recsys.models.base import Model
from recsys.runs.artifacts import fingerprint, kept_bundle, read_environment, read_metrics
from recsys.runs.config import RunConfig, WarmStart, load_config, resolve
from recsys.runs.versions import data_checksum
from recsys.training.weights import read_arrays

NAMED = 3
"""Parameters that a note names."""


class Source(NamedTuple):
    """Whom a run knows, and what it trained on.

    Attributes:
        ids: "users" and "items" -> raw ids in the order of its tables' rows.
        seen: (n_users, n_items) CSR, the interactions that it was trained on.
    """

    ids: dict[str, np.ndarray]
    seen: sp.csr_array


def warm_start_of(folder: str | Path) -> WarmStart:
    """What a configuration says of a training that starts from the run in `folder`.

    Raises:
        UserError: it holds no finished run.
    """
    folder = Path(folder)
    load_config(folder)
    mark = fingerprint(folder)
    if not mark or read_metrics(folder) is None:
        raise UserError(f"{folder} holds no finished run to start from; finish it with --resume")
    return WarmStart(run=str(folder.resolve()), fingerprint=mark)


def start(
    config: RunConfig, model: Model, dataset: Dataset, split: Split, data: TrainingData
) -> dict[str, Any]:
    """Let a new model start from the weights of the run that `config.warm_start` names, and say what it took over.

    The rows of ID tables are taken over by raw id, of users and items that both know and that are warm here: a cold one
    has no row that training made, whatever an earlier training saw. All other parameters are taken over where names
    and shapes agree.

    Returns:
        What the run's record says: `run`, `fingerprint`, `dataset`, how many `users` and `items` were taken over of
        `of_users` and `of_items` that train here, and `anew`: the parameters that start as they were initialised.

    Raises:
        UserError: the run is gone or changed, is of another model or other settings, has no weights to start from, or
            was trained on what is held out here.
    """
    assert config.warm_start is not None
    folder = Path(config.warm_start.run)
    if not folder.is_dir() or fingerprint(folder) != config.warm_start.fingerprint:
        raise UserError(
            f"this training starts from the run {folder}, which is not there any more, or not as it was; bring it back"
        )
    own = next(iter(model.parameters()), None)
    if model.closed_form or own is None:
        raise UserError(
            f"{config.model} keeps no weights that a training could start from: train it anew, or fold what is new "
            "into its bundle with `recsys update`"
        )
    there = load_config(folder)
    _check_same_model(there, config, folder)
    source = _source(there, folder)
    known = {}
    warm = {"users": data.warm_users, "items": data.warm_items}
    for noun, ids in {"users": dataset.user_ids, "items": dataset.item_ids}.items():
        rows = positions(source.ids[noun], np.asarray(ids).astype(object))
        here = np.flatnonzero((rows >= 0) & warm[noun])
        known[noun] = here, rows[here]
    _check_unseen(source, dataset, split, folder)
    anew = model.start_from(read_arrays(folder, type(model).__name__), known)
    counts = {noun: len(here) for noun, (here, _) in known.items()}
    of = {f"of_{noun}": int(one.sum()) for noun, one in warm.items()}
    about = {"run": folder.name, "fingerprint": config.warm_start.fingerprint, "dataset": there.dataset}
    return {**about, **counts, **of, "anew": anew}


def note(taken: dict[str, Any]) -> str:
    """What `start` gave, as a sentence."""
    anew = taken["anew"]
    more = ", …" if len(anew) > NAMED else ""
    named = f"; {', '.join(anew[:NAMED])}{more} as initialised" if anew else ""
    return (
        f"starts from the weights of {taken['run']}, for {taken['users']:,} of {taken['of_users']:,} users and "
        f"{taken['items']:,} of {taken['of_items']:,} items that train{named}"
    )


def _check_same_model(there: RunConfig, here: RunConfig, folder: Path) -> None:
    """UserError where a run is of another model or task, or its model has other settings; those of training may
    differ."""
    from recsys.models import MODELS

    own = MODELS.get(here.model).Settings.model_fields
    old, new = (one.identity()["settings"] for one in (there, here))
    pairs = {"model": (there.model, here.model), "task": (there.task, here.task)}
    pairs |= {name: (old.get(name), new.get(name)) for name in own}
    for name, (one, other) in pairs.items():
        if json.dumps(one, default=str) != json.dumps(other, default=str):
            raise UserError(
                f"{folder} cannot be started from: {name} is {one!r} there and {other!r} here; give both the same, or "
                "leave out the warm start"
            )


def _source(config: RunConfig, folder: Path) -> Source:
    """From the bundle in the run's folder, which stays as the data were; otherwise from the data."""
    from recsys.serving.bundle import load_bundle

    if (kept := kept_bundle(folder)) is not None:
        bundle = load_bundle(kept)
        users, items = bundle.n_trained_users, bundle.n_trained_items
        ids = {"users": bundle.users.names[:users], "items": bundle.items.names[:items]}
        return Source(ids, bundle.trained_history[:users])
    resolved = resolve(config)
    dataset, config = resolved.dataset, resolved.config
    if read_environment(folder)["data_sha256"] != data_checksum(dataset):
        raise DataChanged(
            f"{folder}: the data set '{dataset.name}' has changed since this run was trained, and the run keeps no "
            "bundle that tells its users and items; write one by training with `recsys train`"
        )
    split = make_split(dataset, config.split, config.split_seed, **config.split_options)
    return Source({"users": dataset.user_ids, "items": dataset.item_ids}, dataset.matrix(split.train))


def _check_unseen(source: Source, dataset: Dataset, split: Split, folder: Path) -> None:
    """UserError where the run that is started from was trained on interactions that are held out here: the figures
    would be of what the weights remember."""
    held_out = dataset.matrix(np.concatenate([split.valid, split.test])).tocoo()
    users, items = (
        positions(source.ids[noun], np.asarray(ids)[rows].astype(object))
        for noun, ids, rows in zip(
            ("users", "items"), (dataset.user_ids, dataset.item_ids), held_out.coords, strict=True
        )
    )
    known = (users >= 0) & (items >= 0)
    seen = int(np.count_nonzero(source.seen[users[known], items[known]])) if known.any() else 0
    if seen:
        raise UserError(
            f"{folder} was trained on {seen:,} of the {held_out.nnz:,} interactions that split '{split.protocol}' "
            "holds out here, so that the test would be of what it remembers; hold out later ones (--split temporal), "
            "or nothing (--split none)"
        )
