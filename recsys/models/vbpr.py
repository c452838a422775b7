"""VBPR: matrix factorisation that also reads the items' content."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from recsys.content import choose, dense_content
from recsys.data import TrainingData
from recsys.datasets.dataset import Modality
from recsys.models.base import Model, Vectors, triple_scores, triples
from recsys.objectives.bpr import bpr
from recsys.objectives.l2 import l2
from recsys.sampling import Batch
from recsys.settings import Settings, setting


class VBPRSettings(Settings):
    width: int = setting(32, "width of the ID and of the content half", low=1, high=2048, search=[16, 32, 64])
    reg: float = setting(
        1e-4, "weight of the L2 penalty on a batch's rows", low=0, search=(1e-6, 1e-1), log=True
    )
    modalities: list[str] = setting([], "modalities to read; empty: all of them")


class VBPR(Model):
    """Score = b_i + beta . f_i + u . e_i + p_u . (E f_i), trained by BPR.

    "VBPR: Visual Bayesian Personalized Ranking from Implicit Feedback", He and McAuley, AAAI 2016,
    arXiv 1510.01784, equations 4 and 6, with the modalities' unit rows side by side as f_i. An item without
    training interactions is scored by its content terms alone: e_i and b_i are left out.
    """

    Settings = VBPRSettings
    ranks_cold_items = True

    def __init__(self, settings: VBPRSettings, data: TrainingData, seed: int):
        super().__init__(settings, data, seed)
        self.modalities = choose(data.modalities, settings.modalities, "VBPR")
        self.register_buffer("content", dense_content(self.modalities), persistent=False)
        self.register_buffer("warm", torch.from_numpy(data.warm_items).float().unsqueeze(1), persistent=False)
        self.table("user_table", data.n_users, 2 * settings.width)
        self.table("item_table", data.n_items, settings.width)
        self.item_bias = torch.nn.Parameter(torch.zeros(data.n_items, 1))
        depth = self.content.shape[1]
        self.table("projection", depth, settings.width)
        self.content_bias = torch.nn.Parameter(torch.zeros(depth, 1))

    def forward(self) -> Vectors:
        ones = self.user_table.new_ones(len(self.user_table), 1)
        return Vectors(
            torch.cat([self.user_table, ones], 1),
            self._items(self.content, self.warm * self.item_table, self.warm * self.item_bias),
        )

    def _items(self, content: Tensor, identity: Tensor, bias: Tensor) -> Tensor:
        return torch.cat([identity, content @ self.projection, bias + content @ self.content_bias], 1)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        vectors = self.forward()
        rows = triples(self.user_table, self.item_table, batch)
        return {
            "bpr": bpr(*triple_scores(*triples(vectors.users, vectors.items, batch))),
            "l2": self.settings.reg * (l2(*rows) + self.projection.square().sum() / len(batch.users)),
        }

    @torch.no_grad()
    def item_vectors_for(self, features: Mapping[str, Modality]) -> Tensor:
        content = dense_content({name: features[name] for name in self.modalities}).to(self.content)
        return self._items(content, content.new_zeros(len(content), self.item_table.shape[1]), 0.0)
