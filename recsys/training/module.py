"""What Lightning trains: a Model's loss, its optimiser, and randomness that follows from the epoch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pytorch_lightning as pl
import torch

from recsys.encoders.moving_average import MovingAverage
from recsys.errors import LeakError
from recsys.inputs.sampler import Batch, Sampler, derived_seed
from recsys.inputs.train_settings import TrainSettings
from recsys.models.base import Model
from recsys.training.columns import ColumnsStrategy
from recsys.training.term_gradients import gradient_figures, harmonised_loss, term_gradients


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
