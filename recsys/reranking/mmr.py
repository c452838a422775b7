"""Maximal marginal relevance: relevant items that are unlike those above them."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp

from recsys.evaluation.facts import Facts
from recsys.reranking.base import Reranker, RerankSettings, named
from recsys.settings import setting


class MMRSettings(RerankSettings):
    modality: str = setting("", "modality whose likeness counts; may be left out where there is only one")
    relevance: float = setting(
        0.7,
        "lambda: 1 leaves the order as it is, 0 looks at likeness alone",
        low=0,
        high=1,
        search=(0.0, 1.0),
    )


class MMR(Reranker):
    """The next item is argmax_i lambda s_i - (1 - lambda) max_{j chosen} cos(x_i, x_j).

    "The Use of MMR, Diversity-Based Reranking for Reordering Documents and Producing Summaries", Carbonell and
    Goldstein, SIGIR 1998. s are the user's scores of the candidates, from 0 to 1; x the items' features in one
    modality. An item without the modality is like no other.
    """

    Settings = MMRSettings

    def __init__(self, settings: MMRSettings, facts: Facts):
        super().__init__(settings, facts)
        self.vectors, _ = facts.directions(named("modality", settings.modality, "mmr", facts))

    def width(self) -> int:
        return 1 if sp.issparse(self.vectors) else int(self.vectors.shape[1])

    def begin(self, items: np.ndarray, history: sp.csr_array) -> None:
        self._items = items
        self._likeness: np.ndarray = np.zeros(items.shape)
        self._begun = False
        self._candidates = self.vectors[items.ravel()]

    def gains(self, relevance: np.ndarray) -> np.ndarray:
        weight = self.settings.relevance
        return weight * relevance - (1 - weight) * self._likeness

    def chosen(self, places: np.ndarray) -> None:
        items = self._items[np.arange(len(places)), places]
        n_users, n = self._items.shape
        if sp.issparse(self.vectors):
            rows = self.vectors[np.repeat(items, n)]
            cosines = np.asarray(self._candidates.multiply(rows).sum(axis=1)).reshape(n_users, n)
        else:
            candidates = self._candidates.reshape(n_users, n, -1)
            cosines = np.matmul(candidates, self.vectors[items][:, :, None])[:, :, 0]
        self._likeness = np.maximum(self._likeness, cosines) if self._begun else cosines
        self._begun = True
