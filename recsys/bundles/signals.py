"""What counts and content say, in closed form, of how well items complete a set: the signals a model weighs."""

from __future__ import annotations

import copy
from collections.abc import Mapping

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from recsys.content import below, unit_rows
from recsys.data import TrainingData
from recsys.datasets.dataset import Modality
from recsys.errors import UserError
from recsys.graphs.knn import knn, neighbour_graph
from recsys.models.cooccurrence import cooccurrences

NEIGHBOURS, TOPICS, WIDTH = 10, 100, 256
SAME = 0.999
"""Items whose cosine in a modality is at least this say the same there: substitutes, or of one category."""


class Signals:
    """Signals of candidate items for sets, (sets, candidates, signals) float32.

    Counts: log(1 + c), c > 0, c / sqrt(count) and c by given item, where c is how often a candidate occurs with
    the given items in training bundles; log(1 + c) again after the given items, the candidates, or both are
    widened to their nearest in content. Content: mean and largest cosine to the given items by modality, whether
    it is identical to one of them there, and the mean cosine in the leading components of all modalities together.

    A training bundle's own items are left out of the counts when its set is asked about: otherwise every training
    example would hold its answer.

    Args:
        data: training data; the graphs made here are recorded there.
    """

    def __init__(self, data: TrainingData):
        self.counts = data.item_counts().astype(np.float32)
        self.together = data.graph("co-occurrence", cooccurrences(data.interactions), "items", "items")
        self.content = [unit_rows(_dense(m)) for m in data.modalities.values()]
        self._widths = {name: m.width for name, m in data.modalities.items() if m.is_sparse}
        n, self._warm = data.n_items, data.warm_items
        self.near, self.topics = sp.csr_array((n, n), dtype=np.float32), None
        if self.content:
            self._joint = unit_rows(np.concatenate(self.content, axis=1))
            self.near = self._nearest(self._joint, exclude_self=True)
            self._directions = _leading(self._joint[data.warm_items], TOPICS)
            self.topics = self._in_topics(self._joint)
        data.ledger.record("graph", "nearest in content", None, np.diff(self.near.tocsc().indptr) > 0)
        self.names = self._names(list(data.modalities))

    def _nearest(self, rows: np.ndarray, exclude_self: bool = False) -> sp.csr_array:
        """Candidates come from content alone, cold ones too; what they are widened to is warm."""
        indices, cosines = knn(
            rows, self._joint, NEIGHBOURS, base_mask=self._warm, exclude_self=exclude_self, positive_only=True
        )
        return sp.csr_array(neighbour_graph(indices, cosines, len(self._joint)), dtype=np.float32)

    def _in_topics(self, rows: np.ndarray) -> np.ndarray:
        return unit_rows(np.ascontiguousarray(rows @ self._directions, dtype=np.float32))

    def with_items(self, modalities: Mapping[str, Modality]) -> Signals:
        """These signals over a catalogue that ends in n more items, of which content alone is known.

        Raises:
            UserError: a sparse modality so wide that it was reduced on the catalogue's items.
        """
        for name, width in self._widths.items():
            if width > WIDTH:
                raise UserError(
                    f"clhe-signals cannot rank new items: '{name}' was reduced to {WIDTH} columns"
                )
        new = [unit_rows(_dense(modality)) for modality in modalities.values()]
        joint, wide = unit_rows(np.concatenate(new, axis=1)), copy.copy(self)
        n = len(self.counts) + len(joint)
        wide.counts = np.append(self.counts, np.zeros(len(joint), dtype=np.float32))
        wide.together, wide.near = self.together.copy(), below(self.near, self._nearest(joint))
        for matrix in (wide.together, wide.near):
            matrix.resize(n, n)
        wide.content = [below(*pair) for pair in zip(self.content, new, strict=True)]
        wide.topics = below(self.topics, self._in_topics(joint))
        return wide

    def _names(self, modalities: list[str]) -> list[str]:
        names = [
            "count",
            "together",
            "conditional",
            "mean count",
            "near given",
            "near candidate",
            "near both",
        ]
        for name in modalities:
            names += [f"{name} mean", f"{name} largest", f"{name} same"]
        return [*names, "topics"] if modalities else names

    def __call__(self, given: sp.csr_array, own: sp.csr_array | None, items: np.ndarray) -> Tensor:
        """(b, c, signals) for sets `given` (b, n_items) and the candidates numbered `items` (c,).

        Args:
            own: (b, n_items) training rows that the sets are parts of; None where training has not seen them.
        """
        parts = [*self._counted(given, own, items), *self._alike(given, items)]
        return torch.stack([torch.from_numpy(part) for part in parts], dim=2)

    def _counted(self, given: sp.csr_array, own: sp.csr_array | None, items: np.ndarray) -> list[np.ndarray]:
        wide = sp.csr_array(given @ self.near)
        plain, widened = (self._occurrences(rows, own) for rows in (given, wide))
        back = sp.csr_array(self.near.T)
        count = self.counts[items][None]
        if own is not None:
            count = count - own[:, items].toarray()
        c = _take(plain, items)
        size = np.maximum(np.diff(given.indptr), 1).astype(np.float32)[:, None]
        signals = [np.log1p(c), (c > 0).astype(np.float32), c / np.sqrt(np.maximum(count, 1)), c / size]
        for rows in (widened, plain @ back, widened @ back):
            signals.append(np.log1p(np.maximum(_take(sp.csr_array(rows), items), 0)))
        return signals

    def _occurrences(self, rows: sp.csr_array, own: sp.csr_array | None) -> sp.csr_array:
        """rows @ co-occurrence counts, each row without what its own training row added to them."""
        counted = sp.csr_array(rows @ self.together)
        if own is None:
            return counted
        inside = sp.csr_array(rows.multiply(own))
        total = sp.diags_array(np.asarray(inside.sum(axis=1)).ravel())
        return sp.csr_array(counted - (total @ own - inside))

    def _alike(self, given: sp.csr_array, items: np.ndarray) -> list[np.ndarray]:
        size = np.maximum(np.diff(given.indptr), 1).astype(np.float32)[:, None]
        rows = torch.from_numpy(np.repeat(np.arange(given.shape[0]), np.diff(given.indptr)))
        signals = []
        for content in self.content:
            cosines = torch.from_numpy(content[given.indices] @ content[items].T)
            zeros = cosines.new_zeros(given.shape[0], len(items))
            places = rows[:, None].expand(cosines.shape)
            largest = zeros.scatter_reduce(0, places, cosines, "amax", include_self=True).numpy()
            mean = zeros.index_add(0, rows, cosines).numpy() / size
            signals += [mean, largest, (largest >= SAME).astype(np.float32)]
        if self.topics is not None:
            signals.append((given @ self.topics) @ self.topics[items].T / size)
        return [signal.astype(np.float32) for signal in signals]


def _take(rows: sp.csr_array, items: np.ndarray) -> np.ndarray:
    return rows[:, items].toarray().astype(np.float32)


def _dense(modality: Modality) -> np.ndarray:
    return np.asarray(modality.dense(WIDTH), dtype=np.float32)


def _leading(sample: np.ndarray, width: int) -> np.ndarray:
    """(d, <= width) float64, the leading right singular directions of `sample` (n, d)."""
    _, directions = np.linalg.eigh(sample.T.astype(np.float64) @ sample)
    return directions[:, ::-1][:, :width]
