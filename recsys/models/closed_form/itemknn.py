"""ItemKNN: items that the same users took."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp
import torch

from recsys.evaluation.scorers import HistoryScorer, Scorer
from recsys.graphs.cooccurrence import cooccurrence_graph
from recsys.inputs.requests import NewItems, QueryUsers
from recsys.models.base import Model
from recsys.serving.parts import History, Part
from recsys.settings import Settings, setting


class ItemKNNSettings(Settings):
    k: int = setting(100, "nearest items kept of each item", low=1, high=10_000, search=(10, 1000), log=True)


class ItemKNN(Model):
    """A user's score of an item: the sum of its cosine similarities to the user's items, top k kept.

    "Item-based top-N recommendation algorithms", Deshpande and Karypis, TOIS 2004: cosine of the items'
    columns of R, each candidate's k nearest items, no normalisation of the lists. Items without training
    interactions have no neighbour: they score lowest. A user without interactions gets the popularity ranking.
    """

    Settings = ItemKNNSettings
    paper = "Item-based top-N recommendation algorithms, TOIS 2004"
    closed_form = True
    exports_vectors = False
    popular_without_history = True
    linear_in_history = True
    indptr: torch.Tensor
    indices: torch.Tensor
    similarities: torch.Tensor

    def fit(self) -> None:
        graph = cooccurrence_graph(self.data.interactions, self.settings.k)
        graph = self.data.graph("co-occurrence", graph, "items", "items")
        self.register_buffer("indptr", torch.from_numpy(graph.indptr.astype(np.int64)))
        self.register_buffer("indices", torch.from_numpy(graph.indices.astype(np.int32)))
        self.register_buffer("similarities", torch.from_numpy(graph.data.astype(np.float32)))

    def served(self, users: QueryUsers) -> Part:
        return History(self._weights())

    def scores(self, users: QueryUsers, new_items: NewItems | None) -> Scorer:
        return HistoryScorer(users.history, self._weights())

    def _weights(self) -> sp.csr_array:
        arrays = (self.similarities.cpu().numpy(), self.indices.cpu().numpy(), self.indptr.cpu().numpy())
        return sp.csr_array(sp.csr_array(arrays, shape=(self.data.n_items, self.data.n_items)).T)
