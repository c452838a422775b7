"""Co-occurrence in training rows, alone and with content: the baselines that bundle models must pass."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp

from recsys.evaluation.scorers import HistoryScorer, Scorer, SumScorer
from recsys.inputs.requests import NewItems, QueryUsers
from recsys.models.base import Model
from recsys.models.closed_form.contentknn import ContentKNN, ContentKNNSettings
from recsys.serving.parts import History, Part, Sum
from recsys.settings import Settings, setting


def cooccurrences(rows: sp.csr_array) -> sp.csr_array:
    """(n_items, n_items) CSR: in how many rows two items occur together; no diagonal."""
    counts = sp.csr_array(rows.T @ rows, dtype="float32")
    counts = sp.csr_array(counts - sp.diags_array(counts.diagonal()))
    counts.eliminate_zeros()
    return counts


class Cooccurrence(Model):
    """score = in how many training rows an item occurs with the given ones, summed over these."""

    Settings = Settings
    paper = "None: how often items stand in one bundle"
    closed_form = True
    exports_vectors = False
    popular_without_history = True
    linear_in_history = True

    def fit(self) -> None:
        """Nothing to learn: the counts are the model. They are recorded here, before the audit."""
        self.data.graph("co-occurrence", cooccurrences(self.data.interactions), "items", "items")

    def served(self, users: QueryUsers) -> Part:
        return History(cooccurrences(self.data.interactions))

    def scores(self, users: QueryUsers, new_items: NewItems | None) -> Scorer:
        return HistoryScorer(users.history, cooccurrences(self.data.interactions))


class CooccurrenceContentSettings(ContentKNNSettings):
    content: float = setting(1.0, "weight of the content's similarity", low=0, search=(0.1, 10), log=True)


class CooccurrenceContent(ContentKNN):
    """The sum of co-occurrence counts and content similarities: the bar that bundle models must pass."""

    Settings = CooccurrenceContentSettings
    paper = "None: co-occurrence and the cosine of content, the floor for models of bundles"

    def fit(self) -> None:
        """Nothing to learn; what is counted is recorded."""
        self.data.graph("co-occurrence", cooccurrences(self.data.interactions), "items", "items")

    def cannot_score(self) -> np.ndarray:
        """(n_items,) bool, the items that have neither content nor a training bundle."""
        return super().cannot_score() & ~self.data.warm_items

    def served(self, users: QueryUsers) -> Part:
        parts = [History(cooccurrences(self.data.interactions)), super().served(users)]
        return Sum(parts, np.array([1.0, self.settings.content], dtype=np.float32))

    def scores(self, users: QueryUsers, new_items: NewItems | None) -> Scorer:
        content = super().scores(users, new_items)
        graph = cooccurrences(self.data.interactions)
        graph.resize(graph.shape[0], content.n_items)  # a new item has occurred with nothing
        return SumScorer([HistoryScorer(users.history, graph), content], [1.0, self.settings.content])
