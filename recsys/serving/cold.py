"""How items that arrive find a place: by the training items that they resemble in content."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse as sp

from recsys.encoders.fields import Codes, Numbers, Words, read_fields
from recsys.inputs.content import unit_rows
from recsys.inputs.requests import NewItems

KERNEL_CELLS = 2**22
"""float64 similarities of items to reference items that are held at once: 32 MiB."""


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

        neighbours = {name: nearest_warm(name, self.k, new, bank) for name in self.weights}
        masks = {name: new.modalities[name].mask for name in self.weights}
        return averages(neighbours, masks, self.weights, self.k, len(bank.warm))


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
            neighbours = nearest_warm(name, self.k, new, bank)
            total = total + neighbour_graph(neighbours, None, len(bank.warm)) @ edges
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


@dataclass(frozen=True)
class Kernel:
    """mean + sum over c reference items of exp(s (x . y - 1)) w, x and y unit rows, added up over what both have, and a
    linear map of the sparse modalities' unit rows side by side: ridge regressions, the rule of the model `student`.

    Attributes:
        modalities: name -> (c, width) unit rows of the reference items.
        words, knots: attribute -> the words or the knots that it is read by, as `recsys.encoders.fields`.
        fields: attribute -> (c, words or knots) unit rows.
        held: name -> (c,) bool, the reference items that have it.
        sharpness: s.
        weights, mean: (c, d) float32 w, and (d,).
        linear: (sum of the sparse modalities' widths, d) float32; no rows where there is no such map.
    """

    modalities: dict[str, Any]
    words: dict[str, list[str]]
    knots: dict[str, np.ndarray]
    fields: dict[str, Any]
    held: dict[str, np.ndarray]
    sharpness: float
    weights: np.ndarray
    linear: np.ndarray
    mean: np.ndarray

    @property
    def exact(self) -> bool:
        return True

    def place(self, new: NewItems, bank: Bank | None = None) -> np.ndarray:
        """(n, d) float32 vectors of new items."""
        weights = np.asarray(self.weights, dtype=np.float64)
        parts = [kernel @ weights for _, kernel in self.similarities(new)]
        placed = self.mean + np.concatenate([np.empty((0, weights.shape[1])), *parts])
        if len(self.linear):
            placed = placed + sparse_rows([new.modalities[name] for name in self.modalities]) @ self.linear
        return placed.astype(np.float32)

    def similarities(self, items: NewItems, size: int = 0) -> Iterator[tuple[slice, np.ndarray]]:
        """The items in blocks (of `size`), with their similarities (b, c) float64 to the reference items."""
        coders: dict[str, Words | Numbers | Codes] = {
            name: Words.known(words) for name, words in self.words.items()
        }
        coders |= {name: Numbers.known(knots) for name, knots in self.knots.items()}
        own = read_fields(coders, items.attributes, len(items)) if coders else {}
        pairs = [(items.modalities[name], name, base) for name, base in self.modalities.items()]
        pairs += [(own[name], name, base) for name, base in self.fields.items()]
        c = len(next(iter(self.held.values())))
        size = size or max(16, KERNEL_CELLS // c)
        for start in range(0, len(items), size):
            rows = slice(start, start + size)
            total = np.zeros((len(range(*rows.indices(len(items)))), c))
            for content, name, base in pairs:
                product = unit_rows(content.features[rows]) @ base.T
                product = product.toarray() if sp.issparse(product) else np.asarray(product)
                near = np.exp(self.sharpness * (product.astype(np.float64) - 1))
                total += near * (np.asarray(content.mask)[rows, None] & np.asarray(self.held[name]))
            yield rows, total


@dataclass(frozen=True)
class Scaled:
    """A factor times what another rule gives: of a model that calibrates the factor of its cold items."""

    rule: Cold
    scale: float

    @property
    def exact(self) -> bool:
        return self.rule.exact

    def place(self, new: NewItems, bank: Bank) -> np.ndarray:
        """(n, d) float32 vectors of new items."""
        return self.rule.place(new, bank) * np.float32(self.scale)


Cold = Resembling | Hyperedges | Spherical | Kernel | Scaled
"""How a model places new items."""


def sparse_rows(modalities: Sequence[Any]) -> sp.csr_array:
    """(n, sum of widths) float32, the unit rows of those modalities that are sparse, side by side."""
    rows = [unit_rows(each.features) for each in modalities if sp.issparse(each.features)]
    return sp.csr_array(sp.hstack(rows) if rows else (len(modalities[0].mask), 0), dtype=np.float32)


def nearest_warm(name: str, k: int, new: NewItems, bank: Bank) -> np.ndarray:
    """(n, k) int64, each new item's nearest warm items by a modality, -1 for none."""
    from recsys.graphs.knn import knn

    queries, base = new.modalities[name], bank.modalities[name]
    masks = {"query_mask": queries.mask, "base_mask": np.asarray(base.mask) & bank.warm}
    return knn(queries.features, base.features, k, **masks, positive_only=True)[0]
