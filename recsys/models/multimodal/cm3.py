"""CM3: modality channels, a spherical fusion, and uniformity calibrated by it."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np
import pandas as pd
import scipy.sparse as sp
import torch
from torch import Tensor, nn
from torch.nn.functional import embedding, leaky_relu

from recsys.coldstart.cold_items import ColdItems
from recsys.coldstart.scale import ColdScale, cold_scale_setting
from recsys.datasets.dataset import Modality
from recsys.encoders.backbone import Backbone, backbone_options_setting, backbone_setting
from recsys.encoders.beta import symmetric_beta
from recsys.encoders.bezier import bezier
from recsys.encoders.content import ItemContent
from recsys.encoders.fusion import Fusion, fusion_setting, make_fusion
from recsys.encoders.linear import linear
from recsys.encoders.modality_weights import weigh_blocks
from recsys.encoders.sphere import unit
from recsys.graphs.operator import SparseOperator
from recsys.inputs.content import choose, shares
from recsys.inputs.sampler import Batch
from recsys.inputs.training_data import TrainingData
from recsys.models.base import Model, Published, Vectors
from recsys.models.loss_terms import MODALITY, LossTerms, NodeViews, pair_views
from recsys.objectives.terms import ObjectiveSettings, Term, objectives_setting
from recsys.serving.cold import Spherical
from recsys.settings import Settings, setting


class CM3Settings(Settings):
    width: int = setting(64, "width of the vectors of one modality", low=1, high=1024, search=[64, 96, 128])
    layers: int = setting(3, "propagations over the bipartite graph", low=0, high=10, search=[2, 3, 4])
    k: int = setting(10, "neighbours in the item graph, the item included", low=1, high=1000, search=(5, 30))
    gamma: float = setting(0.9, "weight of the uniformity terms", low=0, high=10, search=(0.3, 1.2))
    alpha: float = setting(
        0.5, "parameter of the Beta distribution in the fusion", low=0.01, high=10, search=[0.1, 0.5, 0.9]
    )
    score_at: Literal["half", "last"] = setting(
        "half", "s when scoring: 1/2, or what the last training step drew, as in the published code"
    )
    s_min: float = setting(0.0, "lower limit of a similarity", low=-1, high=1)
    s_max: float = setting(1.0, "upper limit of a similarity", low=-1, high=1, search=[0.8, 0.9, 1.0])
    weights: dict[str, float] = setting({}, "weight of a modality's item graph; 1 where it is not named")
    features: Literal["unit", "raw"] = setting(
        "unit", "rows of unit length, or as they come, as in the published code"
    )
    fusion: Fusion = fusion_setting("bezier")
    modalities: list[str] = setting([], "modalities to read, in the fusion's order; empty: all of them")
    backbone: str = backbone_setting()
    backbone_options: dict[str, Any] = backbone_options_setting()
    calibrate_cold_scale: ColdScale = cold_scale_setting()
    objectives: ObjectiveSettings = objectives_setting()


class State(NamedTuple):
    """What one propagation gives; item tensors have a row for each warm item.

    Attributes:
        users, items: (n_users, (M+1) d) and (n_warm, (M+1) d) vectors.
        own, propagated: the items' layer 0, and their sum over layers, before the item graph.
        fused: (n_warm, d) unit rows f.
    """

    users: Tensor
    items: Tensor
    own: Tensor
    propagated: Tensor
    fused: Tensor


class CM3(Model):
    """align(u, i+) + gamma / 2 (uniform(u) + calibrated(i-; f)) on unit vectors; score = u . i.

    "Calibrating Multimodal Recommendation" (CM3), arXiv 2508.01226. A channel for each modality m, items
    norm(W2 leaky_relu(W1 x^m)), and a shared one, items f: the spherical Bezier fusion of the points norm(V_m
    x^m), at s ~ Beta(alpha, alpha) in training and s = 1/2 when scoring. Users have a table. The channels
    side by side go through LightGCN with sum read-out; users weigh them by a softmax of their own, items add
    one hop over the k-NN item graph. Positives are aligned, negatives kept apart as far as f says.

    Departures: the code ranks with the s that the last training step drew (`score_at`); any number of modalities, an
    item being fused from those that it has; features are scaled to unit rows (`features`); modalities weigh the same in
    the item graph unless `weights` says otherwise (0.1 visual and 0.9 textual in the paper's code); user weights start
    equal, not at random. A cold item has its own channels, at s = 1/2, and takes the mean of its k nearest warm items
    for the layers and the hop that need edges.
    """

    Settings = CM3Settings
    whole_graph = True
    paper = "Calibrating Multimodal Recommendation, arXiv 2508.01226, 2025"
    published = Published(
        "github.com/enoche/CM3 ab054bb8d2",
        {"features": "raw", "score_at": "last", "monitor": "recall@20", "patience": 11},
    )
    reads_content = True
    ranks_cold_items = True
    views: ClassVar = dict.fromkeys(("users", "items"), ("behaviour", MODALITY, "fused", "vector"))
    usual_views = ("behaviour", "fused")
    warm: Tensor
    place: Tensor
    last: Tensor | None

    def __init__(self, settings: CM3Settings, data: TrainingData, seed: int):
        super().__init__(settings, data, seed)
        self.modalities = choose(data.modalities, settings.modalities, "CM3")
        weights = shares(self.modalities, settings.weights, "CM3")
        self.cold = ColdItems(data, self.modalities, settings.k, weights)
        warm = np.flatnonzero(data.warm_items)
        self.propagation = SparseOperator(data.bipartite_graph()[:, warm])
        self.item_graph = SparseOperator(data.item_graph(weights, settings.k)[warm][:, warm])
        # Warm items alone are projected in training: their places among all items, and the way back.
        self.register_buffer("warm", torch.from_numpy(warm), persistent=False)
        self.register_buffer("place", torch.from_numpy(data.warm_item_places()), persistent=False)
        self.content = ItemContent(self.modalities, warm, settings.features)
        self._build_parameters()
        last = torch.full((len(warm),), 0.5) if settings.score_at == "last" else None
        self.register_buffer("last", last)
        self.generator = torch.Generator().manual_seed(seed)
        channels = len(self.modalities) + 1
        self.view_widths = dict.fromkeys(("vector", "user", "item"), channels * settings.width)
        wide, layers = channels * settings.width, settings.layers
        how = settings.backbone, settings.backbone_options
        self.encoder = Backbone(*how, wide, layers, self.init_generator, readout="sum")
        self.terms = LossTerms(self, self._own_terms())

    def _own_terms(self) -> dict[str, Term]:
        settings = self.settings
        half, limits = settings.gamma / 2, {"s_min": settings.s_min, "s_max": settings.s_max}
        return {
            "alignment": Term(objective="alignment", views=["user", "item"], nodes="pairs"),
            "users": Term(objective="uniformity", views=["vector"], nodes="users", weight=half),
            "items": Term(
                objective="calibrated_uniformity", views=["vector", "fused"], weight=half, arguments=limits
            ),
        }

    def _build_parameters(self) -> None:
        width, channels, generator = self.settings.width, len(self.modalities) + 1, self.init_generator
        self.table("user_table", self.data.n_users, channels * width)
        self.user_logits = nn.Parameter(torch.zeros(self.data.n_users, channels))
        self.hidden = self.content.layers(4 * width, generator)
        self.output = nn.ModuleList(linear(4 * width, width, generator, bias=False) for _ in self.modalities)
        self.points = self.content.layers(width, generator)
        self.fuse = make_fusion(self.settings.fusion, len(self.modalities), width, generator)

    def _scoring_s(self) -> Tensor | float:
        """(n_warm,), or one number for all."""
        return 0.5 if self.last is None else self.last

    def start_epoch(self, epoch: int, generator: torch.Generator) -> None:
        self.generator = generator

    def _channels(self, content: ItemContent, s: Tensor | float) -> tuple[Tensor, Tensor]:
        """(n, (M+1) d) the channels side by side and (n, d) f of n items; what an item lacks is zero."""
        hidden = content.project(self.hidden)
        channels = [unit(out(leaky_relu(rows))) for rows, out in zip(hidden, self.output, strict=True)]
        points = content.project(self.points)
        if self.settings.fusion == "bezier":
            fused = bezier(torch.stack(points), s)  # zero rows are absent points
        else:
            fused = unit(self.fuse([unit(rows) for rows in points], content.absent))
        return torch.cat([*channels, fused], dim=1), fused

    def _propagate(self, s: Tensor | float) -> State:
        own, fused = self._channels(self.content, s)
        blocks = self.user_table.view(self.data.n_users, -1, self.settings.width)
        users = unit(blocks).flatten(1)
        users, items = self.encoder(self.propagation, users, own)
        return State(
            weigh_blocks(users, self.user_logits), items + self.item_graph @ items, own, items, fused
        )

    def modality_vectors(self) -> dict[str, Tensor]:
        zeros = self.user_table.new_zeros(self.data.n_items, self.settings.width)
        points = self.content.by_name(self.points)
        return {name: zeros.index_copy(0, self.warm, rows) for name, rows in points.items()}

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        s = symmetric_beta(len(self.warm), self.settings.alpha, self.generator).to(self.user_table)
        if self.last is not None:
            self.last.copy_(s)
        state = self._propagate(s)
        # Who stands in a batch several times stands once in its Gram matrix, with a count.
        users, user_places, user_counts = batch.users.unique(return_inverse=True, return_counts=True)
        negatives, item_counts = self.place[batch.negatives.flatten()].unique(return_counts=True)
        of_users = self._views(state.users, state.users, users)
        vectors_of_batch = partial(of_users.view, "vector")
        of_users.counts = user_counts
        if "users" in self.terms.labels:
            of_users = self._views(state.users, state.users, self.terms.rows("users", users))
        if "items" in self.terms.labels:
            negatives, item_counts = self.place[self.terms.rows("items", self.warm[negatives])], None
        of_items = self._views(state.items, state.own, negatives)
        of_items.counts, of_items.ids = item_counts, self.warm[negatives]
        brought = state.propagated - state.own
        of_items.views |= {
            "fused": lambda: embedding(negatives, state.fused),
            "behaviour": lambda: self._blocks(embedding(negatives, brought)).mean(1),
        }
        of_items.present |= dict(zip(self.modalities, (~self.content.absent[negatives]).T, strict=True))
        pairs = pair_views(
            lambda: embedding(user_places, vectors_of_batch()),
            lambda: embedding(self.place[batch.positives], state.items),
        )
        return self.terms({"users": of_users, "items": of_items, "pairs": pairs})

    def _blocks(self, rows: Tensor) -> Tensor:
        """(n, M+1, d): the channels of (n, (M+1) d)."""
        return rows.view(len(rows), -1, self.settings.width)

    def _views(self, vectors: Tensor, channels: Tensor, rows: Tensor) -> NodeViews:
        """Of the rows numbered `rows`: the vectors that score, each channel, and the channels' mean."""

        def own() -> Tensor:
            return self._blocks(embedding(rows, channels))

        names = [*self.modalities, "fused"]
        views = {name: partial(lambda place: own()[:, place], place) for place, name in enumerate(names)}
        return NodeViews(
            {"vector": lambda: embedding(rows, vectors), "behaviour": lambda: own().mean(1), **views},
            ids=rows,
        )

    def forward(self) -> Vectors:
        state = self._propagate(self._scoring_s())
        items = state.items.new_zeros(self.data.n_items, state.items.shape[1])
        items = items.index_copy(0, self.warm, state.items)
        return Vectors(state.users, self.cold.put(items, partial(self._from_content, state)))

    def _from_content(self, state: State, content: Mapping[str, Modality], graph: sp.csr_array) -> Tensor:
        """(n, (M+1) d): own channels; the neighbours' layers 1.. and, as the hop, all their layers."""
        own, _ = self._channels(self.content.of(content), 0.5)
        others = items_of(self.data.n_items, self.warm, 2 * state.propagated - state.own)
        return own + self.cold.average(graph, others)

    @torch.no_grad()
    def cold_part(self, items: np.ndarray) -> Spherical:
        state = self._propagate(self._scoring_s())
        others = items_of(self.data.n_items, self.warm, 2 * state.propagated - state.own)
        layers = [
            [layer.get_parameter("weight").cpu().numpy() for layer in of]
            for of in (self.hidden, self.output, self.points)
        ]
        biases = [
            [layer.get_parameter("bias").cpu().numpy() for layer in of] for of in (self.hidden, self.points)
        ]
        features = "unit" if self.settings.features == "unit" else "raw"
        first, names = self.cold.resembling(others), list(self.modalities)
        return Spherical(first, names, features, layers[0], biases[0], layers[1], layers[2], biases[1])

    @torch.no_grad()
    def encode_items(self, content: Mapping[str, Modality], attributes: pd.DataFrame | None = None) -> Tensor:
        return self.cold.place(content, partial(self._from_content, self._propagate(self._scoring_s())))


def items_of(n_items: int, warm: Tensor, rows: Tensor) -> Tensor:
    """(n_items, d): the warm items' rows in their places, zeros elsewhere."""
    return rows.new_zeros(n_items, rows.shape[1]).index_copy(0, warm, rows)
