"""A re-ranking step: popular items give way to others."""

import numpy as np
import scipy.sparse as sp

from recsys.reranking.base import Reranker, RerankSettings
from recsys.settings import setting


class QuieterSettings(RerankSettings):
    discount: float = setting(0.5, "what the most popular item loses of its relevance", low=0, high=1)


class Quieter(Reranker):
    """The next item is the best by relevance less `discount` times its share of the largest count."""

    Settings = QuieterSettings

    def begin(self, items: np.ndarray, history: sp.csr_array) -> None:
        counts = self.facts.item_counts
        self.loss = self.settings.discount * counts[items] / max(counts.max(), 1)

    def gains(self, relevance: np.ndarray) -> np.ndarray:
        return relevance - self.loss
