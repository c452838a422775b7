"""Re-ranked lists as scores, so that they are measured as any others."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp
import torch

from recsys.evaluation.ranking import ordered_top_k
from recsys.evaluation.scorers import Scorer
from recsys.reranking.base import Reranker
from recsys.serving.parts import LOWEST

SELECTED = 2.0**100
"""Steps between the scores of re-ranked items, above all that a model gives."""


class RerankedScorer:
    """Another scorer, whose lists are re-ranked: the items of a list get scores of their own above all others.

    Args:
        scorer: the other.
        reranker: the step.
        known: (n_users, n_items) CSR, items that are not recommended to a user.
        history: (n_users, n_items) CSR, what each user is known to like.
        k: places of the lists; below them the scores are the other's.
    """

    def __init__(
        self, scorer: Scorer, reranker: Reranker, known: sp.csr_array, history: sp.csr_array, k: int
    ):
        self.scorer, self.reranker, self.known, self.history, self.k = scorer, reranker, known, history, k
        self.n_items, self.device = scorer.n_items, scorer.device

    def __call__(self, users: np.ndarray) -> torch.Tensor:
        scores = self.scorer(users).float()
        masked = scores.clone()
        mask = tuple(torch.from_numpy(part).to(scores.device) for part in self.known[users].nonzero())
        masked[mask] = -torch.inf
        items, values = ordered_top_k(masked, self.reranker.settings.candidates)
        values = np.where(values > LOWEST, values, -np.inf)
        order = self.reranker.order(items, values, self.history[users], self.k)
        chosen, real = (np.take_along_axis(part, order, axis=1) for part in (items, values > -np.inf))
        rows, places = np.nonzero(real)
        new = torch.from_numpy(SELECTED * (self.k - places)).to(scores)
        scores[torch.from_numpy(rows), torch.from_numpy(chosen[rows, places])] = new
        return scores
