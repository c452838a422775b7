"""Content-KNN: items whose content resembles what the user took."""

from __future__ import annotations

from functools import cached_property

import numpy as np
import scipy.sparse as sp
import torch

from recsys.errors import UserError, nearest
from recsys.evaluation.scorers import HistoryScorer, Scorer, SumScorer, VectorScorer
from recsys.graphs.knn import knn, neighbour_graph
from recsys.inputs.content import below, choose, unit_rows, without_content
from recsys.inputs.requests import NewItems, QueryUsers
from recsys.inputs.training_data import TrainingData
from recsys.models.base import Model
from recsys.serving.parts import Content, Nearest, Part, Sum
from recsys.settings import Settings, setting


class ContentKNNSettings(Settings):
    modalities: list[str] = setting([], "modalities to read; empty: all of them")
    weights: dict[str, float] = setting({}, "weight of a modality's similarity; 1 where it is not named")
    k: int = setting(0, "nearest items kept of each item; 0: all", low=0, high=10_000, search=(10, 1000))


class ContentKNN(Model):
    """A user's score of an item: the weighted sum over modalities of its cosines to the user's items.

    The floor that a multimodal model must pass on cold items. With k = 0 every similarity counts, and the sum
    is taken through the user's summed content, so that no items-by-items matrix exists; with k > 0 only each
    candidate's k nearest training items count (many scores are then zero, and tie). A user without interactions
    gets the popularity ranking.
    """

    Settings = ContentKNNSettings
    paper = "None: the cosine of items' content, the floor for models that read content"
    closed_form = True
    reads_content = True
    ranks_cold_items = True
    exports_vectors = False
    popular_without_history = True
    linear_in_history = True

    def __init__(self, settings: ContentKNNSettings, data: TrainingData, seed: int):
        super().__init__(settings, data, seed)
        self.modalities = choose(data.modalities, settings.modalities, "content-KNN")
        for name in settings.weights:
            if name not in self.modalities:
                raise UserError(f"weights names no modality in use: '{name}'{nearest(name, self.modalities)}")

    def fit(self) -> None:
        """Nothing to learn: the content is the model."""

    def cannot_score(self) -> np.ndarray:
        return without_content(self.modalities, self.data.n_items)

    def served(self, users: QueryUsers) -> Part:
        weights = [self.settings.weights.get(name, 1.0) for name in self.modalities]
        if self.settings.k:
            parts = [Nearest(self.nearest[name], name, self.settings.k) for name in self.modalities]
            return Sum(list(parts), np.array(weights, dtype=np.float32))
        every = list(self.content.values())
        seen = [np.float32(weight) * rows for weight, rows in zip(weights, every, strict=True)]
        return Content(list(self.content), [1.0] * len(every), seen, every)

    def scores(self, users: QueryUsers, new_items: NewItems | None) -> Scorer:
        scorers = [self._similarity(name, users.history, new_items) for name in self.modalities]
        weights = [self.settings.weights.get(name, 1.0) for name in self.modalities]
        return SumScorer(scorers, weights)

    def _similarity(
        self, name: str, history: sp.csr_array, new_items: NewItems | None
    ) -> VectorScorer | HistoryScorer:
        new = None if new_items is None else new_items.modalities[name]
        if self.settings.k:
            near = self.nearest[name]
            if new is not None:
                near = below(near, self._nearest(name, unit_rows(new.features), new.mask, exclude_self=False))
            return HistoryScorer(history, sp.csr_array(near.T))
        content = self.content[name]
        profile = history @ content
        if new is not None:
            content = below(content, unit_rows(new.features))
        if sp.issparse(content):
            return HistoryScorer(profile, sp.csr_array(content.T))
        return VectorScorer(torch.from_numpy(profile), torch.from_numpy(content))

    @cached_property
    def content(self) -> dict[str, np.ndarray | sp.csr_array]:
        """Modality -> (n_items, width) unit rows."""
        return {name: unit_rows(modality.features) for name, modality in self.modalities.items()}

    @cached_property
    def nearest(self) -> dict[str, sp.csr_array]:
        """Modality -> (n_items, n_items): each item's cosines to its k nearest training items, itself left out."""
        return {
            name: self._nearest(name, self.content[name], modality.mask, exclude_self=True)
            for name, modality in self.modalities.items()
        }

    def _nearest(
        self, name: str, rows: np.ndarray | sp.csr_array, mask: np.ndarray, exclude_self: bool
    ) -> sp.csr_array:
        """(n, n_items) CSR: cosines of `rows` to their k nearest training items."""
        warm = self.modalities[name].mask & self.data.warm_items
        base = self.content[name]
        numbers, similarities = knn(
            rows, base, self.settings.k, query_mask=mask, base_mask=warm, exclude_self=exclude_self
        )
        return sp.csr_array(neighbour_graph(numbers, similarities, self.data.n_items))
