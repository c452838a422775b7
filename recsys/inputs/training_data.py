"""What a model may see while it trains, and the record of what it saw."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import scipy.sparse as sp

from recsys.datasets.bundles import BundleView, Feedback
from recsys.datasets.dataset import Dataset, Modality
from recsys.datasets.splits import Split
from recsys.errors import LeakError
from recsys.graphs.bipartite import normalised_interactions
from recsys.graphs.cache import cached
from recsys.graphs.knn import item_graph, knn_graph, membership_graph
from recsys.inputs.requests import QueryUsers


@dataclass(frozen=True)
class Use:
    """One thing that training used (a graph, a sampler, a normaliser, an ID table) and whom it touched."""

    kind: str
    name: str
    users: np.ndarray | None = None
    items: np.ndarray | None = None


@dataclass
class Ledger:
    """Everything that training used, so that the leak audit can follow each cold id into it."""

    uses: list[Use] = field(default_factory=list)

    def record(
        self, kind: str, name: str, users: np.ndarray | None = None, items: np.ndarray | None = None
    ) -> None:
        """Note that `name` touches the users and items that are True in these masks (None: none of them)."""
        self.uses.append(Use(kind, name, users, items))

    def audit(self, cold_users: np.ndarray, cold_items: np.ndarray) -> int:
        """Count of the uses checked.

        Raises:
            LeakError: a cold user or item takes part in something that training used.
        """
        for use in self.uses:
            for noun, touched, cold in (("user", use.users, cold_users), ("item", use.items, cold_items)):
                leaked = (
                    np.flatnonzero(touched & cold) if touched is not None else np.empty(0, dtype=np.int64)
                )
                if len(leaked):
                    raise LeakError(
                        f"leak: {use.kind} '{use.name}' touches {len(leaked)} cold {noun}s in training "
                        f"(first: number {leaked[0]}); the run's cold-start figures would be wrong"
                    )
        return len(self.uses)


def touched_rows(matrix: sp.csr_array) -> np.ndarray:
    """(rows,) bool: the rows of a CSR that hold an entry."""
    return np.diff(matrix.indptr) > 0


def touched_columns(matrix: sp.csr_array) -> np.ndarray:
    """(columns,) bool: the columns of a CSR that hold an entry."""
    return np.bincount(matrix.indices, minlength=matrix.shape[1]) > 0


class TrainingData:
    """The training part of a split and the content of users and items; nothing of validation or test.

    Attributes:
        interactions: (n_users, n_items) float32 CSR of ones, the training interactions.
        warm_users, warm_items: bool masks of those with a training interaction.
        modalities, user_attributes, item_attributes: as in Dataset. Content of cold items is there, for
            scoring; what training makes of content is built on warm items alone and recorded.
        feedback: of bundles, what people did with items, without what validation and test bundles tell; read it
            through `use_feedback`. None where there is none.
        timestamps: (nnz,) float64 seconds, one for each training interaction in the order of the CSR's entries; read
            them through `use_timestamps`. None where there are none.
        ledger: the record that the leak audit reads.
        notes: what should be known of the graphs that were made of it, such as the recall of an approximate search.
    """

    def __init__(
        self,
        interactions: sp.csr_array,
        modalities: Mapping[str, Modality] | None = None,
        user_attributes: pd.DataFrame | None = None,
        item_attributes: pd.DataFrame | None = None,
        feedback: Feedback | None = None,
        timestamps: np.ndarray | None = None,
    ):
        self.interactions = interactions
        self.n_users, self.n_items = interactions.shape
        self.warm_users = touched_rows(interactions)
        self.warm_items = touched_columns(interactions)
        self.modalities = dict(modalities or {})
        self.user_attributes = pd.DataFrame() if user_attributes is None else user_attributes
        self.item_attributes = pd.DataFrame() if item_attributes is None else item_attributes
        self.feedback = feedback
        self.timestamps = timestamps
        self.ledger = Ledger()
        self.notes: list[str] = []
        self.ledger.record("interactions", "train", self.warm_users, self.warm_items)

    @classmethod
    def of(cls, dataset: Dataset, split: Split) -> TrainingData:
        """What a model may see of `dataset` under `split`."""
        feedback = dataset.feedback if isinstance(dataset, BundleView) else None
        train = dataset.interactions.iloc[split.train]
        times = train.sort_values(["user", "item"])["timestamp"].to_numpy() if "timestamp" in train else None
        return cls(
            dataset.matrix(split.train),
            dataset.modalities,
            dataset.user_attributes,
            dataset.item_attributes,
            feedback.within(~split.cold_users) if feedback else None,
            times,
        )

    def query_users(self, support: sp.csr_array | None = None) -> QueryUsers:
        """All users of the data set, to rank for; a cold one has no number, as if new.

        Args:
            support: (n_users, n_items) CSR of interactions that users bring along besides those of the training.
        """
        numbers = np.where(self.warm_users, np.arange(self.n_users), -1)
        history = self.interactions if support is None else self.interactions + support
        return QueryUsers(numbers, history, self.user_attributes)

    def item_counts(self) -> np.ndarray:
        """(n_items,) int64: training interactions of each item."""
        return np.bincount(self.interactions.indices, minlength=self.n_items)

    def warm_item_places(self) -> np.ndarray:
        """(n_items,) int64: each warm item's place among the warm items; -1 for the others."""
        return np.where(self.warm_items, np.cumsum(self.warm_items) - 1, -1)

    def use_timestamps(self, name: str) -> np.ndarray | None:
        """(nnz,) float64 times of the training interactions, in the order of the CSR's entries; None without any.

        Args:
            name: what training makes of them.
        """
        if self.timestamps is not None:
            self.ledger.record("timestamps", name, self.warm_users, self.warm_items)
        return self.timestamps

    def use_feedback(self, name: str) -> sp.csr_array:
        """(n_people, n_items) CSR of what people did with items. The ledger notes every bundle that a pair can
        only have come from, so that the audit finds a pair that only a held-out bundle could tell.

        Args:
            name: what training makes of it.
        """
        if self.feedback is None:
            return sp.csr_array((0, self.n_items), dtype=np.float32)
        self.ledger.record("feedback", name, self.feedback.sources(self.warm_users))
        return self.feedback.matrix

    def graph(self, name: str, matrix: sp.csr_array, rows: str, columns: str) -> sp.csr_array:
        """Record a graph that training is about to use and hand it back.

        Args:
            rows, columns: "users", "items" or "other" - whom the graph's rows and columns stand for.
        """
        touched: dict[str, np.ndarray | None] = {"users": None, "items": None, "other": None}
        for axis, mask in ((rows, touched_rows(matrix)), (columns, touched_columns(matrix))):
            before = touched[axis]
            touched[axis] = mask if before is None else before | mask
        self.ledger.record("graph", name, touched["users"], touched["items"])
        return matrix

    def bipartite_graph(self) -> sp.csr_array:
        """(n_users, n_items): D_u^-1/2 R D_i^-1/2 of the training interactions, recorded."""
        return self.graph("bipartite", normalised_interactions(self.interactions), "users", "items")

    def item_graph(self, weights: Mapping[str, float], k: int) -> sp.csr_array:
        """(n_items, n_items): the sum of the modalities' k-NN graphs over warm items by their weights, recorded."""
        graphs = [self.neighbour_graph(name, k) for name in weights]
        return self.graph("item graph", item_graph(graphs, list(weights.values())), "items", "items")

    def neighbour_graph(self, name: str, k: int, **how: Any) -> sp.csr_array:
        """The k-NN graph of modality `name` over warm items, recorded; `how` as in `knn_graph`.

        Built once for the same content and kept on disk: the search is the dearest step before training.
        """
        graph = self._searched(knn_graph, name, k, **how)
        return self.graph(f"{name} neighbours", graph, "items", "items")

    def membership_graph(self, name: str, k: int) -> sp.csr_array:
        """`membership_graph` of modality `name` over warm items, recorded and kept as `neighbour_graph` is."""
        return self.graph(f"{name} memberships", self._searched(membership_graph, name, k), "items", "items")

    def _searched(
        self, builder: Callable[..., sp.csr_matrix], name: str, k: int, **how: Any
    ) -> sp.csr_matrix:
        modality = self.modalities[name]
        notes: list[str] = []
        graph = cached(builder, modality.features, k, modality.mask & self.warm_items, notes=notes, **how)
        self.add_notes(f"{name}: {note}" for note in notes)
        return graph

    def add_notes(self, notes: Iterable[str]) -> None:
        """Keep these notes, each once."""
        self.notes += [note for note in dict.fromkeys(notes) if note not in self.notes]
