"""The catalogue's items without training interactions, on the path that new items take too."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from recsys.coldstart.neighbours import ContentNeighbours
from recsys.datasets.dataset import Modality
from recsys.inputs.content import below, without_content
from recsys.inputs.requests import NewItems
from recsys.inputs.training_data import TrainingData
from recsys.serving.cold import Neighbours, Resembling

Place = Callable[[Mapping[str, Modality], sp.csr_array], Tensor]
"""A model's rule for items without training interactions: their content, and the graph of their neighbours among the
training items (n, n_items), give vectors (n, d)."""


def take(modalities: Mapping[str, Modality], rows: np.ndarray) -> dict[str, Modality]:
    """The modalities of the items numbered `rows`."""
    return {name: m.rows(rows) for name, m in modalities.items()}


def harmonic_mean(warm: float, cold: float) -> float:
    """The harmonic mean of a figure of warm and of cold answers: high where neither is given up for the other."""
    return 2 * warm * cold / max(warm + cold, 1e-12)


def absent(modalities: Mapping[str, Modality]) -> Tensor:
    """(n, M) bool: True where an item lacks a modality."""
    return torch.from_numpy(np.column_stack([~m.mask for m in modalities.values()]))


class ColdItems:
    """Who the cold items are, what content they have, and their nearest training items.

    Attributes:
        ids: (n,) int64 item numbers.
        features: their content by modality.
        neighbours: finds any item's k nearest training items.
    """

    def __init__(
        self,
        data: TrainingData,
        modalities: Mapping[str, Modality],
        k: int,
        weights: Mapping[str, float] | None = None,
    ):
        cold = np.flatnonzero(~data.warm_items)
        self.ids = torch.from_numpy(cold)
        self.features = take(modalities, cold)
        self.neighbours = ContentNeighbours(data, modalities, k, weights)

    def __len__(self) -> int:
        return len(self.ids)

    @cached_property
    def without_content(self) -> np.ndarray:
        """(n_items,) bool, the cold items without any content."""
        without = np.zeros(self.neighbours.n_items, dtype=bool)
        without[self.ids.numpy()] = without_content(self.features, len(self.ids))
        return without

    @cached_property
    def graph(self) -> sp.csr_array:
        """(n, n_items): the neighbours' graph of the cold items, found once, when they are first scored."""
        return self.neighbours.graph(self.features)

    def joined(self, new_items: NewItems | None) -> tuple[Tensor, sp.csr_array]:
        """Numbers of the cold items and, from n_items on, of new items, and the neighbours' graph of them all."""
        if new_items is None:
            return self.ids, self.graph
        numbers = self.neighbours.n_items + torch.arange(len(new_items))
        graph = below(self.graph, self.neighbours.graph(new_items.modalities))
        return torch.cat([self.ids, numbers]), graph

    def put(self, items: Tensor, place: Place) -> Tensor:
        """(n_items, d) `items` with the cold items' rows replaced by what `place` gives of them."""
        if not len(self):
            return items
        return items.index_copy(0, self.ids.to(items.device), place(self.features, self.graph))

    def place(self, content: Mapping[str, Modality], place: Place) -> Tensor:
        """(n, d): what `place` gives of any items, which come with their content."""
        return place(content, self.neighbours.graph(content))

    def resembling(self, table: Tensor) -> Resembling:
        """The rule of `average`, of new items and of vectors (n_items, d), as a bundle keeps it."""
        neighbours = Neighbours(self.neighbours.k, dict(self.neighbours.weights))
        return Resembling(neighbours, table.detach().float().cpu().numpy(), True)

    def average(self, graph: sp.csr_array, vectors: Tensor) -> Tensor:
        """(n, d): each row's average of its neighbours' vectors (n_items, d)."""
        return self.neighbours.attach(graph, vectors)
