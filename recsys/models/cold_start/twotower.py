"""TwoTower: a user's items and a candidate meet in a space learnt from content alone."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import ClassVar, NamedTuple

import numpy as np
import pandas as pd
import scipy.sparse as sp
import torch
from torch import Tensor, nn
from torch.nn.functional import dropout, embedding

from recsys.datasets.dataset import Modality
from recsys.encoders.content import ContentRows
from recsys.encoders.linear import linear
from recsys.encoders.sphere import unit
from recsys.inputs.content import choose, shares, without_content
from recsys.inputs.requests import NewItems
from recsys.inputs.sampler import Batch
from recsys.inputs.support_query import SupportQuerySampler
from recsys.inputs.training_data import TrainingData
from recsys.models.base import Model, Vectors
from recsys.serving.fold_in import Pooled
from recsys.settings import Settings, setting

HELD = 2
"""A feature that fewer training items than this hold is left out: nothing about other items could be learnt of it."""


class TwoTowerSettings(Settings):
    width: int = setting(256, "width of the vectors", low=1, high=4096, search=[64, 128, 256])
    dropout: float = setting(
        0.6, "share of the towers' weights left out in a step", low=0, high=0.95, search=(0.2, 0.8)
    )
    temperature: float = setting(
        0.07,
        "temperature of the softmax at the start of training; it is learned",
        low=0.001,
        high=10,
        search=(0.03, 0.3),
        log=True,
    )
    modalities: list[str] = setting([], "modalities to read; empty: all of them")
    weights: dict[str, float] = setting({}, "weight of a modality; 1 where it is not named")


class _Layer(NamedTuple):
    weight: Tensor
    bias: None = None


class Tower(nn.Module):
    """(n, width) unit vectors of items: unit(sum_m sqrt(share_m) W_m x_m), x_m the unit rows of modality m."""

    def __init__(self, widths: Mapping[str, int], scales: Mapping[str, float], model: TwoTower):
        super().__init__()
        self.scales = scales
        width, generator = model.settings.width, model.init_generator
        self.layers = nn.ModuleDict(
            {name: linear(inputs, width, generator, bias=False) for name, inputs in widths.items()}
        )

    def forward(self, content: nn.ModuleDict, share: float = 0.0) -> Tensor:
        """The vectors, with a `share` of the weights left out."""
        parts = [
            self.scales[name]
            * content[name](_Layer(dropout(layer.get_parameter("weight"), share, share > 0)))
            for name, layer in self.layers.items()
        ]
        return unit(torch.stack(parts).sum(0))


class TwoTower(Model):
    """s(u, i) = exp(t) unit(sum of k_j over the user's items j) . v_i + b_i, keys k and vectors v from two `Tower`s.

    A user is the items they took, an item is its content: neither has an ID row, so cold and warm ones take the same
    path. What is learnt is which features go together in people's histories. A step gives a part of each
    user's items (`SupportQuerySampler`) and asks for the rest among all warm items:

        L = mean -log softmax_i s(u, i), over the items not given.

    After the set-to-item retrieval towers of "Deep Neural Networks for YouTube Recommendations", Covington et al.,
    RecSys 2016, section 3, with content in place of the embedded IDs. Weights are left out at random one by one, not
    whole features: with thousands of tags and a few holders each, this is what keeps them from being learnt by heart.
    A cold item's b is the warm items' mean. Items without content rank by b alone. A step encodes all warm items: its
    time grows with their features that are not zero, and its memory with `batch_size` times their number.
    """

    Settings = TwoTowerSettings
    paper = "Deep Neural Networks for YouTube Recommendations, RecSys 2016, section 3"
    settings: TwoTowerSettings
    train_defaults: ClassVar = {
        "batch_size": 256,
        "sample_by": "rows",
        "learning_rate": 1.5e-3,
        "patience": 5,
        "max_epochs": 100,
    }
    reads_content = True
    ranks_cold_items = True
    place: Tensor

    def __init__(self, settings: TwoTowerSettings, data: TrainingData, seed: int):
        super().__init__(settings, data, seed)
        self.modalities = choose(data.modalities, settings.modalities, "two-tower")
        share = shares(self.modalities, settings.weights, "two-tower")
        scales = {name: float(np.sqrt(share[name])) for name in self.modalities if share[name]}
        self.modalities = {name: self.modalities[name] for name in scales}
        warm = data.warm_items
        self.held_columns = {name: _learnable(m, warm) for name, m in self.modalities.items()}
        data.ledger.record("vocabulary", "content", None, warm)
        read = self._content(self.modalities)
        self.content = nn.ModuleDict({name: ContentRows(m) for name, m in read.items()})
        self.warm_content = nn.ModuleDict(
            {name: ContentRows(m, np.flatnonzero(warm)) for name, m in read.items()}
        )
        widths = {name: m.width for name, m in read.items()}
        self.keys, self.vectors = Tower(widths, scales, self), Tower(widths, scales, self)
        self.sharpness = nn.Parameter(torch.tensor(-math.log(settings.temperature)))
        self.bias = nn.Parameter(torch.zeros(int(warm.sum())))
        self.register_buffer("place", torch.from_numpy(data.warm_item_places()), persistent=False)
        self.support_query = SupportQuerySampler(data.interactions, None, seed)
        self.noise = torch.Generator().manual_seed(seed)

    def _content(self, modalities: Mapping[str, Modality]) -> dict[str, Modality]:
        """The modalities read, their learnable features alone; an item with no other lacks the modality."""
        return {name: _narrowed(modalities[name], columns) for name, columns in self.held_columns.items()}

    def start_epoch(self, epoch: int, generator: torch.Generator) -> None:
        self.noise = generator

    def _histories(self, keys: Tensor, rows: Tensor, items: Tensor, n: int) -> Tensor:
        """(n, width) unit sums of the keys of each row's items; zero without any."""
        return unit(keys.new_zeros(n, keys.shape[1]).index_add(0, rows, embedding(items, keys)))

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        users, n = batch.users, len(batch.users)
        sizes = n, self.support_query.size(users)
        by_user, by_pair = (torch.rand(count, generator=self.noise).to(users.device) for count in sizes)
        new_users = torch.zeros_like(users, dtype=torch.bool)
        rows, _, items, given = self.support_query(users, new_users, (by_user, by_pair))
        items = self.place[items]
        keys, vectors = self.keys(self.warm_content), self.vectors(self.warm_content, self.settings.dropout)
        histories = self._histories(keys, rows[given], items[given], n)
        scores = self.sharpness.exp() * (histories @ vectors.T) + self.bias
        scores = scores.index_put((rows[given], items[given]), scores.new_tensor(-torch.inf))
        wanted = scores.log_softmax(1)[rows[~given], items[~given]]
        return {"rank": -wanted.sum() / max(len(wanted), 1)}

    def forward(self) -> Vectors:
        return Vectors(self._users(self.data.interactions), self._items(self.content, self.place))

    def _items(self, content: nn.ModuleDict, place: Tensor | None) -> Tensor:
        """(n, width + 1): vectors and, beside them, b: the items' own where `place` numbers them, else the mean."""
        vectors, mean = self.vectors(content), self.bias.mean()
        own = mean.expand(len(vectors)) if place is None else torch.where(place < 0, mean, self.bias[place])
        return torch.cat([vectors, own.unsqueeze(1)], 1)

    def _users(self, history: sp.csr_array) -> Tensor:
        counts = torch.from_numpy(np.diff(history.indptr).astype(np.int64))
        rows = torch.repeat_interleave(torch.arange(len(counts)), counts)
        items = torch.from_numpy(history.indices.astype(np.int64))
        keys = self.keys(self.content)
        vectors = self._histories(keys, rows.to(keys.device), items.to(keys.device), len(counts))
        return torch.cat([self.sharpness.exp() * vectors, vectors.new_ones(len(vectors), 1)], 1)

    def modality_vectors(self) -> dict[str, Tensor]:
        return {name: self.content[name](layer) for name, layer in self.vectors.layers.items()}

    @torch.no_grad()
    def encode_users(
        self, history: sp.csr_array, attributes: pd.DataFrame | None = None, vectors: Vectors | None = None
    ) -> Tensor:
        return self._users(sp.csr_array(history))

    @torch.no_grad()
    def user_part(self, vectors: Vectors) -> Pooled:
        keys = self.keys(self.content).cpu().numpy()
        nothing = np.zeros_like(keys[0])
        gain, known = nothing + self.sharpness.exp().item(), np.ones(len(keys), np.float32)
        return Pooled(keys, known, "unit", gain, nothing, nothing, [], [], ["none"], one=True)

    @torch.no_grad()
    def encode_items(self, content: Mapping[str, Modality], attributes: pd.DataFrame | None = None) -> Tensor:
        rows = {name: ContentRows(modality) for name, modality in self._content(content).items()}
        return self._items(nn.ModuleDict(rows).to(self.bias.device), None)

    def without_content(self, new_items: NewItems) -> np.ndarray:
        return without_content(self._content(new_items.modalities), len(new_items))


def _learnable(modality: Modality, warm: np.ndarray) -> np.ndarray | None:
    """The columns of a sparse modality that at least `HELD` training items hold; None, all, of a dense one."""
    if not sp.issparse(modality.features):
        return None
    rows = sp.csr_array(modality.features)[warm & modality.mask]
    return np.flatnonzero(np.bincount(rows.indices, minlength=rows.shape[1]) >= HELD)


def _narrowed(modality: Modality, columns: np.ndarray | None) -> Modality:
    if columns is None:
        return modality
    features = sp.csr_array(sp.csr_array(modality.features)[:, columns])
    return Modality(features, modality.mask & (np.diff(features.indptr) > 0))
