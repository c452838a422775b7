"""MGCN: purified modality views beside the behaviour view, fused by what the behaviour prefers."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np
import pandas as pd
import scipy.sparse as sp
import torch
from torch import Tensor, nn
from torch.nn.functional import embedding

from recsys.coldstart.cold_items import ColdItems, absent
from recsys.coldstart.scale import ColdScale, cold_scale_setting
from recsys.datasets.dataset import Modality
from recsys.encoders.backbone import Backbone, backbone_options_setting, backbone_setting
from recsys.encoders.content import ItemContent
from recsys.encoders.fusion import Fusion, fusion_setting, make_fusion
from recsys.encoders.linear import linear
from recsys.encoders.modality_graphs import ModalityGraphs, join_views, read_by_users
from recsys.graphs.operator import SparseOperator
from recsys.inputs.content import choose
from recsys.inputs.sampler import Batch
from recsys.inputs.training_data import TrainingData
from recsys.models.base import Model, Published, Vectors, triple_scores
from recsys.models.loss_terms import MODALITY, LossTerms, NodeViews, pair_views
from recsys.objectives.l2 import l2
from recsys.objectives.ranking.bpr import bpr
from recsys.objectives.terms import ObjectiveSettings, Term, objectives_setting
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
    features: Literal["unit", "trained"] = setting(
        "unit", "rows of unit length, or raw ones that are trained too, as in the published code"
    )
    fusion: Fusion = fusion_setting("attention")
    modalities: list[str] = setting([], "modalities to read; empty: all of them")
    backbone: str = backbone_setting()
    backbone_options: dict[str, Any] = backbone_options_setting()
    calibrate_cold_scale: ColdScale = cold_scale_setting()
    objectives: ObjectiveSettings = objectives_setting()


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
                   S_m the k-NN graph of the modality (weights: cosines, symmetrically normalised)
        fuser      a = softmax_m(q . tanh(W E_m + b)),  common = sum_m a_m E_m,
                   side = (common + sum_m sigmoid(P_m behaviour + c_m) * (E_m - common)) / (M + 1)
        output     behaviour + side
        L = BPR + contrast (InfoNCE(side_i, behaviour_i) + InfoNCE(side_u, behaviour_u)) + reg l2

    the InfoNCE over the batch's rows. As in both published codes, the authors' and MMRec's, an edge weighs the cosine
    and the fuser divides by M + 1. With edges of weight 1 NDCG@20 was as high on tiktok (0.0452 to 0.0451) and lower on
    ml-100k (0.0731 to 0.0759; three seeds).

    Departures: raw features are scaled to unit rows and stay as they are (the code trains them too: `features`); item
    graphs join warm items only, by positive cosines; an item that lacks a modality has a zero view there and no
    attention. The fuser works row by row, so training runs it on the batch's rows alone.

    A cold item takes e_i and its behaviour view from its k - 1 nearest training items by content; its modality
    views are the mean of its own purified features and those items' views.
    """

    Settings = MGCNSettings
    whole_graph = True
    paper = (
        "Multi-View Graph Convolutional Network for Multimedia Recommendation, ACM MM 2023, arXiv 2308.03588"
    )
    published = Published(
        "github.com/demonph10/MGCN d080d5a147",
        {"features": "trained", "monitor": "recall@20", "patience": 11},
    )
    train_defaults: ClassVar = {"decay": 0.96 ** (1 / 50)}
    reads_content = True
    ranks_cold_items = True
    views: ClassVar = dict.fromkeys(("users", "items"), ("behaviour", MODALITY, "fused"))
    usual_views = ("fused", "behaviour")
    absent: Tensor

    def __init__(self, settings: MGCNSettings, data: TrainingData, seed: int):
        super().__init__(settings, data, seed)
        self.modalities = choose(data.modalities, settings.modalities, "MGCN")
        self.propagation = SparseOperator(data.bipartite_graph())
        self.add_id_tables(settings.width)
        warm = np.flatnonzero(data.warm_items)
        graphs = [data.neighbour_graph(name, settings.k, weight="cosine") for name in self.modalities]
        self.graphs = ModalityGraphs(graphs, warm)
        self.content = ItemContent(self.modalities, warm, settings.features)
        self.register_buffer("absent", absent(self.modalities), persistent=False)
        self._layers()
        self.cold = ColdItems(data, self.modalities, settings.k - 1)
        self.encoder = Backbone(
            settings.backbone, settings.backbone_options, settings.width, settings.layers, self.init_generator
        )
        contrast = Term(
            objective="infonce",
            views=["fused", "behaviour"],
            nodes="both",
            weight=settings.contrast,
            arguments={"temperature": settings.temperature},
        )
        self.terms = LossTerms(self, {"contrast": contrast})

    def _layers(self) -> None:
        width, generator = self.settings.width, self.init_generator
        self.project = self.content.layers(width, generator)
        self.purify = nn.ModuleList(linear(width, width, generator) for _ in self.modalities)
        self.prefer = nn.ModuleList(linear(width, width, generator) for _ in self.modalities)
        self.fuse = make_fusion(self.settings.fusion, len(self.modalities), width, generator)

    def _purified(self, identity: Tensor, content: ItemContent) -> list[Tensor]:
        projected = zip(content.project(self.project), self.purify, strict=True)
        return [identity * torch.sigmoid(purify(rows)) for rows, purify in projected]

    def _views(self) -> tuple[Views, Views]:
        """Users' and items' views; those of cold items are zero."""
        users, items = self.encoder(self.propagation, self.user_table, self.item_table)
        modal = self._purified(embedding(self.graphs.warm, self.item_table), self.content)
        modal = self.graphs(modal, self.settings.item_layers)
        return Views(users, read_by_users(self.propagation, modal)), Views(items, modal, self.absent)

    def _side(self, views: Views) -> Tensor:
        """(n, d): the modality views fused as the behaviour prefers."""
        total = common = self.fuse(views.modal, views.absent)
        for number, (rows, prefer) in enumerate(zip(views.modal, self.prefer, strict=True)):
            own = torch.sigmoid(prefer(views.behaviour)) * (rows - common)
            total = total + (own if views.absent is None else own * ~views.absent[:, number : number + 1])
        return total / (len(views.modal) + 1)

    def _vectors(self, views: Views) -> Tensor:
        return views.behaviour + self._side(views)

    def forward(self) -> Vectors:
        users, items = self._views()
        placed = self.cold.put(self._vectors(items), partial(self._from_content, items))
        return Vectors(self._vectors(users), placed)

    def modality_vectors(self) -> dict[str, Tensor]:
        return dict(zip(self.modalities, self._views()[1].modal, strict=True))

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        user_views, item_views = self._views()
        # A batch meets some users and many items several times: each is fused and contrasted once, and counted.
        user_ids, of_users, user_counts = batch.users.unique(return_inverse=True, return_counts=True)
        both = torch.cat([batch.positives, batch.negatives.flatten()])
        item_ids, of_items = both.unique(return_inverse=True)
        users, items = user_views.rows(user_ids), item_views.rows(item_ids)
        user_side, item_side = self._side(users), self._side(items)
        own, others = embedding(of_items, items.behaviour + item_side).split(
            [len(batch.positives), batch.negatives.numel()]
        )
        rows = (
            embedding(of_users, users.behaviour + user_side),
            own,
            others.view(*batch.negatives.shape, -1),
        )
        places, item_counts = of_items[: len(own)].unique(return_counts=True)
        taken, ids = items.rows(places), item_ids[places]
        side = embedding(places, item_side)
        views = {
            "users": self._offered("users", user_views, users, user_side, user_ids, user_counts),
            "items": self._offered("items", item_views, taken, side, ids, item_counts),
            "pairs": pair_views(lambda: rows[0], lambda: rows[1]),
        }
        return {
            "bpr": bpr(*triple_scores(*rows)),
            **self.terms(views),
            "l2": self.settings.reg * l2(*rows),
        }

    def _offered(
        self, noun: str, every: Views, views: Views, side: Tensor, ids: Tensor, counts: Tensor | None
    ) -> NodeViews:
        """What terms of the loss may compare: of a batch's nodes, whose views are fused already, or of others."""
        if (rows := self.terms.rows(noun, ids)) is not ids:
            ids, views, counts = rows, every.rows(rows), None
            side = self._side(views)
        modal = dict(zip(self.modalities, views.modal, strict=True))
        held = {} if views.absent is None else dict(zip(self.modalities, (~views.absent).T, strict=True))
        offered = {"behaviour": views.behaviour, "fused": side, **modal}
        return NodeViews(offered, ids=ids, present=held, counts=counts)

    def _from_content(self, items: Views, content: Mapping[str, Modality], graph: sp.csr_array) -> Tensor:
        average, rows = partial(self.cold.average, graph), self.content.of(content)
        own = self._purified(average(self.item_table), rows)
        modal = join_views(own, items.modal, average, self.settings.k, rows.absent)
        return self._vectors(Views(average(items.behaviour), modal, rows.absent))

    @torch.no_grad()
    def encode_items(self, content: Mapping[str, Modality], attributes: pd.DataFrame | None = None) -> Tensor:
        return self.cold.place(content, partial(self._from_content, self._views()[1]))
