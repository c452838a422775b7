"""AutoRec: an autoencoder of users' rows of items."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import pandas as pd
import scipy.sparse as sp
import torch
from torch import Tensor, nn
from torch.nn.functional import embedding, embedding_bag

from recsys.inputs.sampler import Batch
from recsys.inputs.training_data import TrainingData
from recsys.models.base import Model, Vectors
from recsys.serving.fold_in import Pooled
from recsys.settings import Settings, setting


class AutoRecSettings(Settings):
    width: int = setting(200, "units of the hidden layer", low=1, high=8192, search=[100, 200, 500])
    reg: float = setting(1e-3, "L2 weight of both weight matrices", low=0, search=(1e-5, 1e-1), log=True)
    confidence: float = setting(
        0.0, "extra weight of an interaction in the squared error", low=0, search=[0.0, 1.0, 5.0, 20.0]
    )


class AutoRec(Model):
    """U-AutoRec: r_hat = W g(V r + mu) + b, g the sigmoid, r a user's row of items.

    "AutoRec: Autoencoders Meet Collaborative Filtering", Sedhain, Menon, Sanner and Xie, WWW 2015, equations 1 and 2:
    squared error over the observed entries plus reg / 2 (||W||^2 + ||V||^2). A cold user's row is what they bring
    along; with none the score is that of the empty row.

    Departures, for interactions instead of ratings: an item not taken is a 0 to rebuild, not a gap (the observed
    entries alone are all ones), an interaction's error counts 1 + `confidence` times, Adam replaces resilient
    propagation. Items without training interactions take no part, and score lowest. The paper's better variant,
    over items' rows of users, cannot place a user who arrives after training.
    """

    Settings = AutoRecSettings
    paper = "AutoRec: Autoencoders Meet Collaborative Filtering, WWW 2015"
    train_defaults: ClassVar = {"batch_size": 256, "sample_by": "rows"}
    trains_in_shares = True
    item_weights: Tensor
    warm_ids: Tensor
    place: Tensor

    def __init__(self, settings: AutoRecSettings, data: TrainingData, seed: int):
        super().__init__(settings, data, seed)
        self.table("item_table", data.n_items, settings.width)
        self.table("item_weights", data.n_items, settings.width)
        self.item_bias = nn.Parameter(torch.zeros(data.n_items, 1))
        self.mean = nn.Parameter(torch.zeros(settings.width))
        self.register_buffer("warm_ids", torch.from_numpy(np.flatnonzero(data.warm_items)), persistent=False)
        self.register_buffer("place", torch.from_numpy(data.warm_item_places()), persistent=False)

    def encode(self, history: sp.csr_array) -> Tensor:
        """(n, width): g(V r + mu) of rows of items; those without training interactions do not count."""
        known = sp.csr_array(history @ sp.diags_array(self.data.warm_items.astype(np.float32)))
        known.eliminate_zeros()
        device = self.item_table.device
        taken, offsets = (
            torch.from_numpy(a.astype(np.int64)).to(device) for a in (known.indices, known.indptr)
        )
        if not len(taken):
            return torch.sigmoid(self.mean).expand(history.shape[0], -1)
        return torch.sigmoid(embedding_bag(taken, self.item_table, offsets[:-1], mode="sum") + self.mean)

    def forward(self) -> Vectors:
        return self._vectors(self.encode(self.data.interactions))

    def _vectors(self, hidden: Tensor) -> Vectors:
        items = torch.cat([self.item_weights, self.item_bias], 1)
        return Vectors(torch.cat([hidden, torch.ones_like(hidden[:, :1])], 1), items)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        settings, rows = self.settings, self.data.interactions[batch.users.cpu().numpy()]
        weights, read = embedding(self.warm_ids, self.item_weights), embedding(self.warm_ids, self.item_table)
        made = self.encode(rows) @ weights.T + embedding(self.warm_ids, self.item_bias).T
        users, items = (torch.from_numpy(ids.astype(np.int64)).to(made.device) for ids in rows.nonzero())
        taken = made[users, self.place[items]]
        # (r_hat - r)^2 summed: all as if r were 0, then what the ones make of it.
        error = (
            made.square().sum() + ((1 + settings.confidence) * (taken - 1).square() - taken.square()).sum()
        )
        norms = weights.square().sum() + read.square().sum()
        return {"error": error / len(batch.users), "norm": settings.reg / 2 * norms}

    @torch.no_grad()
    def encode_users(
        self, history: sp.csr_array, attributes: pd.DataFrame | None = None, vectors: Vectors | None = None
    ) -> Tensor:
        return self._vectors(self.encode(history)).users

    @torch.no_grad()
    def user_part(self, vectors: Vectors) -> Pooled:
        table, mean = self.item_table.cpu().numpy(), self.mean.cpu().numpy()
        known = self.data.warm_items.astype(np.float32)
        return Pooled(table, known, "sum", np.ones_like(mean), mean, mean, [], [], ["sigmoid"], one=True)
