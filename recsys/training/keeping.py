"""What a training leaves on the disk: the best epoch's weights, its history, and a file to resume from."""

from __future__ import annotations

import io
import math
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import pandas as pd
import pytorch_lightning as pl
import torch
from pytorch_lightning.plugins.io import CheckpointIO

from recsys.errors import UserError
from recsys.files import atomic, check_regular, write_text
from recsys.models.base import Model
from recsys.objectives.diagnostics import embedding_diagnostics, sample
from recsys.training.columns import ColumnsStrategy
from recsys.training.filenames import HISTORY_FILE, RESUME_FILE
from recsys.training.module import TrainingModule
from recsys.training.patience import Patience
from recsys.training.weights import save_arrays

WRITE_EVERY = 2.0
"""Seconds between what a training leaves on the disk: writing each of shorter epochs would take longer than they do."""
KEPT = ("best", "best_epoch", "history")
"""What a resume file holds of `KeepBest` beside its patience."""
DIAGNOSED = 2048
"""So many users, items and pairs are looked at by `diagnostics`."""

Validate = Callable[..., float]
"""Scores a model on the validation part: the value that chooses the epoch, higher is better. With the name of a group
besides, by that group's answers."""


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

    def __init__(self, folder: Path, validate: Validate | None, patience: Patience):
        self.folder, self.validate, self.patience = folder, validate, patience
        self.best, self.best_epoch = -math.inf, -1
        self.history: list[dict[str, float]] = []
        self.started, self.unkept, self.due = 0.0, math.inf, True
        self.unwritten: dict[str, torch.Tensor] | None = None

    def state_dict(self) -> dict[str, Any]:
        state = {name: getattr(self, name) for name in KEPT}
        return state | {"patience": self.patience.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        if "patience" not in state:
            raise UserError(
                f"{self.folder / RESUME_FILE} is of an earlier release: remove it, and train anew"
            )
        self.patience.load_state_dict(state["patience"])
        for name in KEPT:
            setattr(self, name, state[name])

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        # A run killed between its last epoch and its test has nothing left to train.
        trainer.should_stop = trainer.should_stop or on_leader(trainer, self.patience.over)

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
        row.update(on_leader(trainer, lambda: self._validated(module)))
        if trainer.logger:
            module.log_dict({name: float(row[name]) for name in row if name != "epoch"})
        better = self.patience.better(float(row[module.settings.monitor]))
        if better:
            self.best = row[module.settings.monitor]
        trainer.should_stop = trainer.should_stop or on_leader(trainer, self.patience.over)
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
