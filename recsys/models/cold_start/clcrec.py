"""CLCRec: content vectors that share as much information as they can with the ID vectors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, embedding, leaky_relu, normalize

from recsys.coldstart.scale import ColdScale, cold_scale_setting
from recsys.datasets.dataset import Modality
from recsys.encoders.content import ItemContent
from recsys.encoders.linear import linear
from recsys.inputs.content import choose
from recsys.inputs.sampler import Batch
from recsys.inputs.training_data import TrainingData
from recsys.models.base import Model, Published, Vectors
from recsys.settings import Settings, setting


class CLCRecSettings(Settings):
    width: int = setting(64, "width of the vectors", low=1, high=4096, search=[64, 128, 256])
    hidden: int = setting(
        256, "hidden width of the content encoder", low=1, high=8192, search=[128, 256, 512]
    )
    balance: float = setting(
        0.5, "weight of ID against content; the rest is user against item", low=0, high=1, search=(0.1, 0.9)
    )
    mixed: float = setting(
        0.5,
        "share of items that users are contrasted with by content instead of ID",
        low=0,
        high=1,
        search=(0.1, 0.9),
    )
    draws: Literal["each", "replaced"] = setting(
        "each",
        "each slot is mixed by itself; or, as in the authors' code, that share of slots is drawn with replacement",
    )
    temperature: float = setting(
        2.0, "temperature of both terms", low=0.01, high=100, search=(0.1, 2.0), log=True
    )
    reg: float = setting(0.1, "weight of the batch's mean norms", low=0, search=(1e-4, 1.0), log=True)
    modalities: list[str] = setting([], "modalities to read; empty: all of them")
    calibrate_cold_scale: ColdScale = cold_scale_setting()


class CLCRec(Model):
    """Two contrastive bounds on mutual information: an item's ID with its content, a user with the user's items.

    "Contrastive Learning for Cold-start Recommendation", Wei et al., MM 2021, arXiv 2107.05315. With ID rows u and
    e_i, f_i = W2 leaky_relu(sum_m W1_m x_m + b1) + b2, a positive i and the negatives j of the batch:

        L_item = -log softmax_i(cos(e_i, f_j) / tau)                over i and its negatives
        L_user = -log softmax_i(u . x_j / tau), x_j = f_j with probability `mixed`, else e_j
        L = balance L_item + (1 - balance) L_user + reg (mean ||u|| + mean ||e||) / 2

    A warm item's vector is e_i, a cold one's f_i. Defaults are those the authors give for Movielens.

    Departures: features are scaled to unit rows, as in the authors' code, but never trained; items without any
    content stay out of L_item and are met by their ID; batches hold 1024 pairs (theirs 256), because a step encodes
    nearly every item whatever its size.
    """

    Settings = CLCRecSettings
    paper = "Contrastive Learning for Cold-Start Recommendation, ACM MM 2021, arXiv 2107.05315"
    published = Published(
        "github.com/weiyinwei/CLCRec 3670e14cb3, its command for Movielens",
        {"draws": "replaced", "batch_size": 256, "monitor": "recall@10", "patience": 7},
    )
    train_defaults: ClassVar = {"batch_size": 1024, "negatives": 128}
    reads_content = True
    ranks_cold_items = True
    present: Tensor
    cold: Tensor

    def __init__(self, settings: CLCRecSettings, data: TrainingData, seed: int):
        super().__init__(settings, data, seed)
        self.modalities = choose(data.modalities, settings.modalities, "CLCRec")
        self.add_id_tables(settings.width)
        self.content = ItemContent(self.modalities)
        present = np.any([m.mask for m in self.modalities.values()], axis=0)
        self.register_buffer("present", torch.from_numpy(present), persistent=False)
        cold = torch.from_numpy(np.flatnonzero(~data.warm_items))
        self.register_buffer("cold", cold, persistent=False)
        self.first = self.content.layers(settings.hidden, self.init_generator, bias=False)
        self.bias = nn.Parameter(torch.zeros(settings.hidden))
        self.second = linear(settings.hidden, settings.width, self.init_generator)
        self.noise = torch.Generator().manual_seed(seed)

    def start_epoch(self, epoch: int, generator: torch.Generator) -> None:
        self.noise = generator

    def _encode(self, content: ItemContent, rows: Tensor | None = None) -> Tensor:
        hidden = sum(content.project(self.first, rows), start=self.bias.new_zeros(()))
        return self.second(leaky_relu(hidden + self.bias))

    def forward(self) -> Vectors:
        items = self.item_table
        if len(self.cold):
            items = items.index_copy(0, self.cold, self._encode(self.content, self.cold))
        return Vectors(self.user_table, items)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        settings = self.settings
        slots = torch.cat([batch.positives.unsqueeze(1), batch.negatives], 1)
        items, place = slots.unique(return_inverse=True)
        encoded, identity = self._encode(self.content, items), embedding(items, self.item_table)
        users, own = embedding(batch.users, self.user_table), embedding(batch.positives, self.item_table)
        present, tau = self.present[slots], settings.temperature
        by_item = dots(normalize(own), embedding(place, normalize(encoded))) / tau
        by_item = by_item.masked_fill(~present, torch.finfo(by_item.dtype).min)
        anchors = present[:, 0]
        mixed = self._drawn(slots.shape).to(users.device)
        # IDs and content in one table, so that each slot is looked up once.
        met = embedding(place + len(items) * (mixed & present), torch.cat([identity, encoded]))
        norms = users.norm(dim=1).mean() + identity.norm(dim=1)[place].mean()
        return {
            "item": settings.balance * (first_of(by_item) * anchors).sum() / anchors.sum().clamp_min(1),
            "user": (1 - settings.balance) * first_of(dots(users, met) / tau).mean(),
            "norm": settings.reg * norms / 2,
        }

    def _drawn(self, shape: torch.Size) -> Tensor:
        """bool: the slots at which users meet an item by its content."""
        share = self.settings.mixed
        if self.settings.draws == "each":
            return torch.rand(shape, generator=self.noise) < share
        chosen = torch.randint(shape.numel(), (int(share * shape.numel()),), generator=self.noise)
        return torch.zeros(shape.numel(), dtype=torch.bool).index_fill_(0, chosen, True).view(shape)

    @torch.no_grad()
    def encode_items(self, content: Mapping[str, Modality], attributes: pd.DataFrame | None = None) -> Tensor:
        return self._encode(self.content.of(content))


def dots(x: Tensor, y: Tensor) -> Tensor:
    """(b, n) products of (b, d) with (b, n, d)."""
    return torch.bmm(y, x.unsqueeze(-1)).squeeze(-1)


def first_of(logits: Tensor) -> Tensor:
    """(b,) -log softmax of each row's first entry."""
    return cross_entropy(logits, logits.new_zeros(len(logits), dtype=torch.long), reduction="none")
