"""MMHCL: collaborative embeddings contrasted with hypergraphs of users and of items."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property, partial
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np
import pandas as pd
import scipy.sparse as sp
import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from recsys.coldstart.cold_items import ColdItems
from recsys.coldstart.neighbours import nearest
from recsys.coldstart.scale import ColdScale, cold_scale_setting
from recsys.datasets.dataset import Modality
from recsys.encoders.backbone import Backbone, backbone_options_setting, backbone_setting
from recsys.encoders.hypergraph import hypergraph
from recsys.encoders.pyg import PYG, PygConvolutions, PygHypergraph
from recsys.errors import UserError
from recsys.graphs.hypergraph import join_hyperedges, propagation, user_hypergraph
from recsys.graphs.knn import neighbour_graph
from recsys.graphs.normalise import inverse_power
from recsys.graphs.operator import SparseOperator
from recsys.inputs.content import choose
from recsys.inputs.sampler import Batch
from recsys.inputs.training_data import TrainingData
from recsys.models.base import Model, Published, Vectors, triple_scores, triples
from recsys.models.loss_terms import LossTerms, NodeViews, pair_views
from recsys.objectives.l2 import l2
from recsys.objectives.ranking.bpr import bpr
from recsys.objectives.terms import Nodes, ObjectiveSettings, Term, objectives_setting
from recsys.serving.cold import Hyperedges, Resembling
from recsys.settings import Settings, setting


class MMHCLSettings(Settings):
    width: int = setting(64, "width of the vectors", low=1, high=4096, search=[64, 96, 128])
    backbone: str = backbone_setting()
    backbone_options: dict[str, Any] = backbone_options_setting()
    hypergraph: str = setting(
        "products", "propagation over the hypergraphs: products with H H^T, or pyg:HypergraphConv"
    )
    hypergraph_options: dict[str, Any] = setting({}, "arguments of a pyg hypergraph's convolution")
    layers: int = setting(2, "propagations over the bipartite graph", low=0, high=10, search=(1, 4))
    user_layers: int = setting(3, "propagations over the user hypergraph", low=1, high=10, search=(1, 4))
    item_layers: int = setting(2, "propagations over the item hypergraph", low=1, high=10, search=(1, 4))
    user_hypergraph: bool = setting(True, "users joined by items: E_uu and the users' contrast")
    item_hypergraph: bool = setting(True, "items joined by content: E_ii and the items' contrast")
    k: int = setting(
        5, "neighbours that a hyperedge is made of, the item included", low=1, high=1000, search=(3, 20)
    )
    temperature: float = setting(0.6, "temperature of InfoNCE", low=1 / 600, search=(0.1, 1.0))
    user_contrast: float = setting(0.03, "weight of the users' InfoNCE", low=0, search=(0.01, 0.3), log=True)
    item_contrast: float = setting(0.07, "weight of the items' InfoNCE", low=0, search=(0.01, 0.3), log=True)
    anchors: int = setting(
        512, "nodes sampled in each step that InfoNCE is averaged over; 0: all nodes", low=0
    )
    reg: float = setting(
        1e-3, "weight of the L2 penalty on a batch's vectors", low=0, search=(1e-5, 1e-1), log=True
    )
    form: Literal["auto", "explicit", "implicit"] = setting("auto", "how H H^T is applied")
    modalities: list[str] = setting([], "modalities to read; empty: all of them")
    neighbours: int = setting(
        10, "nearest training items that a cold item takes its vector from", low=1, high=1000
    )
    calibrate_cold_scale: ColdScale = cold_scale_setting()
    objectives: ObjectiveSettings = objectives_setting()


class State(NamedTuple):
    """What one propagation gives: fused, first- and second-order vectors, and E_ii a layer earlier."""

    users: Tensor
    items: Tensor
    first_users: Tensor
    first_items: Tensor
    second_users: Tensor
    second_items: Tensor
    before: Tensor


class MMHCL(Model):
    """u = u_ui + norm(E_uu), i = i_ui + norm(E_ii); BPR(u . i) + InfoNCE of u with E_uu and of i with E_ii.

    "Multi-Modal Hypergraph Contrastive Learning for Recommendation", arXiv 2504.16576. E_uu and E_ii are
    tables of their own, propagated over users joined by items, D^-1 (R R^T - diagonal), and over items joined
    by the k nearest neighbours of an item in a modality, D^-1/2 H H^T D^-1/2; u_ui and i_ui come from the
    backbone.

    Departures. With `anchors` the mean of InfoNCE is over nodes drawn for each step, against all nodes: an
    unbiased estimate of the same loss, many times faster. Only warm nodes take part in graphs and contrast.
    The backbone ngcf is that of its own paper; ngcf-apart is the code's. A cold item, which the paper does not treat,
    joins the hyperedges of its k nearest warm items for E_ii, and takes the mean of its neighbours' i_ui.
    """

    Settings = MMHCLSettings
    whole_graph = True
    paper = "Multi-Modal Hypergraph Contrastive Learning for Recommendation, arXiv 2504.16576, 2025"
    published = Published(
        "github.com/Xu107/MMHCL 0ceaa26ae6",
        {"anchors": 0, "monitor": "recall@20", "eval_every": 5, "patience": 6},
    )
    train_defaults: ClassVar[Mapping[str, Any]] = {
        "batch_size": 1024,
        "learning_rate": 1e-4,
        "decay": 0.96 ** (1 / 50),
        "sample_by": "users",
    }
    reads_content = True
    ranks_cold_items = True
    trains_in_shares = True
    views: ClassVar = dict.fromkeys(("users", "items"), ("behaviour", "hypergraph", "fused"))
    usual_views = ("fused", "hypergraph")
    user_second: Tensor
    item_second: Tensor
    warm_users: Tensor
    warm_items: Tensor

    def __init__(self, settings: MMHCLSettings, data: TrainingData, seed: int):
        super().__init__(settings, data, seed)
        self.modalities = choose(data.modalities, settings.modalities, "MMHCL")
        self.backbone = SparseOperator(data.bipartite_graph())
        self._build_hypergraphs()
        self.add_id_tables(settings.width)
        self.table("user_second", data.n_users, settings.width)
        self.table("item_second", data.n_items, settings.width)
        self.encoder = Backbone(
            settings.backbone, settings.backbone_options, settings.width, settings.layers, self.init_generator
        )
        self._build_convolutions()
        self.register_buffer(
            "warm_users", torch.from_numpy(np.flatnonzero(data.warm_users)), persistent=False
        )
        self.register_buffer(
            "warm_items", torch.from_numpy(np.flatnonzero(data.warm_items)), persistent=False
        )
        self.generator = torch.Generator().manual_seed(seed)
        self.cold = ColdItems(data, self.modalities, settings.neighbours)
        self.terms = LossTerms(
            self,
            {
                "users": self._contrast("users", settings.user_contrast * settings.user_hypergraph),
                "items": self._contrast("items", settings.item_contrast * settings.item_hypergraph),
            },
        )

    def _contrast(self, nodes: Nodes, weight: float) -> Term:
        return Term(
            objective="infonce",
            views=["fused", "hypergraph"],
            nodes=nodes,
            weight=weight,
            arguments={"temperature": self.settings.temperature, "intra": True},
        )

    def _build_hypergraphs(self) -> None:
        data, form = self.data, self.settings.form
        users = data.graph("user hypergraph", user_hypergraph(data.interactions), "users", "items")
        self.user_graph = propagation(users, normalise="random-walk", zero_diagonal=True, form=form)
        parts = [data.membership_graph(name, self.settings.k) for name in self.modalities]
        self.incidence = data.graph("item hypergraph", join_hyperedges(parts), "items", "other")
        self.item_graph = propagation(self.incidence, normalise="symmetric", zero_diagonal=False, form=form)
        degree = self.incidence @ (self.incidence.T @ np.ones(data.n_items))
        self.half_degree = inverse_power(degree, 0.5).astype(np.float32)[:, None]

    def _build_convolutions(self) -> None:
        """Convolutions in place of the products with H H^T, of users' and of items' hypergraph; none by default."""
        settings, self.convolved = self.settings, nn.ModuleList()
        if settings.hypergraph == "products":
            return
        if not settings.hypergraph.startswith(PYG):
            raise UserError(
                f"hypergraph is '{settings.hypergraph}'; expected products, or pyg:HypergraphConv"
            )
        graphs = (
            (user_hypergraph(self.data.interactions), settings.user_layers),
            (self.incidence, settings.item_layers),
        )
        how = settings.hypergraph, settings.hypergraph_options, settings.width
        for incidence, layers in graphs:
            self.convolved.append(
                PygHypergraph(incidence, PygConvolutions(*how, layers, self.init_generator, hypergraph=True))
            )

    def _memberships(self, features: Mapping[str, Modality]) -> sp.csr_matrix:
        """(n, M n_items) binary: column (m, j) holds the items with warm item j among their k nearest."""
        parts = []
        for name, bank in self.modalities.items():
            indices, _ = nearest(features[name], bank, self.data.warm_items, self.settings.k)
            parts.append(neighbour_graph(indices, None, self.data.n_items))
        return join_hyperedges(parts)

    def _propagate(self) -> State:
        settings = self.settings
        users, items = self.encoder(self.backbone, self.user_table, self.item_table)
        if self.convolved:
            second_users, second_items = (
                self.convolved[0](self.user_second),
                self.convolved[1](self.item_second),
            )
            before = second_items
        else:
            second_users = hypergraph(self.user_graph, self.user_second, settings.user_layers)
            before = hypergraph(self.item_graph, self.item_second, settings.item_layers - 1)
            second_items = self.item_graph @ before
        fused_users = users + normalize(second_users, dim=1) if settings.user_hypergraph else users
        fused_items = items + normalize(second_items, dim=1) if settings.item_hypergraph else items
        return State(fused_users, fused_items, users, items, second_users, second_items, before)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        state = self._propagate()
        rows = triples(state.users, state.items, batch)
        terms = {"bpr": bpr(*triple_scores(*rows)), "l2": self.settings.reg * l2(*rows)}
        users = {"behaviour": state.first_users, "hypergraph": state.second_users, "fused": state.users}
        items = {"behaviour": state.first_items, "hypergraph": state.second_items, "fused": state.items}
        views = {
            "users": self._views(users, self.terms.rows("users", self.warm_users)),
            "items": self._views(items, self.terms.rows("items", self.warm_items)),
            "pairs": pair_views(lambda: rows[0], lambda: rows[1]),
        }
        return terms | self.terms(views)

    def _views(self, views: Mapping[str, Tensor], warm: Tensor) -> NodeViews:
        """The views of the nodes numbered `warm`, and those drawn among them in this step."""
        count, every = self.settings.anchors, len(views["fused"])

        def drawn() -> Tensor | None:
            if not 0 < count < len(warm):
                return None
            return torch.randperm(len(warm), generator=self.generator)[:count].to(warm.device)

        if len(warm) == every:
            return NodeViews(views, ids=warm, anchors=drawn)
        rows = {name: partial(view.index_select, 0, warm) for name, view in views.items()}
        return NodeViews(rows, ids=warm, anchors=drawn)

    def start_epoch(self, epoch: int, generator: torch.Generator) -> None:
        self.generator = generator

    def forward(self) -> Vectors:
        state = self._propagate()
        return Vectors(state.users, self.cold.put(state.items, partial(self._from_content, state)))

    @cached_property
    def _cold_memberships(self) -> sp.csr_matrix:
        return self._memberships(self.cold.features)

    def _from_content(
        self, state: State, content: Mapping[str, Modality], neighbours: sp.csr_array
    ) -> Tensor:
        """(n, d): the neighbours' mean i_ui, and the last propagation of E_ii through the hyperedges joined.

        The item's own degree scales E_ii as a whole and vanishes in norm(E_ii). Where convolutions propagate, its E_ii
        is the neighbours' mean.
        """
        if not self.settings.item_hypergraph:
            return self.cold.average(neighbours, state.first_items)
        if self.convolved:
            second = self.cold.average(neighbours, state.second_items)
            return self.cold.average(neighbours, state.first_items) + normalize(second, dim=1)
        known = content is self.cold.features
        memberships = self._cold_memberships if known else self._memberships(content)
        edges = self.incidence.T @ (self.half_degree * state.before.detach().cpu().numpy())
        second = torch.from_numpy(memberships @ edges).to(state.items)
        return self.cold.average(neighbours, state.first_items) + normalize(second, dim=1)

    @torch.no_grad()
    def cold_part(self, items: np.ndarray) -> Hyperedges | Resembling:
        state = self._propagate()
        if not self.settings.item_hypergraph:
            return self.cold.resembling(state.first_items)
        edges = self.incidence.T @ (self.half_degree * state.before.detach().cpu().numpy())
        parts = np.split(np.asarray(edges, dtype=np.float32), len(self.modalities))
        first = self.cold.resembling(state.first_items)
        return Hyperedges(first, self.settings.k, dict(zip(self.modalities, parts, strict=True)))

    @torch.no_grad()
    def encode_items(self, content: Mapping[str, Modality], attributes: pd.DataFrame | None = None) -> Tensor:
        return self.cold.place(content, partial(self._from_content, self._propagate()))
