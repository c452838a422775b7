"""What counts and content say, in closed form, of how well items complete a set: the signals a model weighs."""

from __future__ import annotations

import copy
from collections.abc import Mapping

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from recsys.datasets.dataset import Modality
from recsys.graphs.knn import knn, neighbour_graph
from recsys.inputs.content import below, unit_rows
from recsys.inputs.training_data import TrainingData
from recsys.models.bundle.cooccurrence import cooccurrences

NEIGHBOURS = 10
SAME = 0.999
"""Items whose cosine in a modality is at least this say the same there: substitutes, or of one category."""


class Signals:
    """Signals of candidate items for sets, (sets, candidates, signals) float32.

    Counts: log(1 + c), c > 0, c / sqrt(count) and c by given item, where c is how often a candidate occurs with
    the given items in training bundles; the rate, c by how many bundles each given item is in; log(1 + c) again
    after the given items, the candidates, or both are widened to their nearest in content. Content: mean and
    largest cosine to the given items by modality, whether it is identical to one of them there, and the mean
    again times m / (m + count): an item that many bundles hold, and never one with these, is unlikely to be
    missing here however much it resembles them; of an item that no bundle holds nothing speaks against it.

    `without` counts without some training bundles: these can then be asked about as bundles never seen. Leaving
    out each one alone would not do, for then no items but its answers were in no bundle.

    Args:
        data: training data; the graphs made here are recorded there.
        doubt: bundles of an item at which its similarity counts half.
    """

    def __init__(self, data: TrainingData, doubt: float):
        self.doubt = doubt
        self.counts = data.item_counts().astype(np.float32)
        self.together = data.graph("co-occurrence", cooccurrences(data.interactions), "items", "items")
        self.content = [unit_rows(modality.features) for modality in data.modalities.values()]
        n, self._warm = data.n_items, data.warm_items
        self.near = sp.csr_array((n, n), dtype=np.float32)
        if self.content:
            self._joint = _side_by_side(self.content)
            self.near = self._nearest(self._joint, exclude_self=True)
        data.ledger.record("graph", "nearest in content", None, np.diff(self.near.tocsc().indptr) > 0)
        self.names = self._names(list(data.modalities))

    def _nearest(self, rows: np.ndarray | sp.csr_array, exclude_self: bool = False) -> sp.csr_array:
        """Candidates come from content alone, cold ones too; what they are widened to is warm."""
        indices, cosines = knn(
            rows, self._joint, NEIGHBOURS, base_mask=self._warm, exclude_self=exclude_self, positive_only=True
        )
        return sp.csr_array(neighbour_graph(indices, cosines, self._joint.shape[0]), dtype=np.float32)

    def with_items(self, modalities: Mapping[str, Modality]) -> Signals:
        """These signals over a catalogue that ends in n more items, of which content alone is known."""
        new = [unit_rows(modality.features) for modality in modalities.values()]
        joint, wide = _side_by_side(new), copy.copy(self)
        n = len(self.counts) + joint.shape[0]
        wide.counts = np.append(self.counts, np.zeros(joint.shape[0], dtype=np.float32))
        wide.together, wide.near = self.together.copy(), below(self.near, self._nearest(joint))
        for matrix in (wide.together, wide.near):
            matrix.resize(n, n)
        wide.content = [below(*pair) for pair in zip(self.content, new, strict=True)]
        return wide

    def _names(self, modalities: list[str]) -> list[str]:
        names = [
            "count",
            "together",
            "cosine count",
            "mean count",
            "rate",
            "near given",
            "near candidate",
            "near both",
        ]
        for name in modalities:
            names += [f"{name} mean", f"{name} largest", f"{name} same", f"{name} of the rare"]
        return names

    def without(self, rows: sp.csr_array) -> Signals:
        """These signals as they were without the training bundles `rows` (b, n_items)."""
        fewer = copy.copy(self)
        fewer.counts = self.counts - np.asarray(rows.sum(axis=0), dtype=np.float32).ravel()
        fewer.together = sp.csr_array(self.together - cooccurrences(rows))
        fewer.together.eliminate_zeros()
        return fewer

    def __call__(self, given: sp.csr_array, items: np.ndarray) -> Tensor:
        """(b, c, signals) for sets `given` (b, n_items) and the candidates numbered `items` (c,)."""
        parts = [*self._counted(given, items), *self._alike(given, items)]
        return torch.from_numpy(np.stack(parts, axis=2))

    def _counted(self, given: sp.csr_array, items: np.ndarray) -> list[np.ndarray]:
        rates, size = given.copy(), _sizes(given)
        rates.data = (rates.data / np.maximum(self.counts[given.indices], 1)).astype(np.float32)
        plain, widened = (sp.csr_array(rows @ self.together) for rows in (given, given @ self.near))
        together, count = _take(plain, items), np.maximum(self.counts[items], 1)
        signals = [
            np.log1p(together),
            (together > 0).astype(np.float32),
            together / np.sqrt(count),
            together / size,
        ]
        signals.append(_take(sp.csr_array(rates @ self.together), items) / size)
        back = sp.csr_array(self.near.T)
        for rows in (widened, plain @ back, widened @ back):
            signals.append(np.log1p(np.maximum(_take(sp.csr_array(rows), items), 0)))
        return signals

    def _alike(self, given: sp.csr_array, items: np.ndarray) -> list[np.ndarray]:
        size, rare = _sizes(given), self.doubt / (self.doubt + self.counts[items])
        filled = np.diff(given.indptr) > 0
        starts = given.indptr[:-1][filled]
        signals = []
        for content in self.content:
            # NumPy's reductions, not torch's: with the threads of NumPy's BLAS awake these took ten times as long.
            product = content[given.indices] @ content[items].T
            cosines = product.toarray() if sp.issparse(product) else product
            largest, mean = np.zeros((2, given.shape[0], len(items)), dtype=np.float32)
            if len(starts):
                largest[filled] = np.maximum(np.maximum.reduceat(cosines, starts, axis=0), 0)
                mean[filled] = np.add.reduceat(cosines, starts, axis=0)
            mean /= size
            signals += [mean, largest, largest >= SAME, mean * rare]
        return [signal.astype(np.float32) for signal in signals]


def _sizes(given: sp.csr_array) -> np.ndarray:
    """(b, 1) float32: items of each set, at least 1."""
    return np.maximum(np.diff(given.indptr), 1).astype(np.float32)[:, None]


def _take(rows: sp.csr_array, items: np.ndarray) -> np.ndarray:
    return rows[:, items].toarray().astype(np.float32)


def _side_by_side(rows: list[np.ndarray | sp.csr_array]) -> np.ndarray | sp.csr_array:
    """Unit rows of several matrices of unit rows, side by side; sparse if one is."""
    if any(map(sp.issparse, rows)):
        return unit_rows(sp.csr_array(sp.hstack([sp.csr_array(part) for part in rows])))
    return unit_rows(np.concatenate(rows, axis=1))
