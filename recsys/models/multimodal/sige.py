"""SIGE: item graphs that know content and co-purchases, and vectors that withstand noise."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import pandas as pd
import scipy.sparse as sp
import torch
from torch import Tensor, nn
from torch.nn.functional import embedding

from recsys.coldstart.cold_items import ColdItems, absent
from recsys.datasets.dataset import Modality
from recsys.encoders.content import ContentRows
from recsys.encoders.lightgcn import lightgcn
from recsys.encoders.linear import linear
from recsys.encoders.perturbation import perturb
from recsys.graphs.bipartite import normalised_interactions
from recsys.graphs.cache import cached
from recsys.graphs.cooccurrence import cooccurrence_graph, infuse
from recsys.graphs.knn import knn_graph
from recsys.graphs.operator import SparseOperator
from recsys.inputs.content import choose
from recsys.inputs.sampler import Batch
from recsys.inputs.training_data import TrainingData
from recsys.models.base import Model, Vectors, triple_scores, triples
from recsys.objectives.contrastive.anchored_infonce import anchored_infonce
from recsys.objectives.contrastive.infonce import infonce
from recsys.objectives.l2 import l2
from recsys.objectives.ranking.bpr import bpr
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
    perturbed: float = setting(0.01, "weight of the perturbed views", low=0, search=(1e-3, 0.3), log=True)
    anchored: float = setting(0.01, "weight of the anchored terms", low=0, search=(1e-3, 0.3), log=True)
    fused: float = setting(0.01, "weight of the fused terms", low=0, search=(1e-3, 0.3), log=True)
    temperature: float = setting(
        0.2, "temperature of InfoNCE", low=0.01, high=10, search=(0.1, 1.0), log=True
    )
    reg: float = setting(
        1e-4, "weight of the L2 penalty on a batch's vectors", low=0, search=(1e-6, 1e-1), log=True
    )
    modalities: list[str] = setting([], "modalities to read; empty: all of them")


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
    paper = "Semantic Item Graph Enhancement for Multimodal Recommendation, arXiv 2508.06154, 2025"
    reads_content = True
    ranks_cold_items = True

    def __init__(self, settings: SIGESettings, data: TrainingData, seed: int):
        super().__init__(settings, data, seed)
        self.modalities = choose(data.modalities, settings.modalities, "SIGE")
        graph = data.graph("bipartite", normalised_interactions(data.interactions), "users", "items")
        self.propagation = SparseOperator(graph)
        self.table("user_table", data.n_users, settings.width)
        self.table("item_table", data.n_items, settings.width)
        warm = np.flatnonzero(data.warm_items)
        self.register_buffer("warm", torch.from_numpy(warm), persistent=False)
        self.content, self.graphs = nn.ModuleList(), nn.ModuleList()
        together = cooccurrence_graph(data.interactions, settings.k_collaborative)
        for name, modality in self.modalities.items():
            graph = enhanced_graph(modality, data.warm_items, together, settings.k, settings.beta)
            graph = data.graph(f"enhanced {name} neighbours", graph, "items", "items")
            self.graphs.append(SparseOperator(graph[:, warm]))
            self.content.append(ContentRows(modality, warm))
        width, generator = settings.width, self.init_generator
        self.project = nn.ModuleList(linear(m.width, width, generator) for m in self.modalities.values())
        self.query = nn.Sequential(
            linear(width, width, generator), nn.Tanh(), linear(width, 1, generator, bias=False)
        )
        self.register_buffer("absent", absent(self.modalities), persistent=False)
        self.cold = ColdItems(data, self.modalities, settings.k - 1)
        self.noise = torch.Generator().manual_seed(seed)

    def start_epoch(self, epoch: int, generator: torch.Generator) -> None:
        self.noise = generator

    def _gated(self, identity: Tensor, content: nn.ModuleList) -> list[Tensor]:
        return [identity * torch.sigmoid(c(layer)) for c, layer in zip(content, self.project, strict=True)]

    def _parts(self) -> tuple[Parts, Parts]:
        """Users' and items' parts; those of cold items are zero."""
        s = self.settings
        users, items = lightgcn(self.propagation, self.user_table, self.item_table, s.layers)
        semantics = self._gated(embedding(self.warm, self.item_table), self.content)
        semantics = [graph @ rows for graph, rows in zip(self.graphs, semantics, strict=True)]
        for _ in range(s.item_layers - 1):
            semantics = [graph @ rows[self.warm] for graph, rows in zip(self.graphs, semantics, strict=True)]
        theirs = list((self.propagation @ torch.cat(semantics, 1)).split(s.width, 1))
        return self._with_fused(users, theirs), self._with_fused(items, semantics, self.absent)

    def _with_fused(self, behaviour: Tensor, semantics: list[Tensor], missing: Tensor | None = None) -> Parts:
        logits = torch.cat([self.query(rows) for rows in semantics], 1)
        if missing is not None:
            logits = logits.masked_fill(missing, torch.finfo(logits.dtype).min)
        weights = logits.softmax(1)
        fused = sum(rows * weights[:, m : m + 1] for m, rows in enumerate(semantics))
        return Parts(behaviour, semantics, fused)

    def forward(self) -> Vectors:
        users, items = self._parts()
        vectors = items.behaviour + items.fused
        if len(self.cold):
            vectors = self.cold.put(vectors, self._new_items(self.cold.features, self.cold.graph, items))
        return Vectors(users.behaviour + users.fused, vectors)

    def modality_vectors(self) -> dict[str, Tensor]:
        return dict(zip(self.modalities, self._parts()[1].semantics, strict=True))

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        s = self.settings
        users, items = self._parts()
        rows = triples(users.behaviour + users.fused, items.behaviour + items.fused, batch)
        terms = [
            self._contrast(users, batch.users.unique(), None),
            self._contrast(items, batch.positives.unique(), self.absent),
        ]
        perturbed, anchored, fused = (sum(pair) for pair in zip(*terms, strict=True))
        return {
            "bpr": bpr(*triple_scores(*rows)),
            "perturbed": s.perturbed * perturbed,
            "anchored": s.anchored * anchored,
            "fused": s.fused * fused,
            "l2": s.reg * l2(*rows),
        }

    def _contrast(self, parts: Parts, ids: Tensor, missing: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """The three contrastive terms over the rows `ids`."""
        s = self.settings
        behaviour, fused = embedding(ids, parts.behaviour), embedding(ids, parts.fused)
        views = [perturb(fused, s.strength, self.noise) for _ in range(2)]
        anchored = fused.new_zeros(())
        for m, semantics in enumerate(parts.semantics):
            held, anchor = ids, behaviour
            if missing is not None:
                present = ~missing[ids, m]
                held, anchor = ids[present], behaviour[present]
            if len(held):
                anchored = anchored + anchored_infonce(embedding(held, semantics), anchor, s.temperature)
        return infonce(*views, s.temperature), anchored, infonce(behaviour, fused, s.temperature)

    def _new_items(self, features: Mapping[str, Modality], graph: sp.csr_array, items: Parts) -> Tensor:
        features = {name: features[name] for name in self.modalities}
        attach, k = self.cold.neighbours.attach, self.settings.k
        device = items.behaviour.device
        content = nn.ModuleList(ContentRows(m) for m in features.values()).to(device)
        own = self._gated(attach(graph, self.item_table), content)
        missing = absent(features).to(device)
        semantics = [
            ((rows + (k - 1) * attach(graph, theirs)) / k).masked_fill(missing[:, m : m + 1], 0)
            for m, (rows, theirs) in enumerate(zip(own, items.semantics, strict=True))
        ]
        parts = self._with_fused(attach(graph, items.behaviour), semantics, missing)
        return parts.behaviour + parts.fused

    @torch.no_grad()
    def encode_items(self, content: Mapping[str, Modality], attributes: pd.DataFrame | None = None) -> Tensor:
        return self._new_items(content, self.cold.neighbours.graph(content), self._parts()[1])


def enhanced_graph(
    modality: Modality, warm: np.ndarray, together: sp.csr_matrix, k: int, beta: float
) -> sp.csr_matrix:
    """(n_items, n_items): the modality's k-NN graph over warm items, infused with co-occurrence among them."""
    held = modality.mask & warm
    semantic = cached(knn_graph, modality.features, k, held, weight="cosine", normalise=None)
    keep = sp.diags_array(held.astype(np.float32))
    return infuse(semantic, sp.csr_matrix(keep @ together @ keep), beta)
