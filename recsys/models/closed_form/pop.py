"""Pop: every user is offered what most users took."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
import scipy.sparse as sp
import torch
from torch import Tensor

from recsys.coldstart.popularity import ContentPopularity
from recsys.datasets.dataset import Modality
from recsys.inputs.content import choose, without_content
from recsys.inputs.training_data import TrainingData
from recsys.models.base import Model, Vectors
from recsys.settings import Settings, setting


class PopSettings(Settings):
    power: float = setting(
        1.0,
        "power of the counts; it matters where scores are added up, and changes no ranking of its own",
        low=0.01,
        high=10,
    )
    ridge: float = setting(
        0.0,
        "regularisation of a ridge regression that predicts cold items' counts from content; 0: they score lowest",
        low=0,
    )


class Pop(Model):
    """Items by their number of training interactions; the same list for everybody.

    An item without training interactions scores lowest, for popularity has nothing to say of it; with `ridge` it has
    the count n that its content leads to expect, log(1 + n) being a ridge regression's (`ContentPopularity`).
    """

    Settings = PopSettings
    paper = "None: how often an item was taken"
    closed_form = True
    personal = False
    counts: Tensor

    def __init__(self, settings: PopSettings, data: TrainingData, seed: int):
        super().__init__(settings, data, seed)
        self.reads_content = self.ranks_cold_items = settings.ridge > 0
        self.modalities, self.expected = {}, None
        if self.ranks_cold_items:
            self.modalities = choose(data.modalities, [], "Pop with a ridge regression")
            data.ledger.record("regression", "popularity", items=data.warm_items)
            counts, warm = data.item_counts(), data.warm_items
            self.expected = ContentPopularity(self.modalities, counts, warm, settings.ridge)

    def fit(self) -> None:
        counts = torch.from_numpy(self.data.item_counts()).float().pow(self.settings.power)
        if self.expected is not None:
            cold = torch.from_numpy(~self.data.warm_items)
            counts[cold] = self._expected(self.modalities)[cold]
        self.register_buffer("counts", counts)

    def _expected(self, contents: Mapping[str, Modality]) -> Tensor:
        """(n,) what users' taking these items would come to, by their content."""
        assert self.expected is not None
        ordered = {name: contents[name] for name in self.modalities}
        return self.expected(ordered).expm1().clamp(min=0).pow(self.settings.power)

    def cannot_score(self) -> np.ndarray:
        return ~self.data.warm_items & without_content(self.modalities, self.data.n_items)

    def forward(self) -> Vectors:
        return Vectors(self.counts.new_ones(self.data.n_users, 1), self.counts.unsqueeze(1))

    def encode_items(self, content: Mapping[str, Modality], attributes: pd.DataFrame | None = None) -> Tensor:
        """(n, 1): how popular content leads to expect items to be."""
        if self.expected is None:
            return super().encode_items(content)
        return self._expected(content).unsqueeze(1)

    def encode_users(
        self, history: sp.csr_array, attributes: pd.DataFrame | None = None, vectors: Vectors | None = None
    ) -> Tensor:
        return self.counts.new_ones(history.shape[0], 1)


def popularity_of(data: TrainingData) -> Pop:
    """Popularity, ready to score: what other models are measured against."""
    model = Pop(PopSettings(), data, seed=0)
    model.fit()
    return model
