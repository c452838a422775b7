"""BM3: bootstrapped multimodal representations, without negatives."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity, embedding

from recsys.coldstart.cold_items import ColdItems
from recsys.coldstart.scale import ColdScale, cold_scale_setting
from recsys.datasets.dataset import Modality
from recsys.encoders.backbone import Backbone, backbone_options_setting, backbone_setting
from recsys.encoders.content import ItemContent
from recsys.encoders.linear import linear
from recsys.graphs.operator import SparseOperator
from recsys.inputs.content import choose
from recsys.inputs.sampler import Batch
from recsys.inputs.training_data import TrainingData
from recsys.models.base import Model, Published, Vectors
from recsys.models.loss_terms import MODALITY, LossTerms, add_content
from recsys.objectives.terms import ObjectiveSettings, objectives_setting
from recsys.serving.cold import Resembling
from recsys.settings import Settings, setting


class BM3Settings(Settings):
    width: int = setting(64, "width of the vectors", low=1, high=4096, search=[64, 128, 256])
    layers: int = setting(1, "propagations over the bipartite graph", low=0, high=10, search=(1, 2))
    dropout: float = setting(0.5, "share of a target's entries dropped", low=0, high=0.99, search=(0.1, 0.6))
    contrast: float = setting(2.0, "weight of the modality terms", low=0, search=(0.1, 10.0), log=True)
    reg: float = setting(0.1, "weight of the norm of all vectors", low=0, search=(1e-3, 1.0), log=True)
    features: Literal["unit", "trained"] = setting(
        "unit", "rows of unit length, or raw ones that are trained too, as in the published code"
    )
    modalities: list[str] = setting([], "modalities to read; empty: all of them")
    neighbours: int = setting(
        10, "nearest training items that a cold item takes its vector from", low=1, high=1000
    )
    backbone: str = backbone_setting()
    backbone_options: dict[str, Any] = backbone_options_setting()
    calibrate_cold_scale: ColdScale = cold_scale_setting()
    objectives: ObjectiveSettings = objectives_setting()


class BM3(Model):
    """Online vectors predict dropped-out copies of themselves; no item is ever pushed away.

    "Bootstrap Latent Representations for Multi-modal Recommendation", Zhou et al., WWW 2023, arXiv 2207.05969.
    With h the LightGCN vectors (items add their layer-0 row), e_m = W_m x_m + b_m, one linear predictor f,
    h' and e'_m dropped-out copies without gradient, and C(a, b) = 1 - cos(a, b):

        L_rec   = C(f(h_u), h'_i) + C(f(h_i), h'_u)                  over the batch's pairs (u, i)
        L_align = sum_m C(f(e_m), h'_i),  L_mask = sum_m C(f(e_m), e'_m)
        L = L_rec + contrast (L_align + L_mask) + reg (||H_u||_F + ||H_i||_F) / n_items

    and score = f(h_u) . f(h_i). Weights and the unsquared norms are those of the authors' code.

    Departures: raw features stay as they are (the code trains them too, which no new item could follow) and are
    scaled to unit rows (`features`); items that lack a modality are left out of its two means; the norms are over
    warm rows. A cold item's vector is the mean f(h) of its nearest training items by content.
    """

    Settings = BM3Settings
    whole_graph = True
    paper = "Bootstrap Latent Representations for Multi-modal Recommendation, WWW 2023, arXiv 2207.05969"
    published = Published(
        "github.com/enoche/BM3 ef82a33382", {"features": "trained", "monitor": "recall@20", "patience": 21}
    )
    reads_content = True
    ranks_cold_items = True
    views: ClassVar = {"users": ("behaviour", "identity"), "items": ("behaviour", "identity", MODALITY)}
    warm_users: Tensor
    warm_items: Tensor

    def __init__(self, settings: BM3Settings, data: TrainingData, seed: int):
        super().__init__(settings, data, seed)
        self.modalities = choose(data.modalities, settings.modalities, "BM3")
        self.propagation = SparseOperator(data.bipartite_graph())
        self.add_id_tables(settings.width)
        for noun, warm in (("users", data.warm_users), ("items", data.warm_items)):
            self.register_buffer(f"warm_{noun}", torch.from_numpy(warm).unsqueeze(1), persistent=False)
        self.predict = linear(settings.width, settings.width, self.init_generator)
        self.content = ItemContent(self.modalities, None, settings.features)
        self.project = self.content.layers(settings.width, self.init_generator)
        self.cold = ColdItems(data, self.modalities, settings.neighbours)
        self.noise = torch.Generator().manual_seed(seed)
        self.encoder = Backbone(
            settings.backbone, settings.backbone_options, settings.width, settings.layers, self.init_generator
        )
        self.terms = LossTerms(self)

    def start_epoch(self, epoch: int, generator: torch.Generator) -> None:
        self.noise = generator

    def _propagate(self) -> tuple[Tensor, Tensor]:
        users, items = self.encoder(self.propagation, self.user_table, self.item_table)
        return users, items + self.item_table

    def forward(self) -> Vectors:
        users, items = map(self.predict, self._propagate())
        return Vectors(users, self.cold.put(items, lambda _, graph: self.cold.average(graph, items)))

    def modality_vectors(self) -> dict[str, Tensor]:
        parts = zip(self.modalities, self.content, self.project, strict=True)
        return {n: self.predict(content(layer)) * content.present.unsqueeze(1) for n, content, layer in parts}

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        settings = self.settings
        all_users, all_items = self._propagate()
        users, items = embedding(batch.users, all_users), embedding(batch.positives, all_items)
        user_target, item_target = self._target(users), self._target(items)
        pulled = distance(self.predict(users), item_target) + distance(self.predict(items), user_target)
        contrast = []
        for content, project in zip(self.content, self.project, strict=True):
            rows = content(project, batch.positives)
            present = content.present[batch.positives]
            predicted = self.predict(rows)
            apart = distance(predicted, item_target) + distance(predicted, self._target(rows))
            contrast.append((apart * present).sum() / present.sum().clamp_min(1))
        norms = torch.linalg.vector_norm(all_users * self.warm_users)
        norms = norms + torch.linalg.vector_norm(all_items * self.warm_items)
        return {
            "interactions": pulled.mean(),
            "modalities": settings.contrast * torch.stack(contrast).sum(),
            "norm": settings.reg * norms / self.warm_items.sum(),
            **(self._compared(batch, all_users, all_items) if len(self.terms) else {}),
        }

    def _compared(self, batch: Batch, users: Tensor, items: Tensor) -> dict[str, Tensor]:
        of_users = {"behaviour": users, "identity": self.user_table}
        views = self.terms.batch_views(batch, of_users, {"behaviour": items, "identity": self.item_table})
        add_content(views["items"], self.content, self.project)
        return self.terms(views)

    def _target(self, rows: Tensor) -> Tensor:
        """A dropped-out copy that takes no gradient; lengths do not matter to a cosine."""
        drawn = torch.rand(rows.shape, generator=self.noise).to(rows.device)
        return rows.detach() * (drawn >= self.settings.dropout)

    @torch.no_grad()
    def cold_part(self, items: np.ndarray) -> Resembling:
        return self.cold.resembling(self.predict(self._propagate()[1]))

    @torch.no_grad()
    def encode_items(self, content: Mapping[str, Modality], attributes: pd.DataFrame | None = None) -> Tensor:
        items = self.predict(self._propagate()[1])
        return self.cold.place(content, lambda _, graph: self.cold.average(graph, items))


def distance(x: Tensor, y: Tensor) -> Tensor:
    """(b,) 1 - cosine, row by row."""
    return 1 - cosine_similarity(x, y, dim=-1)
