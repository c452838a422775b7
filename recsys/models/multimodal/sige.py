"""SIGE: item graphs that know content and co-purchases, and vectors that withstand noise."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, ClassVar, NamedTuple

import numpy as np
import pandas as pd
import scipy.sparse as sp
import torch
from torch import Tensor
from torch.nn.functional import embedding

from recsys.coldstart.cold_items import ColdItems, absent
from recsys.coldstart.scale import ColdScale, cold_scale_setting
from recsys.datasets.dataset import Modality
from recsys.encoders.backbone import Backbone, backbone_options_setting, backbone_setting
from recsys.encoders.content import ItemContent
from recsys.encoders.fusion import Fusion, fusion_setting, make_fusion
from recsys.encoders.modality_graphs import ModalityGraphs, join_views, read_by_users
from recsys.encoders.perturbation import perturb
from recsys.graphs.cache import cached
from recsys.graphs.cooccurrence import cooccurrence_graph, infuse
from recsys.graphs.knn import knn_graph
from recsys.graphs.operator import SparseOperator
from recsys.inputs.content import choose
from recsys.inputs.sampler import Batch
from recsys.inputs.training_data import TrainingData
from recsys.models.base import Model, Vectors, triple_scores, triples
from recsys.models.loss_terms import MODALITY, LossTerms, NodeViews, pair_views, rows_of
from recsys.objectives.l2 import l2
from recsys.objectives.ranking.bpr import bpr
from recsys.objectives.terms import ObjectiveSettings, Term, objectives_setting
from recsys.settings import Settings, setting


class SIGESettings(Settings):
    width: int = setting(64, "width of the vectors", low=1, high=4096, search=[64, 96, 128])
    layers: int = setting(2, "propagations over the bipartite graph", low=0, high=10, search=(1, 4))
    item_layers: int = setting(1, "propagations over the item graphs", low=1, high=5, search=[1, 2, 3])
    k: int = setting(10, "nearest items by content, itself included", low=2, high=1000, search=(5, 30))
    k_collaborative: int = setting(10, "nearest items by co-occurrence", low=1, high=1000, search=(5, 30))
    beta: float = setting(0.5, "share of the co-occurrence graph", low=0, high=1, search=(0.0, 0.9))
    strength: float = setting(
        0.1, "strength of the perturbation", low=0, high=10, search=(0.01, 0.5), log=True
    )
    by_length: bool = setting(True, "perturb long vectors more; false: all alike")
    perturbed: float = setting(0.01, "weight of the perturbed views", low=0, search=(1e-3, 0.3), log=True)
    anchored: float = setting(0.01, "weight of the anchored terms", low=0, search=(1e-3, 0.3), log=True)
    fused: float = setting(0.01, "weight of the fused terms", low=0, search=(1e-3, 0.3), log=True)
    temperature: float = setting(
        0.2, "temperature of InfoNCE", low=0.01, high=10, search=(0.1, 1.0), log=True
    )
    reg: float = setting(
        1e-4, "weight of the L2 penalty on a batch's vectors", low=0, search=(1e-6, 1e-1), log=True
    )
    fusion: Fusion = fusion_setting("attention")
    modalities: list[str] = setting([], "modalities to read; empty: all of them")
    backbone: str = backbone_setting()
    backbone_options: dict[str, Any] = backbone_options_setting()
    calibrate_cold_scale: ColdScale = cold_scale_setting()
    objectives: ObjectiveSettings = objectives_setting()


class Parts(NamedTuple):
    """What is known of some users or items, row by row.

    Attributes:
        behaviour: (n, d).
        semantics: one (n, d) for each modality.
        fused: (n, d).
    """

    behaviour: Tensor
    semantics: list[Tensor]
    fused: Tensor


class SIGE(Model):
    """Semantic item graphs infused with co-occurrence, perturbed views, and two alignments.

    "Semantic Item Graph Enhancement for Multimodal Recommendation", Zhang et al., 2025, arXiv 2508.06154.
    Only the abstract was at hand: these equations are our reading of it, and the defaults are ours.

        graphs     C = top-k cosine co-occurrence; S~_m = D^-1/2 ((1 - beta) S_m + beta C) D^-1/2, S_m the k-NN
                   graph of the modality (weights: cosines) and D the row sums
        behaviour  LightGCN over the bipartite graph on ID tables
        semantics  z_m = e_i * sigmoid(W_m x_m + b_m); E_m = S~_m^L z_m for items; users read
                   D_u^-1/2 R D_i^-1/2 E_m
        fused      sum_m a_m E_m, a = softmax_m(q . tanh(W E_m + b))
        output     behaviour + fused
        L = BPR + perturbed InfoNCE(fused', fused'') + anchored sum_m InfoNCE(stop(behaviour), E_m)
            + fused InfoNCE(behaviour, fused) + reg l2

    fused' and fused'' are two perturbed copies (`recsys.encoders.perturbation`). The contrastive terms are summed
    over users and items and run over the batch's distinct users and distinct positives. An item that lacks a
    modality has no edge in that graph, from content or co-occurrence.

    A cold item takes e_i and its behaviour from its k - 1 nearest training items by content; its semantics are
    the mean of its own gated features and those items' semantics, as the item graphs would have it.
    """

    Settings = SIGESettings
    whole_graph = True
    paper = "Semantic Item Graph Enhancement for Multimodal Recommendation, arXiv 2508.06154, 2025"
    reads_content = True
    ranks_cold_items = True
    views: ClassVar = dict.fromkeys(("users", "items"), ("behaviour", MODALITY, "fused"))
    usual_views = ("behaviour", "fused")
    absent: Tensor

    def __init__(self, settings: SIGESettings, data: TrainingData, seed: int):
        super().__init__(settings, data, seed)
        self.modalities = choose(data.modalities, settings.modalities, "SIGE")
        self.propagation = SparseOperator(data.bipartite_graph())
        self.add_id_tables(settings.width)
        warm = np.flatnonzero(data.warm_items)
        self.graphs = ModalityGraphs(self._enhanced_graphs(), warm)
        self.content = ItemContent(self.modalities, warm)
        self.project = self.content.layers(settings.width, self.init_generator)
        self.fuse = make_fusion(settings.fusion, len(self.modalities), settings.width, self.init_generator)
        self.register_buffer("absent", absent(self.modalities), persistent=False)
        self.cold = ColdItems(data, self.modalities, settings.k - 1)
        self.noise = torch.Generator().manual_seed(seed)
        self.encoder = Backbone(
            settings.backbone, settings.backbone_options, settings.width, settings.layers, self.init_generator
        )
        self.terms = LossTerms(self, self._own_terms())

    def _own_terms(self) -> dict[str, Term]:
        settings = self.settings
        own = {
            "perturbed": ("infonce", ["perturbed", "perturbed"], settings.perturbed),
            "anchored": ("anchored_infonce", ["behaviour", *self.modalities], settings.anchored),
            "fused": ("infonce", ["behaviour", "fused"], settings.fused),
        }
        arguments = {"temperature": settings.temperature}
        return {
            name: Term(objective=objective, views=views, nodes="both", weight=weight, arguments=arguments)
            for name, (objective, views, weight) in own.items()
        }

    def _enhanced_graphs(self) -> list[sp.csr_matrix]:
        settings, data, graphs = self.settings, self.data, []
        together = cooccurrence_graph(data.interactions, settings.k_collaborative)
        for name, modality in self.modalities.items():
            graph = enhanced_graph(modality, data.warm_items, together, settings.k, settings.beta)
            graphs.append(data.graph(f"enhanced {name} neighbours", graph, "items", "items"))
        return graphs

    def start_epoch(self, epoch: int, generator: torch.Generator) -> None:
        self.noise = generator

    def _gated(self, identity: Tensor, content: ItemContent) -> list[Tensor]:
        return [identity * torch.sigmoid(rows) for rows in content.project(self.project)]

    def _parts(self) -> tuple[Parts, Parts]:
        """Users' and items' parts; those of cold items are zero."""
        users, items = self.encoder(self.propagation, self.user_table, self.item_table)
        semantics = self._gated(embedding(self.graphs.warm, self.item_table), self.content)
        semantics = self.graphs(semantics, self.settings.item_layers)
        of_users = read_by_users(self.propagation, semantics)
        return (
            Parts(users, of_users, self.fuse(of_users)),
            Parts(items, semantics, self.fuse(semantics, self.absent)),
        )

    def forward(self) -> Vectors:
        users, items = self._parts()
        placed = self.cold.put(items.behaviour + items.fused, partial(self._from_content, items))
        return Vectors(users.behaviour + users.fused, placed)

    def modality_vectors(self) -> dict[str, Tensor]:
        return dict(zip(self.modalities, self._parts()[1].semantics, strict=True))

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        users, items = self._parts()
        rows = triples(users.behaviour + users.fused, items.behaviour + items.fused, batch)
        views = {
            "users": self._views(users, self.terms.rows("users", batch.users.unique()), None),
            "items": self._views(items, self.terms.rows("items", batch.positives.unique()), self.absent),
            "pairs": pair_views(lambda: rows[0], lambda: rows[1]),
        }
        return {
            "bpr": bpr(*triple_scores(*rows)),
            **self.terms(views),
            "l2": self.settings.reg * l2(*rows),
        }

    def _views(self, parts: Parts, ids: Tensor, missing: Tensor | None) -> NodeViews:
        """The views of the rows `ids`."""
        modal = dict(zip(self.modalities, parts.semantics, strict=True))
        held = {} if missing is None else dict(zip(self.modalities, (~missing[ids]).T, strict=True))
        views = rows_of(ids, {"behaviour": parts.behaviour, "fused": parts.fused, **modal})
        nodes = NodeViews(views, ids=ids, present=held)
        nodes.perturbed = lambda _: perturb(
            nodes.view("fused"), self.settings.strength, self.noise, self.settings.by_length
        )
        return nodes

    def _from_content(self, items: Parts, content: Mapping[str, Modality], graph: sp.csr_array) -> Tensor:
        average, rows = partial(self.cold.average, graph), self.content.of(content)
        own = self._gated(average(self.item_table), rows)
        semantics = join_views(own, items.semantics, average, self.settings.k, rows.absent)
        return average(items.behaviour) + self.fuse(semantics, rows.absent)

    @torch.no_grad()
    def encode_items(self, content: Mapping[str, Modality], attributes: pd.DataFrame | None = None) -> Tensor:
        return self.cold.place(content, partial(self._from_content, self._parts()[1]))


def enhanced_graph(
    modality: Modality, warm: np.ndarray, together: sp.csr_matrix, k: int, beta: float
) -> sp.csr_matrix:
    """(n_items, n_items): the modality's k-NN graph over warm items, infused with co-occurrence among them."""
    held = modality.mask & warm
    semantic = cached(knn_graph, modality.features, k, held, weight="cosine", normalise=None)
    keep = sp.diags_array(held.astype(np.float32))
    return infuse(semantic, sp.csr_matrix(keep @ together @ keep), beta)
