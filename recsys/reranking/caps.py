"""Caps: no category takes more than so many places."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp

from recsys.evaluation.facts import Facts
from recsys.reranking.base import Reranker, RerankSettings, named
from recsys.settings import setting

BELOW = 10.0
"""Taken off what would break a cap: more than relevance can weigh."""


class CapsSettings(RerankSettings):
    attribute: str = setting("", "item attribute whose values are the categories, such as genres or a seller")
    most: int = setting(3, "places of a list that one category takes at most", low=1, high=10_000)


class Caps(Reranker):
    """The best items in their order, without those of which a category has `most` places already.

    An item of several categories counts in each, one without any is free. Where nothing is left but what would break a
    cap, the best of it follows.
    """

    Settings = CapsSettings

    def __init__(self, settings: CapsSettings, facts: Facts):
        super().__init__(settings, facts)
        self.member = facts.item_groups(named("item group", settings.attribute, "caps", facts))[1]

    def width(self) -> int:
        return int(self.member.shape[1])

    def begin(self, items: np.ndarray, history: sp.csr_array) -> None:
        self._candidates = self.member[items.ravel()].toarray().reshape(*items.shape, -1)
        self._counts = np.zeros((len(items), self.member.shape[1]))

    def gains(self, relevance: np.ndarray) -> np.ndarray:
        full = (self._counts >= self.settings.most).astype(np.float64)
        broken = np.matmul(self._candidates, full[:, :, None])[:, :, 0] > 0
        return relevance - BELOW * broken

    def chosen(self, places: np.ndarray) -> None:
        self._counts += self._candidates[np.arange(len(places)), places]
