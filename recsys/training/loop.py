"""Training: pytorch-lightning's loop around a Model, in one piece or in stages, to its best epoch's weights."""

from __future__ import annotations

import logging
import os
import signal
import statistics
import warnings
from collections.abc import Mapping
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pandas as pd
import pytorch_lightning as pl
from pytorch_lightning.utilities import rank_zero_only

from recsys.encoders.moving_average import MovingAverage
from recsys.errors import UserError
from recsys.files import write_text
from recsys.inputs.sampler import visited
from recsys.inputs.train_settings import TrainSettings
from recsys.memory import available, kept
from recsys.models.base import Model
from recsys.models.closed_form.pop import popularity_of
from recsys.training.columns import ColumnsStrategy
from recsys.training.distributed import Distributed, hush
from recsys.training.filenames import HISTORY_FILE, ONLY_STAGE, RESUME_FILE
from recsys.training.keeping import AtomicCheckpointIO, KeepBest, ResumeFile, Validate
from recsys.training.module import TrainingModule
from recsys.training.patience import Patience
from recsys.training.weights import load_model, save_model

AMPLE = 32
"""How many times the parameters' memory must be left for freed memory to be kept, which leaves gaps: a quarter more was
taken by MMHCL."""
LOST = ("onnection closed", "onnection reset", "onnection refused", "roken pipe", "NCCL")
"""What the transports between processes say where one is gone."""


def train(
    model: Model,
    settings: TrainSettings,
    folder: Path,
    validate: Validate | None,
    seed: int,
    *,
    device: str = "auto",
    distributed: Distributed = Distributed(),  # noqa: B008 - immutable
    callbacks: tuple[pl.Callback, ...] = (),
    epochs: Mapping[str, int] = MappingProxyType({}),
) -> dict[str, Any]:
    """Train `model` and leave it with the best epoch's weights, which are also in `folder`.

    Args:
        validate: None: nothing is held out; all epochs are trained, and nothing is calibrated.
        epochs: stage -> epochs, instead of the settings' largest number; "model" of a model that is trained as one.

    A resume file in `folder` is taken up where it stands: the run ends as if it had never stopped. Of several
    processes the first alone has the best weights in the end.

    Returns:
        best_epoch, best (the validation metric, of the model as it is left; neither without validation), epochs and
        train_epoch_median (seconds).
    """
    stages = model.stages(settings)
    if stages:
        how = {"device": device, "distributed": distributed, "callbacks": callbacks}
        return _in_stages(model, stages, folder, validate, how, epochs)
    if ONLY_STAGE in epochs:
        settings = settings.model_copy(update={"max_epochs": epochs[ONLY_STAGE]})
    if model.whole_graph:
        asked, settings = settings.batch_size, settings.at_scale(visited(model.data, settings.sample_by))
        if settings.batch_size > asked and hasattr(model, "terms"):
            model.terms.most = asked
    if settings.weight_average:
        _check_average(model, distributed)
    rule = Patience(
        settings.patience, settings.plateau, settings.smooth, partial(_popularity, model, validate)
    )
    keeper = KeepBest(folder, validate, rule)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="pytorch_lightning")
        hush()
        where = distributed.trainer_options(device, model.idle_parameters, distributed.by_columns(model))
        trainer = _trainer(settings, folder, where, [*callbacks, keeper, ResumeFile(folder, keeper)])
        sizes = [parameter.nbytes for parameter in model.parameters()]
        ample = (available() or 0) > AMPLE * sum(sizes)
        with kept(max(sizes, default=0)) if ample else nullcontext():
            _fit(trainer, TrainingModule(model, settings, seed), folder / RESUME_FILE)
    for process in getattr(trainer.strategy.launcher, "procs", ()):
        process.wait()
    if trainer.is_global_zero:
        if isinstance(trainer.strategy, ColumnsStrategy):
            trainer.strategy.make_room()
        load_model(model, folder)
    model.eval()
    best = keeper.best
    calibrates = type(model).calibrate is not Model.calibrate or model.calibrated
    if trainer.is_global_zero and validate and calibrates:
        best = _calibrated(model, folder, validate)
    seconds = [row["seconds"] for row in keeper.history]
    chosen = {"best_epoch": keeper.best_epoch, "best": best} if validate else {}
    used = {"batch_size": settings.batch_size, "learning_rate": settings.learning_rate}
    return chosen | {"epochs": len(keeper.history), "train_epoch_median": statistics.median(seconds)} | used


def _popularity(model: Model, validate: Validate | None) -> float:
    """What popularity reaches on the validation part."""
    assert validate is not None
    return validate(popularity_of(model.data))


def _check_average(model: Model, distributed: Distributed) -> None:
    """UserError where `weight_average` cannot be."""
    if distributed.by_columns(model):
        raise UserError("weight_average needs whole tables; use --strategy ddp, or --devices 1")
    if any(isinstance(part, MovingAverage) for part in model.children()):
        raise UserError(f"{type(model).__name__} averages its weights itself; leave out weight_average")


def _in_stages(
    model: Model,
    stages: Mapping[str, tuple[Model, TrainSettings]],
    folder: Path,
    validate: Validate | None,
    how: dict[str, Any],
    epochs_of: Mapping[str, int],
) -> dict[str, Any]:
    """Train a model's parts one after another, each in a folder of its own, and put them together.

    A killed run goes on in the stage where it stopped: a finished one has no patience left.
    """
    records, curves, epochs = [], [], 0
    for name, (part, settings) in stages.items():
        (folder / name).mkdir(exist_ok=True)
        own = {ONLY_STAGE: epochs_of[name]} if name in epochs_of else {}
        records.append(train(part, settings, folder / name, validate, part.seed, epochs=own, **how))
        curve = pd.read_csv(folder / name / HISTORY_FILE)
        curves.append(curve.assign(epoch=curve["epoch"] + epochs, stage=name))
        epochs += records[-1]["epochs"]
    chosen = {}
    if validate:
        chosen["best"] = _calibrated(model, folder, validate)
        chosen["best_epoch"] = epochs - records[-1]["epochs"] + records[-1]["best_epoch"]
    else:
        save_model(model, folder)
    write_text(folder / HISTORY_FILE, pd.concat(curves).to_csv(index=False))
    return chosen | {"epochs": epochs, "train_epoch_median": statistics.median(pd.concat(curves)["seconds"])}


def _calibrated(model: Model, folder: Path, validate: Validate) -> float:
    """Let a trained model choose what is left to choose, and save it; its value as it is left."""
    model.calibrate(lambda group: validate(model, group, calibrating=True))
    best = validate(model)
    save_model(model, folder)
    return best


def _fit(trainer: pl.Trainer, module: TrainingModule, resume: Path) -> None:
    try:
        trainer.fit(module, ckpt_path=resume if resume.exists() else None, weights_only=True)
    except SystemExit:
        # Lightning's answer to Ctrl-C; the caller decides what an interrupted run says.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        raise KeyboardInterrupt from None
    except RuntimeError as error:
        if trainer.world_size == 1 or not any(sign in str(error) for sign in LOST):
            raise
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"lost another process of this training ({reason}); go on with --resume") from None


def _trainer(
    settings: TrainSettings, folder: Path, where: dict[str, Any], callbacks: list[pl.Callback]
) -> pl.Trainer:
    trainer = pl.Trainer(
        **where | {"plugins": [*where["plugins"], AtomicCheckpointIO()]},
        max_epochs=settings.max_epochs,
        callbacks=callbacks,
        logger=_logger(settings.logger, folder),
        use_distributed_sampler=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        default_root_dir=os.fspath(folder),
    )
    # pytorch-lightning has guessed it from the cluster's variables, which also number workers that train alone.
    rank_zero_only.rank = trainer.global_rank  # type: ignore[attr-defined]  # a function's own attribute
    return trainer


def _logger(kind: str, folder: Path) -> Any:
    if kind == "csv":
        return False
    try:
        if kind == "tensorboard":
            return pl.loggers.TensorBoardLogger(folder, name="tensorboard", version="")
        logging.getLogger("mlflow.store.db.utils").setLevel(logging.WARNING)
        # Its plain files are no longer kept up by mlflow, which takes a database instead.
        uri = f"sqlite:///{(folder / 'mlflow.db').resolve()}"
        return pl.loggers.MLFlowLogger(
            tracking_uri=uri, artifact_location=(folder / "mlruns").resolve().as_uri()
        )
    except ModuleNotFoundError as error:
        raise UserError(f"logger={kind} needs a package: pip install 'recsys[{kind}]' ({error})") from None
