"""Content-KNN: items whose content resembles what the user took."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp
import torch

from recsys.content import choose, unit_rows
from recsys.data import TrainingData
from recsys.datasets.dataset import Modality
from recsys.errors import UserError, nearest
from recsys.evaluation.scorers import FallbackScorer, HistoryScorer, SumScorer, VectorScorer
from recsys.graphs.knn import knn
from recsys.models.base import Model
from recsys.settings import Settings, setting


class ContentKNNSettings(Settings):
    modalities: list[str] = setting([], "modalities to read; empty: all of them")
    weights: dict[str, float] = setting({}, "weight of a modality's similarity; 1 where it is not named")
    k: int = setting(0, "nearest items kept of each item; 0: all", low=0, high=10_000, search=(10, 1000))


class ContentKNN(Model):
    """A user's score of an item: the weighted sum over modalities of its cosines to the user's items.

    The floor that a multimodal model must pass on cold items. With k = 0 every similarity counts, and the sum
    is taken through the user's summed content, so that no items-by-items matrix exists; with k > 0 only each
    candidate's k nearest training items count (many scores are then zero: ties count as what they are worth
    on average). A user without interactions gets the popularity ranking.
    """

    Settings = ContentKNNSettings
    closed_form = True
    ranks_cold_items = True

    def __init__(self, settings: ContentKNNSettings, data: TrainingData, seed: int):
        super().__init__(settings, data, seed)
        self.modalities = choose(data.modalities, settings.modalities, "content-KNN")
        for name in settings.weights:
            if name not in self.modalities:
                raise UserError(f"weights names no modality in use: '{name}'{nearest(name, self.modalities)}")

    def fit(self) -> None:
        """Nothing to learn: the content is the model."""

    def unranked_items(self) -> np.ndarray:
        return ~np.any([modality.mask for modality in self.modalities.values()], axis=0)

    def scorer(self, support: sp.csr_array | None = None) -> FallbackScorer:
        history = self.history(support)
        scorers = [self._similarity(m, history) for m in self.modalities.values()]
        weights = [self.settings.weights.get(name, 1.0) for name in self.modalities]
        return self.with_popularity(SumScorer(scorers, weights, self.unranked_items()), history)

    def _similarity(self, modality: Modality, history: sp.csr_array) -> VectorScorer | HistoryScorer:
        content = unit_rows(modality.features)
        if self.settings.k:
            return HistoryScorer(history, sp.csr_array(self._nearest(content, modality.mask).T))
        profile = history @ content
        if sp.issparse(content):
            return HistoryScorer(profile, sp.csr_array(content.T))
        return VectorScorer(torch.from_numpy(profile), torch.from_numpy(content))

    def _nearest(self, content: np.ndarray | sp.csr_array, mask: np.ndarray) -> sp.csr_array:
        """(n_items, n_items) CSR: each item's cosines to its k nearest training items, itself left out."""
        warm = mask & self.data.warm_items
        nearest_items, similarities = knn(
            content, content, self.settings.k, query_mask=mask, base_mask=warm, exclude_self=True
        )
        rows, places = np.nonzero(nearest_items >= 0)
        entries = (similarities[rows, places], (rows, nearest_items[rows, places]))
        return sp.csr_array(entries, shape=(self.data.n_items, self.data.n_items))
