"""How an item without interactions joins the items that have some: through its content's nearest neighbours.

A cold item has no edge in the interaction graph and an untrained ID row. Its vector is what its k nearest
training items, by each modality that it has, say on average. An item of the catalogue and one that arrives after
training take the same path, and one item's vector never depends on which others arrive with it.
"""

from __future__ import annotations

from collections.abc import Mapping
from weakref import WeakKeyDictionary

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from recsys.datasets.dataset import Modality
from recsys.graphs.knn import averages, knn
from recsys.inputs.training_data import TrainingData

Lists = tuple[np.ndarray, np.ndarray]

_cached: WeakKeyDictionary[Modality, list[tuple[Modality, np.ndarray, Lists]]] = WeakKeyDictionary()


def nearest(
    queries: Modality, bank: Modality, warm: np.ndarray, k: int, notes: list[str] | None = None
) -> Lists:
    """(n, k) int64 numbers and float32 cosines of each query's k nearest warm items, as `knn` gives them; an item
    that has nothing in common with the query is not near it.

    The search is nearly all that placing a new item costs, and a model's parts ask for the same one: it is done once
    for these objects, none of which changes. `notes` as in `knn`.
    """
    known = _cached.setdefault(queries, [])
    for base, mask, lists in known:
        if base is bank and mask is warm and lists[0].shape[1] >= k:
            return lists[0][:, :k], lists[1][:, :k]
    masks = {"query_mask": queries.mask, "base_mask": bank.mask & warm}
    lists = knn(queries.features, bank.features, k, **masks, positive_only=True, notes=notes)
    known.append((bank, warm, lists))
    return lists


class ContentNeighbours:
    """The training items' content, ready to find any item's nearest training items.

    Args:
        data: what training may see; the bank is built on its warm items.
        modalities: those to use, by name.
        k: neighbours by each modality.
        weights: how much each modality counts; all alike where None.
    """

    def __init__(
        self,
        data: TrainingData,
        modalities: Mapping[str, Modality],
        k: int,
        weights: Mapping[str, float] | None = None,
    ):
        self.k, self.n_items, self._warm = k, data.n_items, data.warm_items
        self._data = data
        self.weights = weights or dict.fromkeys(modalities, 1.0)
        self._bank = dict(modalities)
        for name, bank in self._bank.items():
            data.ledger.record("neighbour bank", name, items=bank.mask & data.warm_items)

    def graph(self, features: Mapping[str, Modality]) -> sp.csr_array:
        """(n, n_items) CSR: row i averages, over the modalities that item i has and by their weights, its k
        nearest warm items by that modality, 1/k each. A row sums to 1, or to less where fewer than k have anything
        in common with the item: less is known of it (on citeulike-a that raised the cold NDCG of a walk by 5%)."""
        lists = {}
        for name, bank in self._bank.items():
            notes: list[str] = []
            lists[name], _ = nearest(features[name], bank, self._warm, self.k, notes)
            self._data.add_notes(f"{name}: {note}" for note in notes)
        masks = {name: features[name].mask for name in lists}
        return averages(lists, masks, self.weights, self.k, self.n_items)

    def attach(self, graph: sp.csr_array, vectors: Tensor) -> Tensor:
        """(n, d): each row's average of its neighbours' vectors, or of all warm items' where it has no neighbour;
        `vectors` is (n_items, d)."""
        values = vectors.detach().cpu().numpy()
        joined = np.asarray(graph @ values, dtype=np.float32)
        joined[np.diff(graph.indptr) == 0] = values[self._warm].mean(axis=0)
        return torch.from_numpy(joined).to(vectors)
