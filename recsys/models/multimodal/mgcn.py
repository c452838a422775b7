"""MGCN: purified modality views beside the behaviour view, fused by what the behaviour prefers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn.functional import embedding

from recsys.coldstart.cold_items import ColdItems, absent
from recsys.datasets.dataset import Modality
from recsys.encoders.content import ContentRows
from recsys.encoders.lightgcn import lightgcn
from recsys.encoders.linear import linear
from recsys.graphs.bipartite import normalised_interactions
from recsys.graphs.operator import SparseOperator
from recsys.inputs.content import choose
from recsys.inputs.sampler import Batch
from recsys.inputs.training_data import TrainingData
from recsys.models.base import Model, Vectors, triple_scores
from recsys.objectives.contrastive.infonce import infonce
from recsys.objectives.l2 import l2
from recsys.objectives.ranking.bpr import bpr
from recsys.settings import Settings, setting


class MGCNSettings(Settings):
    width: int = setting(64, "width of the vectors", low=1, high=4096, search=[64, 96, 128])
    layers: int = setting(2, "propagations over the bipartite graph", low=0, high=10, search=(1, 4))
    item_layers: int = setting(1, "propagations over the item graphs", low=1, high=5, search=[1, 2, 3])
    k: int = setting(
        10, "nearest items in the item graphs, itself included", low=2, high=1000, search=(5, 30)
    )
    contrast: float = setting(0.01, "weight of the two InfoNCE terms", low=0, search=(1e-3, 0.3), log=True)
    temperature: float = setting(
        0.2, "temperature of InfoNCE", low=0.01, high=10, search=(0.1, 1.0), log=True
    )
    reg: float = setting(
        1e-4, "weight of the L2 penalty on a batch's vectors", low=0, search=(1e-6, 1e-1), log=True
    )
    modalities: list[str] = setting([], "modalities to read; empty: all of them")


class Views(NamedTuple):
    """Vectors of some users or items, row by row.

    Attributes:
        behaviour: (n, d).
        modal: one (n, d) for each modality.
        absent: (n, M) bool, True where an item lacks the modality; None for users.
    """

    behaviour: Tensor
    modal: list[Tensor]
    absent: Tensor | None = None

    def rows(self, ids: Tensor) -> Views:
        """The same of the rows `ids`."""
        absent = None if self.absent is None else self.absent[ids]
        return Views(embedding(ids, self.behaviour), [embedding(ids, m) for m in self.modal], absent)


class MGCN(Model):
    """A behaviour view and one view a modality, purified by the behaviour and fused by its preferences.

    "Multi-View Graph Convolutional Network for Multimedia Recommendation", Yu et al., MM 2023,
    arXiv 2308.03588. Item i with ID row e_i and features x_m:

        purifier   z_m = e_i * sigmoid(W2_m (W1_m x_m + b1_m) + b2_m)
        views      behaviour: LightGCN; E_m = S_m^L z_m for items, E_m = D_u^-1/2 R D_i^-1/2 E_m for users,
                   S_m the k-NN graph of the modality (edges 1, symmetrically normalised)
        fuser      a = softmax_m(q . tanh(W E_m + b)),  common = sum_m a_m E_m,
                   side = (common + sum_m sigmoid(P_m behaviour + c_m) * (E_m - common)) / (M + 1)
        output     behaviour + side
        L = BPR + contrast (InfoNCE(side_i, behaviour_i) + InfoNCE(side_u, behaviour_u)) + reg l2

    the InfoNCE over the batch's rows. As in the authors' code, edges weigh 1 and the fuser divides by M + 1.

    Departures: raw features are scaled to unit rows and stay as they are (the code trains them too); item graphs
    join warm items only; an item that lacks a modality has a zero view there and no attention. The fuser
    works row by row, so training runs it on the batch's rows alone.

    A cold item takes e_i and its behaviour view from its k - 1 nearest training items by content; its modality
    views are the mean of its own purified features and those items' views, as the item graphs would have it.
    """

    Settings = MGCNSettings
    paper = (
        "Multi-View Graph Convolutional Network for Multimedia Recommendation, ACM MM 2023, arXiv 2308.03588"
    )
    train_defaults: ClassVar = {"decay": 0.96 ** (1 / 50)}
    reads_content = True
    ranks_cold_items = True

    def __init__(self, settings: MGCNSettings, data: TrainingData, seed: int):
        super().__init__(settings, data, seed)
        self.modalities = choose(data.modalities, settings.modalities, "MGCN")
        graph = data.graph("bipartite", normalised_interactions(data.interactions), "users", "items")
        self.propagation = SparseOperator(graph)
        self.table("user_table", data.n_users, settings.width)
        self.table("item_table", data.n_items, settings.width)
        warm = np.flatnonzero(data.warm_items)
        self.register_buffer("warm", torch.from_numpy(warm), persistent=False)
        self.content, self.graphs = nn.ModuleList(), nn.ModuleList()
        for name, modality in self.modalities.items():
            graph = data.neighbour_graph(name, settings.k)
            self.graphs.append(SparseOperator(graph[:, warm]))
            self.content.append(ContentRows(modality, warm))
        self.register_buffer("absent", absent(self.modalities), persistent=False)
        self._layers()
        self.cold = ColdItems(data, self.modalities, settings.k - 1)

    def _layers(self) -> None:
        width, generator = self.settings.width, self.init_generator
        self.project = nn.ModuleList(linear(m.width, width, generator) for m in self.modalities.values())
        self.purify = nn.ModuleList(linear(width, width, generator) for _ in self.modalities)
        self.prefer = nn.ModuleList(linear(width, width, generator) for _ in self.modalities)
        self.query = nn.Sequential(
            linear(width, width, generator), nn.Tanh(), linear(width, 1, generator, bias=False)
        )

    def _purified(self, identity: Tensor, content: nn.ModuleList) -> list[Tensor]:
        parts = zip(content, self.project, self.purify, strict=True)
        return [identity * torch.sigmoid(purify(rows(project))) for rows, project, purify in parts]

    def _views(self) -> tuple[Views, Views]:
        """Users' and items' views; those of cold items are zero."""
        s = self.settings
        users, items = lightgcn(self.propagation, self.user_table, self.item_table, s.layers)
        modal = self._purified(embedding(self.warm, self.item_table), self.content)
        modal = [graph @ rows for graph, rows in zip(self.graphs, modal, strict=True)]
        for _ in range(s.item_layers - 1):
            modal = [graph @ rows[self.warm] for graph, rows in zip(self.graphs, modal, strict=True)]
        user_modal = (self.propagation @ torch.cat(modal, 1)).split(s.width, 1)
        return Views(users, list(user_modal)), Views(items, modal, self.absent)

    def _side(self, views: Views) -> Tensor:
        """(n, d): the modality views fused as the behaviour prefers."""
        logits = torch.cat([self.query(rows) for rows in views.modal], 1)
        if views.absent is not None:
            logits = logits.masked_fill(views.absent, torch.finfo(logits.dtype).min)
        weights = logits.softmax(1)
        common = sum(rows * weights[:, m : m + 1] for m, rows in enumerate(views.modal))
        total = common
        for m, (rows, prefer) in enumerate(zip(views.modal, self.prefer, strict=True)):
            own = torch.sigmoid(prefer(views.behaviour)) * (rows - common)
            total = total + (own if views.absent is None else own * ~views.absent[:, m : m + 1])
        return total / (len(views.modal) + 1)

    def _vectors(self, views: Views) -> Tensor:
        return views.behaviour + self._side(views)

    def forward(self) -> Vectors:
        users, items = self._views()
        vectors = self._vectors(items)
        if len(self.cold):
            vectors = self.cold.put(vectors, self._new_items(self.cold.features, self.cold.graph, items))
        return Vectors(self._vectors(users), vectors)

    def modality_vectors(self) -> dict[str, Tensor]:
        return dict(zip(self.modalities, self._views()[1].modal, strict=True))

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        s = self.settings
        user_views, item_views = self._views()
        users, items = user_views.rows(batch.users), item_views.rows(batch.positives)
        user_side, item_side = self._side(users), self._side(items)
        negatives = self._vectors(item_views.rows(batch.negatives.flatten()))
        rows = (
            users.behaviour + user_side,
            items.behaviour + item_side,
            negatives.view(*batch.negatives.shape, -1),
        )
        contrast = infonce(item_side, items.behaviour, s.temperature)
        contrast = contrast + infonce(user_side, users.behaviour, s.temperature)
        return {"bpr": bpr(*triple_scores(*rows)), "contrast": s.contrast * contrast, "l2": s.reg * l2(*rows)}

    def _new_items(self, features: Mapping[str, Modality], graph, items: Views) -> Tensor:
        features = {name: features[name] for name in self.modalities}
        attach, k = self.cold.neighbours.attach, self.settings.k
        content = nn.ModuleList(ContentRows(m) for m in features.values()).to(items.behaviour.device)
        own = self._purified(attach(graph, self.item_table), content)
        missing = absent(features).to(items.behaviour.device)
        modal = [
            ((rows + (k - 1) * attach(graph, theirs)) / k).masked_fill(missing[:, m : m + 1], 0)
            for m, (rows, theirs) in enumerate(zip(own, items.modal, strict=True))
        ]
        return self._vectors(Views(attach(graph, items.behaviour), modal, missing))

    @torch.no_grad()
    def encode_items(self, content: Mapping[str, Modality], attributes: pd.DataFrame | None = None) -> Tensor:
        return self._new_items(content, self.cold.neighbours.graph(content), self._views()[1])
