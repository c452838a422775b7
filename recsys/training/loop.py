"""Training: pytorch-lightning's loop around a Model, and the callbacks that make runs resumable."""

from __future__ import annotations

import io
import logging
import math
import os
import signal
import statistics
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pandas as pd
import pytorch_lightning as pl
import torch
from pytorch_lightning.plugins.io import CheckpointIO
from pytorch_lightning.utilities import rank_zero_only

from recsys.encoders.moving_average import MovingAverage
from recsys.errors import LeakError, UserError
from recsys.files import atomic, check_regular, write_text
from recsys.inputs.sampler import Batch, Sampler, derived_seed, visited
from recsys.inputs.train_settings import TrainSettings
from recsys.memory import available, kept
from recsys.models.base import Model
from recsys.objectives.diagnostics import embedding_diagnostics, sample
from recsys.training.columns import ColumnsStrategy
from recsys.training.distributed import Distributed, hush
from recsys.training.filenames import HISTORY_FILE, ONLY_STAGE, RESUME_FILE
from recsys.training.term_gradients import gradient_figures, harmonised_loss, term_gradients
from recsys.training.weights import load_model, save_arrays, save_model

AMPLE = 32
"""How many times the parameters' memory must be left for freed memory to be kept, which leaves gaps: a quarter more was
taken by MMHCL."""
WRITE_EVERY = 2.0
"""Seconds between what a training leaves on the disk: writing each of shorter epochs would take longer than they do."""
DIAGNOSED = 2048
"""So many users, items and pairs are looked at by `diagnostics`."""
LOST = ("onnection closed", "onnection reset", "onnection refused", "roken pipe", "NCCL")
"""What the transports between processes say where one is gone."""


Validate = Callable[..., float]
"""Scores a model on the validation part: the value that chooses the epoch, higher is better. With the name of a group
besides, by that group's answers."""


class _Epochs:
    """The batches of whatever epoch the trainer is in; an iterable that Lightning takes for a data loader.

    Of several processes each draws all of them, and takes its share of each where they divide batches."""

    def __init__(self, module: TrainingModule, sampler: Sampler):
        self._module, self._sampler = module, sampler

    def __len__(self) -> int:
        return len(self._sampler)

    def __iter__(self) -> Iterator[Batch]:
        rank, sharers = self._module.trainer.global_rank, self._module.sharers
        for batch in self._sampler.epoch(self._module.current_epoch):
            yield batch if sharers == 1 else batch.share(rank, sharers)


class TrainingModule(pl.LightningModule):
    """The one training loop: a Model's loss, Adam, and seeds that depend on the epoch alone."""

    def __init__(self, model: Model, settings: TrainSettings, seed: int):
        super().__init__()
        self.model, self.settings, self.seed = model, settings, seed
        self.epoch_terms: dict[str, torch.Tensor] = {}
        self.epoch_gradients: dict[str, float] = {}
        self.average = MovingAverage(model, settings.weight_average) if settings.weight_average else None
        self._cold = {
            "users": torch.from_numpy(~model.data.warm_users),
            "items": torch.from_numpy(~model.data.warm_items),
        }

    @property
    def sharers(self) -> int:
        """Processes that divide the rows of each batch."""
        return 1 if isinstance(self.trainer.strategy, ColumnsStrategy) else self.trainer.world_size

    def train_dataloader(self) -> _Epochs:
        settings = self.settings
        return _Epochs(
            self,
            Sampler(self.model.data, settings.batch_size, settings.negatives, self.seed, settings.sample_by),
        )

    def configure_optimizers(self) -> Any:
        settings = self.settings
        optimizer = torch.optim.AdamW(
            self.model.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay, fused=True
        )
        if settings.decay == 1.0:
            return optimizer
        return [optimizer], [torch.optim.lr_scheduler.ExponentialLR(optimizer, settings.decay)]

    def on_train_epoch_start(self) -> None:
        # Everything random in an epoch follows from (seed, epoch), so that a resumed run repeats it.
        seed = derived_seed(self.seed + 1, self.current_epoch)
        torch.manual_seed(seed)
        self.model.start_epoch(self.current_epoch, torch.Generator().manual_seed(seed))
        self.epoch_terms, self.epoch_gradients = {}, {}

    def training_step(self, batch: Batch, index: int) -> torch.Tensor:
        terms = self.model.loss(batch)
        for name, value in terms.items():
            self.epoch_terms[name] = self.epoch_terms.get(name, 0.0) + value.detach() * batch.weight
        # DDP takes the mean of the processes' gradients; what is wanted is their sum by weight.
        return self._total(terms) * (batch.weight * self.sharers)

    def _total(self, terms: dict[str, torch.Tensor]) -> torch.Tensor:
        """The terms' sum; where the model's settings ask for it their gradients are recorded or reconciled."""
        asked = self.model.terms.settings if hasattr(self.model, "terms") else None
        if asked is None or not (asked.log_gradients or asked.harmonise):
            return torch.stack(list(terms.values())).sum()
        parameters = [p for p in self.model.parameters() if p.requires_grad]
        gradients = term_gradients(terms, parameters)
        if asked.log_gradients:
            for name, value in gradient_figures(gradients).items():
                self.epoch_gradients[name] = self.epoch_gradients.get(name, 0.0) + value
        if not asked.harmonise:
            return torch.stack(list(terms.values())).sum()
        chosen = list(self.model.terms.terms) if asked.harmonise is True else asked.harmonise
        return harmonised_loss(terms, gradients, parameters, chosen)

    def on_after_backward(self) -> None:
        if self.trainer.is_last_batch:
            self.audit_gradients()

    def on_train_batch_end(self, outputs: Any, batch: Batch, index: int) -> None:
        if self.average is not None:
            self.average.update(self.model)
        if self.trainer.is_last_batch and self.sharers > 1:
            reduce = self.trainer.strategy.reduce
            self.epoch_terms = {n: reduce(value, reduce_op="sum") for n, value in self.epoch_terms.items()}

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """While the block runs the model has the moving average of its weights, where the settings ask for one."""
        if self.average is None:
            yield
            return
        self.average.place(self.model, averaged=True)
        try:
            yield
        finally:
            self.average.place(self.model, averaged=False)

    def audit_gradients(self) -> None:
        """LeakError where a cold user's or item's ID row took a gradient: it would be trained on."""
        for name, (table, noun) in self.model.id_tables().items():
            cold = self._cold[noun]
            if table.grad is not None and table.grad[cold.to(table.device)].any():
                raise LeakError(f"leak: ID table '{name}' trains the rows of cold {noun}")

    def mean_terms(self) -> dict[str, float]:
        """Mean of each term of the loss over the epoch's steps."""
        return self._per_step(self.epoch_terms)

    def mean_gradients(self) -> dict[str, float]:
        """Mean of each figure of the terms' gradients over the epoch's steps; empty where none are recorded."""
        return self._per_step(self.epoch_gradients)

    def _per_step(self, totals: Mapping[str, Any]) -> dict[str, float]:
        steps = max(self.trainer.num_training_batches, 1)
        return {name: float(total) / steps for name, total in totals.items()}


class AtomicCheckpointIO(CheckpointIO):
    """Resume files that are whole or not there, and are read without unpickling arbitrary objects."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        # Serialised in memory first: torch reports a full disk as a RuntimeError of its own.
        buffer = io.BytesIO()
        torch.save(checkpoint, buffer)
        with atomic(Path(path)) as temporary:
            temporary.write_bytes(buffer.getbuffer())

    def load_checkpoint(
        self, path: Any, map_location: Any = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        check_regular(Path(path))
        try:
            return torch.load(path, map_location=map_location or "cpu", weights_only=True)
        except Exception as error:
            raise UserError(
                f"{path} is not a resume file of this engine ({type(error).__name__}); delete it, or train anew"
            ) from error

    def remove_checkpoint(self, path: Any) -> None:
        Path(path).unlink(missing_ok=True)


def whole(trainer: pl.Trainer) -> AbstractContextManager[None]:
    """While it lasts the first process's model has all columns, also where several processes divide them."""
    strategy = trainer.strategy
    return strategy.whole() if isinstance(strategy, ColumnsStrategy) else nullcontext()


def on_leader(trainer: pl.Trainer, act: Callable[[], Any]) -> Any:
    """What `act` gives in the first process, which alone calls it; all others wait, and share its errors."""
    result = None
    if trainer.is_global_zero:
        try:
            result = act()
        except UserError as error:
            result = error
    result = trainer.strategy.broadcast(result)
    if isinstance(result, Exception):
        raise result
    return result


class KeepBest(pl.Callback):
    """Validates every `eval_every` epochs, keeps the best epoch's weights, and stops when patience runs out. Without
    validation all epochs are trained, and the last one's weights are kept.

    Weights and history are written before the next epoch begins, and a resume file after them, unless `WRITE_EVERY`
    seconds of epochs and validation have not passed since: then the best weights wait in memory. The last epoch is
    always written.

    Of several processes the first validates and writes; the others take its word, so that all stop together."""

    def __init__(self, folder: Path, validate: Validate | None):
        self.folder, self.validate = folder, validate
        self.best, self.best_epoch, self.waited = -math.inf, -1, 0
        self.history: list[dict[str, float]] = []
        self.started, self.unkept, self.due = 0.0, math.inf, True
        self.unwritten: dict[str, torch.Tensor] | None = None

    def state_dict(self) -> dict[str, Any]:
        names = ("best", "best_epoch", "waited", "history")
        return {name: getattr(self, name) for name in names}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for name, value in state.items():
            setattr(self, name, value)

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        assert isinstance(module, TrainingModule)
        # A run killed between its last epoch and its test has nothing left to train.
        trainer.should_stop = trainer.should_stop or self.waited >= module.settings.patience

    def on_train_epoch_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        self.started = time.perf_counter()

    def on_train_epoch_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        assert isinstance(module, TrainingModule)
        epoch, settings = trainer.current_epoch, module.settings
        row = {"epoch": epoch, "seconds": time.perf_counter() - self.started, **module.mean_terms()}
        row |= module.mean_gradients()
        if not all(math.isfinite(value) for value in row.values()):
            raise UserError(f"the loss is not finite in epoch {epoch}: {row}; lower learning_rate")
        self.history.append(row)
        judged = (epoch + 1) % settings.eval_every == 0 or epoch + 1 == settings.max_epochs
        if self.validate is None or judged:
            with whole(trainer), module.averaged():
                better = self._judge(trainer, module, row) if self.validate else True
                self.best_epoch = epoch if better else self.best_epoch
                self._keep(trainer, module, better)
        else:
            self._keep(trainer, module, False)

    def _judge(self, trainer: pl.Trainer, module: TrainingModule, row: dict[str, float]) -> bool:
        """Validate the epoch of `row`; whether it is the best so far."""
        settings = module.settings
        row.update(on_leader(trainer, lambda: self._validated(module)))
        if trainer.logger:
            module.log_dict({name: float(row[name]) for name in row if name != "epoch"})
        better = row[settings.monitor] > self.best
        self.best, self.waited = max(self.best, row[settings.monitor]), 0 if better else self.waited + 1
        trainer.should_stop = trainer.should_stop or self.waited >= settings.patience
        return better

    def _keep(self, trainer: pl.Trainer, module: TrainingModule, better: bool) -> None:
        """Write weights and history, or keep the weights in memory until it is time to."""
        last = trainer.should_stop or trainer.current_epoch + 1 == module.settings.max_epochs

        def write() -> bool:
            self.unkept += time.perf_counter() - self.started
            due = last or self.unkept >= WRITE_EVERY
            if better:
                arrays = module.model.arrays()
                self.unwritten = arrays if due else {name: array.clone() for name, array in arrays.items()}
            if due:
                self._write(module.model)
            return due

        self.due = on_leader(trainer, write)

    def _write(self, model: Model) -> None:
        if self.unwritten is not None:
            save_arrays(self.unwritten, model, self.folder)
        self.unwritten = None
        write_text(self.folder / HISTORY_FILE, pd.DataFrame(self.history).to_csv(index=False))
        self.unkept = 0.0

    def on_train_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        # Another callback may have ended the training after an epoch that was not written.
        assert isinstance(module, TrainingModule)
        if not self.due:
            on_leader(trainer, lambda: self._write(module.model))

    def _validated(self, module: TrainingModule) -> dict[str, float]:
        module.model.eval()
        assert self.validate is not None
        figures = {module.settings.monitor: self.validate(module.model)}
        if module.settings.diagnostics:
            figures |= diagnosed(module.model, module.seed)
        module.model.train()
        return figures


class ResumeFile(pl.callbacks.ModelCheckpoint):
    """Lightning's checkpoint, after the epochs that `keeper` wrote."""

    def __init__(self, folder: Path, keeper: KeepBest):
        super().__init__(
            folder,
            filename=Path(RESUME_FILE).stem,
            save_on_train_epoch_end=True,
            every_n_epochs=1,
            enable_version_counter=False,
        )
        self._keeper = keeper

    def on_train_epoch_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        if self._keeper.due:
            super().on_train_epoch_end(trainer, module)


@torch.no_grad()
def diagnosed(model: Model, seed: int) -> dict[str, float]:
    """`embedding_diagnostics` of the model's vectors, by name with embedding_ before it; the same users, items
    and pairs in every epoch."""
    csr, vectors = model.data.interactions.tocoo(), model()
    users, items = (torch.from_numpy(ids.astype("int64")) for ids in csr.coords)
    pairs, rows = sample((users, items), DIAGNOSED, torch.Generator().manual_seed(seed))
    # A loss may have terms of the same names.
    figures = embedding_diagnostics(vectors.users, vectors.items, pairs, model.modality_vectors(), rows)
    return {f"embedding_{name}": value for name, value in figures.items()}


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
        settings = settings.at_scale(visited(model.data, settings.sample_by))
    if settings.weight_average:
        _check_average(model, distributed)
    keeper = KeepBest(folder, validate)
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
    if trainer.is_global_zero and validate and type(model).calibrate is not Model.calibrate:
        best = _calibrated(model, folder, validate)
    seconds = [row["seconds"] for row in keeper.history]
    chosen = {"best_epoch": keeper.best_epoch, "best": best} if validate else {}
    used = {"batch_size": settings.batch_size, "learning_rate": settings.learning_rate}
    return chosen | {"epochs": len(keeper.history), "train_epoch_median": statistics.median(seconds)} | used


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
