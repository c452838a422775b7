"""VBPR: matrix factorisation that also reads the items' content."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn.functional import embedding

from recsys.coldstart.scale import ColdScale, cold_scale_setting
from recsys.datasets.dataset import Modality
from recsys.encoders.content import ItemContent
from recsys.inputs.content import choose
from recsys.inputs.sampler import Batch
from recsys.inputs.training_data import TrainingData
from recsys.models.base import Model, Vectors, triple_scores
from recsys.models.loss_terms import MODALITY, LossTerms
from recsys.objectives.l2 import l2
from recsys.objectives.ranking.bpr import bpr
from recsys.objectives.terms import ObjectiveSettings, objectives_setting
from recsys.settings import Settings, setting


class VBPRSettings(Settings):
    width: int = setting(
        32, "width of the ID and of the content half", low=1, high=2048, search=[32, 64, 128]
    )
    reg: float = setting(
        1e-4, "weight of the L2 penalty on a batch's rows", low=0, search=(1e-6, 1e-1), log=True
    )
    features: Literal["unit", "raw"] = setting(
        "unit", "rows of unit length, or as they come, as in the published code"
    )
    biases: bool = setting(True, "whether b_i and beta . f_i are part of the score; not in MMRec's code")
    modalities: list[str] = setting([], "modalities to read; empty: all of them")
    calibrate_cold_scale: ColdScale = cold_scale_setting()
    objectives: ObjectiveSettings = objectives_setting()


class VBPR(Model):
    """Score = b_i + beta . f_i + u . e_i + p_u . (E f_i), trained by BPR.

    "VBPR: Visual Bayesian Personalized Ranking from Implicit Feedback", He and McAuley, AAAI 2016,
    arXiv 1510.01784, equations 4 and 6, with the modalities' unit rows side by side as f_i. An item without
    training interactions is scored by its content terms alone: e_i and b_i are left out.
    """

    Settings = VBPRSettings
    whole_graph = True
    paper = "VBPR: Visual Bayesian Personalized Ranking from Implicit Feedback, AAAI 2016, arXiv 1510.01784"
    reads_content = True
    ranks_cold_items = True
    trains_in_shares = True
    views: ClassVar = {"users": ("behaviour", "content"), "items": ("behaviour", MODALITY)}
    warm: Tensor

    def __init__(self, settings: VBPRSettings, data: TrainingData, seed: int):
        super().__init__(settings, data, seed)
        self.modalities = choose(data.modalities, settings.modalities, "VBPR")
        self.content = ItemContent(self.modalities, None, settings.features)
        # One layer gives (E f_i, beta . f_i): side by side, modalities add up to one long f_i.
        self.projections = self.content.layers(settings.width + 1, self.init_generator, bias=False)
        self.register_buffer("warm", torch.from_numpy(data.warm_items).float().unsqueeze(1), persistent=False)
        self.table("user_table", data.n_users, 2 * settings.width)
        self.table("item_table", data.n_items, settings.width)
        self.item_bias = nn.Parameter(torch.zeros(data.n_items, 1), requires_grad=settings.biases)
        self.terms = LossTerms(self)

    def forward(self) -> Vectors:
        ones = self.user_table.new_ones(len(self.user_table), 1)
        items = self._items(self.content, self.warm * self.item_table, self.warm * self.item_bias)
        return Vectors(torch.cat([self.user_table, ones], 1), items)

    def _items(self, content: ItemContent, identity: Tensor, bias: Tensor | float) -> Tensor:
        projected = sum(content.project(self.projections), start=identity.new_zeros(()))
        alone = bias + projected[:, -1:] if self.settings.biases else identity.new_zeros(len(identity), 1)
        return torch.cat([identity, projected[:, :-1], alone], 1)

    def modality_vectors(self) -> dict[str, Tensor]:
        return {name: rows[:, :-1] for name, rows in self.content.by_name(self.projections).items()}

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        # BPR asks for differences of scores alone, and a batch's need nobody else: its items' content is subtracted
        # before it is projected. The sampler draws warm items alone, whose ID rows and biases count.
        size, negatives = len(batch.users), batch.negatives
        items = torch.cat([batch.positives, negatives.flatten()])
        users, rows = embedding(batch.users, self.user_table), embedding(items, self.item_table)
        likes, looks = users.chunk(2, 1)
        own, others = rows[:size], rows[size:].view(*negatives.shape, -1)
        parts = self.content.apart(self.projections, batch.positives, negatives)
        apart = sum(parts, start=rows.new_zeros(()))
        more = (looks.unsqueeze(1) * apart[..., :-1]).sum(-1)
        positive, negative = triple_scores(likes, own, others)
        if self.settings.biases:
            bias = embedding(items, self.item_bias)
            positive = positive + bias[:size]
            negative = negative + (more + apart[..., -1]) + bias[size:].view_as(negatives)
        else:
            negative = negative + more
        shared = sum(layer.get_parameter("weight").square().sum() for layer in self.projections)
        return {
            "bpr": bpr(positive, negative),
            "l2": self.settings.reg * (l2(users, rows) + shared / batch.size),
            **(self._compared(batch) if len(self.terms) else {}),
        }

    def _compared(self, batch: Batch) -> dict[str, Tensor]:
        behaviour, content = self.user_table.chunk(2, 1)
        items = {"behaviour": self.item_table} | self.modality_vectors()
        views = self.terms.batch_views(batch, {"behaviour": behaviour, "content": content}, items)
        ids = views["items"].ids
        absent = self.content.absent[ids]
        views["items"].present |= dict(zip(self.modalities, (~absent).T, strict=True))
        return self.terms(views)

    @torch.no_grad()
    def encode_items(self, content: Mapping[str, Modality], attributes: pd.DataFrame | None = None) -> Tensor:
        rows = self.content.of(content)
        identity = self.item_table.new_zeros(len(rows.absent), self.item_table.shape[1])
        return self._items(rows, identity, 0.0)
