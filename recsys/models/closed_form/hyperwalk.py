"""HyperWalk: a user's items walk over hyperedges of users and of content; the engine's training-free model."""

from __future__ import annotations

from functools import cached_property

import numpy as np
import scipy.sparse as sp

from recsys.coldstart.cold_items import ColdItems
from recsys.evaluation.scorers import JoinedScorer, Scorer, WalkScorer
from recsys.graphs.knn import item_graph
from recsys.graphs.normalise import degrees, inverse_power, scale
from recsys.inputs.content import shares
from recsys.inputs.requests import NewItems, QueryUsers
from recsys.inputs.training_data import TrainingData
from recsys.models.base import Model
from recsys.serving.parts import Joined, Neighbours, Part, Walk
from recsys.settings import Settings, setting


class HyperWalkSettings(Settings):
    hops: int = setting(2, "steps item - user - item", low=1, high=10, search=[1, 2, 3])
    leave: float = setting(
        0.5, "power of an item's degree that divides what leaves it", low=0, high=2, search=(0.0, 1.0)
    )
    reach: float = setting(
        0.2, "power of an item's degree that divides what reaches it", low=0, high=2, search=(0.0, 0.6)
    )
    content: float = setting(
        0.3, "weight of an item's nearest items in content at the start of the walk", low=0, search=(0.0, 1.0)
    )
    k: int = setting(10, "nearest items by each modality", low=1, high=1000, search=(5, 30))
    weights: dict[str, float] = setting({}, "weight of a modality; 1 where it is not named")


class HyperWalk(Model):
    """scores_u = P^hops (I + content S) r_u, P = D_i^-reach R^T D_u^-1 R D_i^-leave.

    A random walk on the hypergraph whose hyperedges are users' histories: from an item to a history that holds
    it, chosen evenly, and on to an item of that history. One step with leave = 1 is P3, and with `reach` RP3beta:
    "Updatable, Accurate, Diverse, and Scalable Recommendations for Interactive Applications", Paudel et al., ACM
    TiiS 7(1), 2017, where more steps are not taken and content is not read. Here S, the rows of the k nearest
    warm items by each modality, averaged, is a second kind of hyperedge: what a user took stands also for what
    looks and sounds like it, so that a history of one item already reaches others.

    Nothing is trained and no items-by-items product is formed: a block of users is sent through the sparse
    matrices, hops times 2 nnz(R) multiplications a user. A cold item has the mean score of its k nearest warm
    items. A user without interactions gets the popularity ranking.
    """

    Settings = HyperWalkSettings
    paper = "None: this engine's; after Paudel et al., ACM TiiS 7(1), 2017"
    closed_form = True
    reads_content = True
    ranks_cold_items = True
    exports_vectors = False
    popular_without_history = True
    linear_in_history = True

    def __init__(self, settings: HyperWalkSettings, data: TrainingData, seed: int):
        super().__init__(settings, data, seed)
        self.modalities = data.modalities
        self.reads_content = self.ranks_cold_items = bool(self.modalities)
        self.weights = shares(self.modalities, settings.weights, "HyperWalk") if self.modalities else {}
        self.cold = ColdItems(data, self.modalities, settings.k, self.weights) if self.modalities else None

    def fit(self) -> None:
        """Nothing to learn; the graphs that the walk takes are made and recorded here, before the audit."""
        _ = self.start

    @cached_property
    def start(self) -> sp.csr_array | None:
        """(n_items, n_items) CSR: row i averages the k nearest warm items of warm item i."""
        if not self.modalities or not self.settings.content:
            return None
        graphs = [
            self.data.neighbour_graph(name, self.settings.k, positive_only=True, normalise="row")
            for name in self.weights
        ]
        return sp.csr_array(item_graph(graphs, list(self.weights.values())))

    def scores(self, users: QueryUsers, new_items: NewItems | None) -> Scorer:
        history, settings = users.history, self.settings
        up, down = self._steps()
        start = history if self.start is None else history + settings.content * (history @ self.start)
        scorer = WalkScorer(start, up, down, settings.hops)
        return scorer if self.cold is None else JoinedScorer(scorer, *self.cold.joined(new_items))

    def _steps(self) -> tuple[sp.csr_matrix, sp.csr_matrix]:
        """(n_users, n_items) and (n_items, n_users): the two halves of a step."""
        rows = sp.csr_matrix(self.data.interactions)
        of_item, of_user = degrees(rows, 0), degrees(rows, 1)
        up = scale(rows, inverse_power(of_user, 1.0), inverse_power(of_item, self.settings.leave))
        return up, scale(rows, None, inverse_power(of_item, self.settings.reach)).T.tocsr()

    def served(self, users: QueryUsers) -> Part:
        up, down = map(sp.csr_array, self._steps())
        part = Walk(up, down, self.settings.hops, self.start, self.settings.content)
        if self.cold is None:
            return part
        return Joined(
            part, self.cold.ids.numpy(), self.cold.graph, Neighbours(self.settings.k, dict(self.weights))
        )

    def cannot_score(self) -> np.ndarray:
        return super().cannot_score() if self.cold is None else self.cold.without_content
