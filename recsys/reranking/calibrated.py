"""Calibrated recommendations: categories in the shares that they have in the user's history."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp

from recsys.evaluation.facts import Facts
from recsys.reranking.base import Reranker, RerankSettings, named
from recsys.settings import setting

ALPHA = 0.01
"""Of the history's shares that the list's are smoothed with, as in the paper."""


class CalibratedSettings(RerankSettings):
    attribute: str = setting("", "item attribute whose values are the categories, such as genres")
    strength: float = setting(
        0.5, "lambda: 0 leaves the order as it is, 1 looks at shares alone", low=0, high=1, search=(0.0, 1.0)
    )


class Calibrated(Reranker):
    """The next item is argmax_i (1 - lambda) s_i - lambda KL(p, q(I + i)), I being what has been chosen.

    "Calibrated Recommendations", Steck, RecSys 2018, equations 2 to 7, in which the greedy choice of one item leaves
    the sum of the scores of I out, for it is the same for all. s are the user's scores of the candidates, from 0 to 1.
    p are the categories' shares in the user's history and q those in the list, an item of several categories having an
    equal share of each; q is smoothed, (1 - 0.01) q + 0.01 p. Items without a category count in neither. A user whose
    history names no category keeps the order.
    """

    Settings = CalibratedSettings

    def __init__(self, settings: CalibratedSettings, facts: Facts):
        super().__init__(settings, facts)
        name = named("item group", settings.attribute, "calibrated", facts)
        member = facts.item_groups(name)[1]
        sizes = np.asarray(member.sum(axis=1)).ravel()
        self.shares = sp.csr_array(sp.diags_array(1 / np.maximum(sizes, 1)) @ member)
        self._names_any = (sizes > 0).astype(np.float64)

    def width(self) -> int:
        return int(self.shares.shape[1])

    def begin(self, items: np.ndarray, history: sp.csr_array) -> None:
        n_users, n = items.shape
        self._candidates = self.shares[items.ravel()].toarray().reshape(n_users, n, -1)
        self._counted = self._names_any[items]
        known = self.shares[: history.shape[1]]
        wanted = (history @ known).toarray()
        self._wanted = wanted / np.maximum(wanted.sum(axis=1, keepdims=True), 1e-12)
        self._sums, self._length = np.zeros_like(wanted), np.zeros(n_users)

    def gains(self, relevance: np.ndarray) -> np.ndarray:
        lengths = np.maximum(self._length[:, None] + self._counted, 1)
        listed = (self._sums[:, None] + self._candidates) / lengths[:, :, None]
        smoothed = (1 - ALPHA) * listed + ALPHA * self._wanted[:, None]
        # KL(p, q) is sum p log p, which is the same for all candidates, less this; 0 log 0 = 0.
        logs = np.log(smoothed, out=np.zeros_like(smoothed), where=self._wanted[:, None] > 0)
        likelihood = np.matmul(logs, self._wanted[:, :, None])[:, :, 0]
        weight = self.settings.strength
        return (1 - weight) * relevance + weight * likelihood

    def chosen(self, places: np.ndarray) -> None:
        rows = np.arange(len(places))
        self._sums += self._candidates[rows, places]
        self._length += self._counted[rows, places]
