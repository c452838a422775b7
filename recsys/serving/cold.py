"""How items that arrive find a place: by the training items that they resemble in content."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse as sp

from recsys.inputs.content import unit_rows
from recsys.inputs.requests import NewItems


class Bank(NamedTuple):
    """The catalogue's content, in which a new item finds its neighbours.

    Attributes:
        modalities: name -> features and mask of the catalogue, as `recsys.datasets.dataset.Modality`.
        warm: (n_items,) bool, the items that training had interactions of.
    """

    modalities: Mapping[str, Any]
    warm: np.ndarray


@dataclass(frozen=True)
class Neighbours:
    """How a new item finds what it resembles: as `recsys.coldstart.neighbours.ContentNeighbours`.

    Attributes:
        k: nearest warm items by each modality.
        weights: modality -> how much it counts.
    """

    k: int
    weights: dict[str, float]

    def graph(self, new: NewItems, bank: Bank) -> sp.csr_array:
        """(n, n_items) CSR, the rows that average what a new item resembles."""
        from recsys.graphs.knn import averages  # torch, which only new items need

        found = {name: nearest_warm(name, self.k, new, bank) for name in self.weights}
        masks = {name: new.modalities[name].mask for name in self.weights}
        return averages(found, masks, self.weights, self.k, len(bank.warm))


@dataclass(frozen=True)
class Resembling:
    """The mean of what a new item's neighbours have in a table.

    Attributes:
        neighbours: how it finds them; who has none gets the mean of all warm items.
        table: (n_items, d) float32.
        exact: this is the model's own rule, and does not stand in for it.
    """

    neighbours: Neighbours
    table: np.ndarray
    exact: bool

    def place(self, new: NewItems, bank: Bank) -> np.ndarray:
        """(n, d) float32 vectors of new items."""
        graph = self.neighbours.graph(new, bank)
        placed = np.asarray(graph @ self.table, dtype=np.float32)
        placed[np.diff(graph.indptr) == 0] = self.table[bank.warm].mean(axis=0)
        return placed


@dataclass(frozen=True)
class Hyperedges:
    """As `Resembling`, and besides the unit sum of the hyperedges that a new item joins, one for each item that it
    resembles by each modality: MMHCL's rule.

    Attributes:
        first: the mean of neighbours.
        k: nearest items by each modality.
        edges: modality -> (n_items, d) float32, what each item's hyperedge holds.
    """

    first: Resembling
    k: int
    edges: dict[str, np.ndarray]

    @property
    def exact(self) -> bool:
        return self.first.exact

    def place(self, new: NewItems, bank: Bank) -> np.ndarray:
        """(n, d) float32 vectors of new items."""
        from recsys.graphs.knn import neighbour_graph

        total = np.zeros_like(self.first.table[:1])
        for name, edges in self.edges.items():
            found = nearest_warm(name, self.k, new, bank)
            total = total + neighbour_graph(found, None, len(bank.warm)) @ edges
        length = np.maximum(np.linalg.norm(total, axis=1, keepdims=True), 1e-12)
        return (self.first.place(new, bank) + total / length).astype(np.float32)


@dataclass(frozen=True)
class Spherical:
    """As `Resembling`, and besides an item's own channels and their spherical fusion: CM3's rule.

    Attributes:
        first: the mean of neighbours.
        names, features: the modalities, and whether their rows are taken as "unit" rows or "raw".
        hidden, hidden_bias, output: of each, (h, width), (h,) and (d, h): channels unit(output leaky_relu(hidden x)).
        points, points_bias: of each, (d, width) and (d,): what is fused.
    """

    first: Resembling
    names: list[str]
    features: str
    hidden: list[np.ndarray]
    hidden_bias: list[np.ndarray]
    output: list[np.ndarray]
    points: list[np.ndarray]
    points_bias: list[np.ndarray]

    @property
    def exact(self) -> bool:
        return self.first.exact

    def place(self, new: NewItems, bank: Bank) -> np.ndarray:
        """(n, (M + 1) d) float32 vectors of new items."""
        import torch
        from torch.nn.functional import leaky_relu

        from recsys.encoders.bezier import bezier
        from recsys.encoders.sphere import unit

        channels, points = [], []
        for place, name in enumerate(self.names):
            modality = new.modalities[name]
            rows = unit_rows(modality.features) if self.features == "unit" else modality.features
            held = modality.mask[:, None].astype(np.float32)
            inner = (rows @ self.hidden[place].T + self.hidden_bias[place]) * held
            channels.append(unit(leaky_relu(torch.from_numpy(inner)) @ torch.tensor(self.output[place]).T))
            points.append(torch.from_numpy((rows @ self.points[place].T + self.points_bias[place]) * held))
        own = torch.cat([*channels, bezier(torch.stack(points), 0.5)], dim=1)
        return (own.numpy() + self.first.place(new, bank)).astype(np.float32)


Cold = Resembling | Hyperedges | Spherical
"""How a model places new items."""


def nearest_warm(name: str, k: int, new: NewItems, bank: Bank) -> np.ndarray:
    """(n, k) int64, each new item's nearest warm items by a modality, -1 for none."""
    from recsys.graphs.knn import knn

    queries, base = new.modalities[name], bank.modalities[name]
    masks = {"query_mask": queries.mask, "base_mask": np.asarray(base.mask) & bank.warm}
    return knn(queries.features, base.features, k, **masks, positive_only=True)[0]
