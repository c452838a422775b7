"""FREEDOM: a frozen item graph of content beside a pruned interaction graph."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import numpy as np
import pandas as pd
import scipy.sparse as sp
import torch
from torch import Tensor, nn

from recsys.coldstart.cold_items import ColdItems
from recsys.coldstart.scale import ColdScale, cold_scale_setting
from recsys.datasets.dataset import Modality
from recsys.encoders.backbone import Backbone, backbone_options_setting, backbone_setting
from recsys.encoders.content import ContentRows, ItemContent
from recsys.encoders.hypergraph import hypergraph
from recsys.graphs.bipartite import normalised_interactions
from recsys.graphs.operator import SparseOperator
from recsys.inputs.content import choose, shares
from recsys.inputs.sampler import Batch
from recsys.inputs.training_data import TrainingData
from recsys.models.base import Model, Published, Vectors, triple_scores, triples
from recsys.models.columns import Columns
from recsys.models.loss_terms import MODALITY, LossTerms, add_content
from recsys.objectives.ranking.bpr import bpr
from recsys.objectives.terms import ObjectiveSettings, objectives_setting
from recsys.serving.cold import Resembling
from recsys.settings import Settings, setting


class FREEDOMSettings(Settings):
    width: int = setting(64, "width of the vectors", low=1, high=4096, search=[64, 128, 256])
    layers: int = setting(2, "propagations over the bipartite graph", low=0, high=10, search=(1, 4))
    item_layers: int = setting(1, "propagations over the item graph", low=1, high=10, search=[1, 2, 3])
    k: int = setting(10, "neighbours in the item graph, the item included", low=1, high=1000, search=(5, 30))
    prune: float = setting(
        0.8, "share of the interactions that an epoch leaves out", low=0, high=0.999, search=[0.0, 0.8, 0.9]
    )
    content: float = setting(1e-3, "weight of each modality's BPR", low=0, search=[0.0, 1e-5, 1e-4, 1e-3])
    weights: dict[str, float] = setting({}, "weight of a modality's item graph; 1 where it is not named")
    features: Literal["unit", "trained"] = setting(
        "unit", "rows of unit length, or raw ones that are trained too, as in the published code"
    )
    modalities: list[str] = setting([], "modalities to read; empty: all of them")
    backbone: str = backbone_setting()
    backbone_options: dict[str, Any] = backbone_options_setting()
    calibrate_cold_scale: ColdScale = cold_scale_setting()
    objectives: ObjectiveSettings = objectives_setting()


class FREEDOM(Model):
    """u = u_ui, i = i_ui + S^L e_i; BPR(u . i) + content * sum_m BPR(u . (W_m x_i^m + b_m)).

    "A Tale of Two Graphs: Freezing and Denoising Graph Structures for Multimodal Recommendation", Zhou and
    Shen, ACM MM 2023, arXiv 2211.06924. u_ui and i_ui are LightGCN's, in training over a graph that each
    epoch draws anew: (1 - prune) of the interactions, without replacement, in proportion to 1 / sqrt(d_u
    d_i). S is the weighted sum of the modalities' k-NN graphs, built once from raw features.

    Departures. The features are scaled to unit rows and not trained themselves (the code does that, which no
    new item could follow: `features`). The modalities weigh the same unless `weights` says otherwise. A modality's
    BPR leaves out pairs where an item lacks it. A cold item takes the weighted mean of its k nearest warm items'
    vectors, in S as in i_ui.
    """

    Settings = FREEDOMSettings
    whole_graph = True
    paper = (
        "A Tale of Two Graphs: Freezing and Denoising Graph Structures for Multimodal "
        "Recommendation, ACM MM 2023, arXiv 2211.06924"
    )
    published = Published(
        "github.com/enoche/FREEDOM 6f896e2441",
        {"features": "trained", "monitor": "recall@20", "patience": 21},
    )
    reads_content = True
    ranks_cold_items = True
    trains_by_columns = True
    views: ClassVar = {
        "users": ("behaviour", "identity"),
        "items": ("behaviour", "identity", "semantic", "fused", MODALITY),
    }

    def __init__(self, settings: FREEDOMSettings, data: TrainingData, seed: int):
        super().__init__(settings, data, seed)
        self.modalities = choose(data.modalities, settings.modalities, "FREEDOM")
        weights = shares(self.modalities, settings.weights, "FREEDOM")
        graph = data.bipartite_graph()
        self.full = SparseOperator(graph)
        self.pruned = self.full
        # The more popular its two ends, the likelier an edge is left out: it is kept as its weight says.
        self.edge_weights = torch.from_numpy(graph.data)
        self.item_graph = SparseOperator(data.item_graph(weights, settings.k), clustered=True)
        self.add_id_tables(settings.width)
        # The sampler draws warm items alone, so that no cold item's content is ever read.
        self.content = ItemContent(self.modalities, None, settings.features)
        self.projections = self.content.layers(settings.width, self.init_generator)
        self.cold = ColdItems(data, self.modalities, settings.k, weights)
        self.encoder = Backbone(
            settings.backbone, settings.backbone_options, settings.width, settings.layers, self.init_generator
        )
        self.trains_by_columns = self.encoder.by_column and settings.features == "unit"
        self.terms = LossTerms(self)
        # A bias cancels in BPR's differences; another objective may compare whole vectors.
        for layer in self.projections:
            layer.get_parameter("bias").requires_grad_(len(self.terms) > 0)

    def column_dims(self) -> dict[str, int]:
        # A projection gives a column for each row of its weights.
        return super().column_dims() | {f"projections.{n}": 0 for n, _ in self.projections.named_parameters()}

    def start_epoch(self, epoch: int, generator: torch.Generator) -> None:
        if not self.settings.prune:
            return
        # The smallest of exponential variates of these rates are a sample without replacement.
        clock = torch.empty(len(self.edge_weights), dtype=torch.float64).exponential_(generator=generator)
        times = clock.div_(self.edge_weights).numpy()
        kept = max(int(len(times) * (1 - self.settings.prune)), 1)
        edges = np.flatnonzero(times <= np.partition(times, kept - 1)[kept - 1])[:kept]
        full = self.data.interactions
        starts = np.searchsorted(edges, full.indptr)
        sample = sp.csr_matrix((full.data[edges], full.indices[edges], starts), shape=full.shape)
        self.pruned = SparseOperator(normalised_interactions(sample)).to(self.user_table.device)

    def _propagate(self, graph: SparseOperator) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """(users, i_ui, S^(L-1) e, S^L e)."""
        users, items = self.encoder(graph, self.user_table, self.item_table)
        before = hypergraph(self.item_graph, self.item_table, self.settings.item_layers - 1)
        return users, items, before, self.item_graph @ before

    def modality_vectors(self) -> dict[str, Tensor]:
        return self.content.by_name(self.projections)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        users, items, _, similar = self._propagate(self.pruned)
        rows = triples(users, items + similar, batch)
        terms = {"bpr": bpr(*self.columns.sum(*triple_scores(*rows)))}
        if self.settings.content:
            parts = zip(self.modalities, self.content, self.projections, strict=True)
            for name, content, layer in parts:
                terms[name] = self.settings.content * content_bpr(
                    rows[0], content, layer, batch, self.columns
                )
        return terms | (self._compared(batch, users, items, similar) if len(self.terms) else {})

    def _compared(self, batch: Batch, users: Tensor, items: Tensor, similar: Tensor) -> dict[str, Tensor]:
        of_users = {"behaviour": users, "identity": self.user_table}
        of_items = {"behaviour": items, "identity": self.item_table, "semantic": similar}
        views = self.terms.batch_views(batch, of_users, of_items | {"fused": items + similar})
        add_content(views["items"], self.content, self.projections)
        return self.terms(views)

    def forward(self) -> Vectors:
        users, items, before, similar = self._propagate(self.full)
        placed = self.cold.put(items + similar, lambda _, graph: self.cold.average(graph, items + before))
        return Vectors(users, placed)

    @torch.no_grad()
    def cold_part(self, items: np.ndarray) -> Resembling:
        _, own, before, _ = self._propagate(self.full)
        return self.cold.resembling(own + before)

    @torch.no_grad()
    def encode_items(self, content: Mapping[str, Modality], attributes: pd.DataFrame | None = None) -> Tensor:
        _, items, before, _ = self._propagate(self.full)
        return self.cold.place(content, lambda _, graph: self.cold.average(graph, items + before))


def content_bpr(
    users: Tensor, content: ContentRows, layer: nn.Module, batch: Batch, columns: Columns
) -> Tensor:
    """BPR of a batch's users (b, d) with their items' projected content, over pairs that both have it.

    It asks for differences of scores alone, so that the items' content is subtracted before it is projected.
    """
    apart = content.apart(layer, batch.positives, batch.negatives)
    (more,) = columns.sum((users.unsqueeze(1) * apart).sum(-1))
    present = content.present[batch.positives].unsqueeze(1) & content.present[batch.negatives]
    losses = bpr(more.new_zeros(()), more, reduction="none")
    return (losses * present).sum() / present.sum().clamp_min(1)
