"""LATTICE: item graphs learned from content while the recommender trains."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np
import pandas as pd
import scipy.sparse as sp
import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from recsys.coldstart.cold_items import ColdItems, absent
from recsys.coldstart.neighbours import nearest
from recsys.coldstart.scale import ColdScale, cold_scale_setting
from recsys.datasets.dataset import Modality
from recsys.encoders.backbone import Backbone, backbone_options_setting, backbone_setting
from recsys.encoders.content import ContentRows
from recsys.encoders.hypergraph import hypergraph
from recsys.encoders.linear import linear
from recsys.errors import UserError
from recsys.graphs.bipartite import self_loops
from recsys.graphs.knn import knn, neighbour_graph
from recsys.graphs.normalise import row_normalise
from recsys.graphs.operator import SparseOperator
from recsys.inputs.content import choose, unit_rows
from recsys.inputs.sampler import Batch
from recsys.inputs.training_data import TrainingData
from recsys.models.base import Model, Published, Vectors, triple_scores, triples
from recsys.models.loss_terms import MODALITY, LossTerms
from recsys.objectives.l2 import l2
from recsys.objectives.ranking.bpr import bpr
from recsys.objectives.terms import ObjectiveSettings, objectives_setting
from recsys.settings import Settings, setting


class Edges(NamedTuple):
    """A square sparse matrix whose values may take a gradient; each entry is (row, column, value)."""

    rows: Tensor
    columns: Tensor
    values: Tensor

    def __matmul__(self, x: Tensor) -> Tensor:
        return torch.zeros_like(x).index_add(0, self.rows, self.values[:, None] * x[self.columns])


class LATTICESettings(Settings):
    width: int = setting(64, "width of the vectors", low=1, high=4096, search=[64, 128, 256])
    layers: int = setting(2, "propagations over the bipartite graph", low=0, high=10, search=(1, 4))
    item_layers: int = setting(1, "propagations over the item graph", low=1, high=10, search=[1, 2, 3])
    k: int = setting(10, "neighbours in an item graph, the item included", low=1, high=1000, search=(5, 30))
    skip: float = setting(
        0.9, "share of the raw features' graph in the item graph", low=0, high=1, search=(0.5, 1.0)
    )
    interactions: Literal["symmetric", "self-loops"] = setting(
        "symmetric", "the interaction graph: D^-1/2 A D^-1/2, or D^-1 (A + I) as in the published code"
    )
    reg: float = setting(
        1e-5, "weight of the L2 penalty on a batch's vectors", low=0, search=(1e-6, 1e-1), log=True
    )
    features: Literal["unit", "trained"] = setting(
        "unit", "rows of unit length, or raw ones that are trained too, as in the published code"
    )
    modalities: list[str] = setting([], "modalities to read; empty: all of them")
    backbone: str = backbone_setting()
    backbone_options: dict[str, Any] = backbone_options_setting()
    calibrate_cold_scale: ColdScale = cold_scale_setting()
    objectives: ObjectiveSettings = objectives_setting()


class LATTICE(Model):
    """u = u_ui, i = i_ui + norm(A^L e_i), A = skip sum_m w_m S_m + (1 - skip) D^-1/2 (sum_m w_m S'_m) D^-1/2.

    "Mining Latent Structures for Multimedia Recommendation", Zhang et al., ACM MM 2021, arXiv 2104.09036.
    S_m is the normalised graph of the k largest cosines of raw features, S'_m the same of
    the projections W_m x^m + b_m, w a softmax of learned logits, u_ui and i_ui LightGCN's. As in the authors'
    code an epoch's first step searches the neighbours anew and trains w and W_m through the edges' weights;
    its other steps keep A; and the learning rate of epoch e is 0.96^(e/50) of the first.

    Departures: no similarity is ever formed of all pairs, only the k largest of a row, and of the learned
    ones only positive ones; the interaction graph is normalised symmetrically and has no self loops, as in
    LightGCN (the code's is an option, `interactions`); features are scaled to unit rows and not trained
    themselves (the code's are: `features`). A cold item has its row of A from its k nearest warm items,
    raw and projected, and takes the mean of its neighbours' i_ui.
    """

    Settings = LATTICESettings
    whole_graph = True
    paper = "Mining Latent Structures for Multimedia Recommendation, ACM MM 2021, arXiv 2104.09036"
    published = Published(
        "github.com/CRIPAC-DIG/LATTICE 1b72fe7a74",
        {
            "interactions": "self-loops",
            "features": "trained",
            "sample_by": "users",
            "monitor": "recall@20",
            "max_epochs": 200,
            "eval_every": 5,
            "patience": 11,
        },
    )
    train_defaults: ClassVar[Mapping[str, Any]] = {
        "batch_size": 1024,
        "learning_rate": 5e-4,
        "decay": 0.96 ** (1 / 50),
    }
    reads_content = True
    ranks_cold_items = True
    trains_in_shares = True
    views: ClassVar = {
        "users": ("behaviour", "identity"),
        "items": ("behaviour", "identity", "semantic", "fused", MODALITY),
    }
    absent: Tensor
    idle_parameters = True  # the item graph is learned in an epoch's first step alone

    def __init__(self, settings: LATTICESettings, data: TrainingData, seed: int):
        super().__init__(settings, data, seed)
        self.modalities = choose(data.modalities, settings.modalities, "LATTICE")
        graph = data.bipartite_graph()
        if settings.interactions == "self-loops":
            if settings.backbone != "lightgcn":
                raise UserError(
                    "interactions=self-loops is lightgcn's; set backbone=lightgcn, or symmetric ones"
                )
            graph = self_loops(data.interactions)
        self.propagation = SparseOperator(graph)
        self.raw = [data.neighbour_graph(name, settings.k, weight="cosine") for name in self.modalities]
        self.add_id_tables(settings.width)
        self.logits = nn.Parameter(torch.zeros(len(self.modalities)))
        self.bank = [np.flatnonzero(m.mask & data.warm_items) for m in self.modalities.values()]
        self.content = nn.ModuleList(
            ContentRows(m, rows, settings.features)
            for m, rows in zip(self.modalities.values(), self.bank, strict=True)
        )
        self.projections = nn.ModuleList(
            linear(modality.width, settings.width, self.init_generator)
            for modality in self.modalities.values()
        )
        self.cold = ColdItems(data, self.modalities, settings.k)
        self.item_graph: SparseOperator | None = None
        self.register_buffer("absent", absent(self.modalities), persistent=False)
        self.encoder = Backbone(
            settings.backbone, settings.backbone_options, settings.width, settings.layers, self.init_generator
        )
        self.terms = LossTerms(self)

    def start_epoch(self, epoch: int, generator: torch.Generator) -> None:
        self.item_graph = None

    def _scaled(self, features: np.ndarray | sp.csr_array) -> np.ndarray | sp.csr_array:
        """Features of items outside of the bank, as those within are held."""
        return unit_rows(features) if self.settings.features == "unit" else features

    def _bank_rows(self, number: int) -> np.ndarray | sp.csr_array:
        """(n, width) the bank's features, trained ones as they stand."""
        if self.settings.features == "trained":
            return self.content[number].get_parameter("dense").detach().cpu().numpy()
        name, bank = list(self.modalities)[number], self.bank[number]
        return unit_rows(self.modalities[name].features[bank])

    def _latent(self, number: int, rows: np.ndarray | sp.csr_array) -> np.ndarray:
        """(n, d) float32 projections. In float64 first: ties must not depend on the rows beside."""
        layer = self.projections[number]
        weight, bias = (
            layer.get_parameter(name).detach().double().cpu().numpy() for name in ("weight", "bias")
        )
        return (rows @ weight.T + bias).astype(np.float32)

    def _edges(self) -> Edges:
        """The item graph of the present parameters; gradients flow to them through the weights."""
        settings, shares = self.settings, self.logits.softmax(0)
        raw: list[tuple[Tensor, Tensor, Tensor]] = []
        learned: list[tuple[Tensor, Tensor, Tensor]] = []
        for number, bank in enumerate(self.bank):
            graph = self.raw[number].tocoo()
            ends = self._tensors(graph.row, graph.col, graph.data)
            raw.append((ends[0], ends[1], shares[number] * ends[2]))
            latent = self._latent(number, self._bank_rows(number))
            numbers, _ = knn(latent, latent, settings.k, positive_only=True)
            queries, places = np.nonzero(numbers >= 0)
            neighbours = numbers[queries, places]
            unit = normalize(self.content[number](self.projections[number]), dim=1)
            pairs = [unit.index_select(0, index) for index in self._tensors(queries, neighbours)]
            cosines = (pairs[0] * pairs[1]).sum(1).clamp_min(0)
            first, second = self._tensors(bank[queries], bank[neighbours])
            learned.append((first, second, shares[number] * cosines))
        rows, columns, values = (torch.cat(part) for part in zip(*learned, strict=True))
        degree = values.new_zeros(self.data.n_items).index_add(0, rows, values)
        half = degree.clamp_min(torch.finfo(degree.dtype).eps).rsqrt()
        scaled = rows, columns, (1 - settings.skip) * values * half[rows] * half[columns]
        raw = [(r, c, settings.skip * v) for r, c, v in raw]
        return Edges(*(torch.cat(part) for part in zip(*raw, scaled, strict=True)))

    def _tensors(self, *arrays: np.ndarray) -> list[Tensor]:
        whole = [a.astype(np.int64) if np.issubdtype(a.dtype, np.integer) else a for a in arrays]
        return [torch.from_numpy(a).to(self.logits.device) for a in whole]

    def _operator(self, edges: Edges) -> SparseOperator:
        rows, columns, values = (part.detach().cpu().numpy() for part in edges)
        graph = sp.csr_matrix((values, (rows, columns)), shape=(self.data.n_items,) * 2)
        return SparseOperator(graph).to(self.logits.device)

    def modality_vectors(self) -> dict[str, Tensor]:
        parts = zip(self.modalities, self.bank, self.content, self.projections, strict=True)
        zeros = torch.zeros_like(self.item_table)
        return {
            name: zeros.index_copy(0, self._tensors(bank)[0], content(layer))
            for name, bank, content, layer in parts
        }

    def _from_interactions(self) -> tuple[Tensor, Tensor]:
        """u_ui and i_ui."""
        users, items, layers = self.user_table, self.item_table, self.settings.layers
        if self.settings.interactions == "symmetric":
            return self.encoder(self.propagation, users, items)
        total = last = torch.cat([users, items])
        for _ in range(layers):
            last = self.propagation @ last
            total = total + last
        mean = total / (layers + 1)
        return mean[: len(users)], mean[len(users) :]

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        users, items = self._from_interactions()
        graph: SparseOperator | Edges | None = self.item_graph
        if graph is None:
            graph = edges = self._edges()
            self.item_graph = self._operator(edges)
        latent = hypergraph(graph, self.item_table, self.settings.item_layers)
        latent = normalize(latent, dim=1)
        rows = triples(users, items + latent, batch)
        terms = {"bpr": bpr(*triple_scores(*rows)), "l2": self.settings.reg * l2(*rows)}
        return terms | (self._compared(batch, users, items, latent) if len(self.terms) else {})

    def _compared(self, batch: Batch, users: Tensor, items: Tensor, latent: Tensor) -> dict[str, Tensor]:
        of_users = {"behaviour": users, "identity": self.user_table}
        of_items = {
            "behaviour": items,
            "identity": self.item_table,
            "semantic": latent,
            "fused": items + latent,
        }
        views = self.terms.batch_views(batch, of_users, of_items | self.modality_vectors())
        ids = views["items"].ids
        views["items"].present |= dict(zip(self.modalities, (~self.absent[ids]).T, strict=True))
        return self.terms(views)

    def forward(self) -> Vectors:
        users, items, before, graph = self._scored()
        final = items + normalize(graph @ before, dim=1)
        return Vectors(users, self.cold.put(final, partial(self._from_content, items, before)))

    def _scored(self) -> tuple[Tensor, Tensor, Tensor, SparseOperator]:
        """(users, i_ui, A^(L-1) e, A) with the graph that the present parameters give."""
        users, items = self._from_interactions()
        with torch.no_grad():
            graph = self._operator(self._edges())
        return users, items, hypergraph(graph, self.item_table, self.settings.item_layers - 1), graph

    def _from_content(
        self, items: Tensor, before: Tensor, content: Mapping[str, Modality], neighbours: sp.csr_array
    ) -> Tensor:
        """(n, d): the neighbours' mean i_ui, and a row of A of one's own."""
        rows, average = self._content_rows(content), self.cold.average
        return average(neighbours, items) + normalize(average(rows, before), dim=1)

    def _content_rows(self, features: Mapping[str, Modality]) -> sp.csr_array:
        """(n, n_items): skip sum_m w_m S_m + (1 - skip) sum_m w_m S'_m of rows that sum to 1."""
        total = 0
        shares, skip = self.logits.detach().softmax(0).tolist(), self.settings.skip
        for number, (name, modality) in enumerate(self.modalities.items()):
            item, bank = features[name], self.bank[number]
            raw = nearest(item, modality, self.data.warm_items, self.settings.k)
            latent = (
                self._latent(number, self._scaled(item.features)),
                self._latent(number, self._bank_rows(number)),
            )
            numbers, cosines = knn(*latent, self.settings.k, query_mask=item.mask, positive_only=True)
            learned = np.where(numbers >= 0, bank[numbers], -1), cosines
            for share, lists in ((skip, raw), (1 - skip, learned)):
                graph = row_normalise(neighbour_graph(*lists, self.data.n_items))
                total = total + graph * (share * shares[number])
        return sp.csr_array(total)

    @torch.no_grad()
    def encode_items(self, content: Mapping[str, Modality], attributes: pd.DataFrame | None = None) -> Tensor:
        _, items, before, _ = self._scored()
        return self.cold.place(content, partial(self._from_content, items, before))
