"""Any trained recommender's item vectors, averaged over a set."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import scipy.sparse as sp
import torch
from torch import Tensor

from recsys.datasets.dataset import Modality
from recsys.errors import UserError
from recsys.graphs.normalise import row_normalise
from recsys.inputs.requests import NewItems, QueryUsers
from recsys.inputs.sampler import Batch
from recsys.inputs.training_data import TrainingData
from recsys.models.base import Model, Vectors
from recsys.serving.fold_in import Pooled
from recsys.settings import Settings, build, setting


class AveragedSettings(Settings):
    of: str = setting("lightgcn", "the trained recommender whose item vectors are averaged")
    options: dict[str, Any] = setting({}, "that recommender's settings, by name")


class Averaged(Model):
    """score = mean of the given items' vectors . item's vector, the vectors those of a recommender that is trained
    on the rows as if each were a user."""

    Settings = AveragedSettings
    paper = "None: the mean of a bundle's item vectors, those of another model"
    train_defaults = {"learning_rate": 5e-3}  # noqa: RUF012
    exports_vectors = False
    popular_without_history = True

    def __init__(self, settings: AveragedSettings, data: TrainingData, seed: int):
        from recsys.models import MODELS

        super().__init__(settings, data, seed)
        other = MODELS.get(settings.of)
        if other.closed_form or issubclass(other, Averaged):
            raise UserError(f"averaged needs a recommender that is trained; '{settings.of}' is not")
        self.inner = other(build(other.Settings, settings.options, settings.of), data, seed)
        self.reads_content, self.ranks_cold_items = self.inner.reads_content, self.inner.ranks_cold_items

    @classmethod
    def source_modules(cls, settings: Mapping[str, Any]) -> tuple[str, ...]:
        from recsys.models import MODELS

        other = MODELS.get(settings.get("of", cls.Settings.model_fields["of"].default))
        return (*super().source_modules(settings), *other.source_modules(settings.get("options", {})))

    def start_epoch(self, epoch: int, generator: torch.Generator) -> None:
        self.inner.start_epoch(epoch, generator)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        return self.inner.loss(batch)

    def cannot_score(self) -> np.ndarray:
        return self.inner.cannot_score()

    def forward(self) -> Vectors:
        items = self.inner().items
        return Vectors(self._means(self.data.interactions, items), items)

    def _means(self, history: sp.csr_array, items: Tensor) -> Tensor:
        cannot_score, known = self.cannot_score(), history
        if cannot_score.any() or not self.ranks_cold_items:
            known = history @ sp.diags_array((~cannot_score).astype(np.float32))
        return torch.from_numpy(row_normalise(sp.csr_matrix(known)) @ items.detach().cpu().numpy()).to(items)

    @torch.no_grad()
    def encode_users(
        self, history: sp.csr_array, attributes: pd.DataFrame | None = None, vectors: Vectors | None = None
    ) -> Tensor:
        return self._means(history, (vectors or self.forward()).items)

    @torch.no_grad()
    def user_part(self, vectors: Vectors) -> Pooled:
        items, known = vectors.items.cpu().numpy(), (~self.cannot_score()).astype(np.float32)
        one, nothing = np.ones_like(items[0]), np.zeros_like(items[0])
        return Pooled(items, known, "mean", one, nothing, nothing, [], [], ["none"], one=False)

    @torch.no_grad()
    def embed(self, users: QueryUsers, new_items: NewItems | None = None) -> tuple[Tensor, Tensor]:
        """Every user, known or not, is the mean of what they bring along."""
        items = self.inner().items
        rows = self._means(users.history, items)
        if new_items is None:
            return rows, items
        return rows, torch.cat([items, self.encode_items(new_items.modalities, new_items.attributes)])

    @torch.no_grad()
    def encode_items(self, content: Mapping[str, Modality], attributes: pd.DataFrame | None = None) -> Tensor:
        return self.inner.encode_items(content, attributes)
