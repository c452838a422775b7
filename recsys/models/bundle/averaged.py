"""Any trained recommender's item vectors, averaged over a set."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from recsys.datasets.dataset import Modality
from recsys.errors import UserError
from recsys.evaluation.scorers import FallbackScorer, VectorScorer
from recsys.graphs.normalise import row_normalise
from recsys.inputs.requests import NewItems, QueryUsers
from recsys.inputs.sampler import Batch
from recsys.inputs.training_data import TrainingData
from recsys.models.base import Model, Vectors
from recsys.settings import Settings, build, setting


class AveragedSettings(Settings):
    of: str = setting("lightgcn", "the recommender whose item vectors are averaged; a trained one")
    options: dict[str, Any] = setting({}, "its settings by name")


class Averaged(Model):
    """score = mean of the given items' vectors . item's vector, the vectors those of a recommender that is trained
    on the rows as if each were a user."""

    Settings = AveragedSettings
    train_defaults = {"learning_rate": 5e-3}  # noqa: RUF012

    def __init__(self, settings: AveragedSettings, data: TrainingData, seed: int):
        from recsys.models import MODELS

        super().__init__(settings, data, seed)
        other = MODELS.get(settings.of)
        if other.closed_form or issubclass(other, Averaged):
            raise UserError(f"averaged needs a recommender that is trained; '{settings.of}' is not")
        self.inner = other(build(other.Settings, settings.options, settings.of), data, seed)
        self.ranks_cold_items = other.ranks_cold_items

    def start_epoch(self, epoch: int, generator: torch.Generator) -> None:
        self.inner.start_epoch(epoch, generator)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        return self.inner.loss(batch)

    def unranked_items(self) -> np.ndarray | None:
        return self.inner.unranked_items()

    def forward(self) -> Vectors:
        items = self.inner().items
        return Vectors(self._means(self.data.interactions, items), items)

    def _means(self, history: sp.csr_array, items: Tensor) -> Tensor:
        known = history
        if (unranked := self.unranked_items()) is not None:
            known = history @ sp.diags_array((~unranked).astype(np.float32))
        return torch.from_numpy(row_normalise(sp.csr_matrix(known)) @ items.detach().cpu().numpy()).to(items)

    @torch.no_grad()
    def user_vectors_for(self, history: sp.csr_array, vectors: Vectors | None = None) -> Tensor:
        return self._means(history, (vectors or self.forward()).items)

    @torch.no_grad()
    def scorer_for(self, query_users: QueryUsers, new_items: NewItems | None = None) -> FallbackScorer:
        history, items = query_users.history, self.inner().items
        users, items = self._means(history, items), self.with_new_items(items, new_items)
        return self.with_popularity(VectorScorer(users, items, self.unranked(new_items)), history, new_items)

    @torch.no_grad()
    def item_vectors_for(self, features: Mapping[str, Modality]) -> Tensor:
        return self.inner.item_vectors_for(features)
