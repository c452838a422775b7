"""Scorers: what the evaluator ranks. Users in, a block of scores over the whole catalogue out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import scipy.sparse as sp
import torch

from recsys.evaluation.ranking import LOWEST
from recsys.graphs.operator import SparseOperator


class Scorer(Protocol):
    """Anything that scores the whole catalogue for some users.

    Calling it with users, (b,) int64, gives a fresh (b, n_items) float32 tensor on `device`, which the caller
    may overwrite. Higher is better; equal scores are ties; an item that cannot be scored gets `LOWEST`.
    """

    n_items: int
    device: torch.device

    def __call__(self, users: np.ndarray) -> torch.Tensor: ...


def _columns(unranked: np.ndarray | None, n_items: int, device: torch.device) -> torch.Tensor | None:
    if unranked is None or not np.any(unranked):
        return None
    if np.shape(unranked) != (n_items,):
        raise ValueError(f"unranked has shape {np.shape(unranked)}, expected ({n_items},)")
    return torch.as_tensor(np.flatnonzero(unranked), device=device)


def _finish(scores: torch.Tensor, unranked: torch.Tensor | None) -> torch.Tensor:
    return scores if unranked is None else scores.index_fill_(1, unranked, LOWEST)


class VectorScorer:
    """Scores are inner products of user and item vectors.

    Args:
        user_vectors: (n_users, d) float32.
        item_vectors: (n_items, d) float32, on the same device.
        unranked: (n_items,) bool, items that the model says it cannot score: they tie below all others.
    """

    def __init__(
        self, user_vectors: torch.Tensor, item_vectors: torch.Tensor, unranked: np.ndarray | None = None
    ):
        self.users = user_vectors.detach().float()
        self.items = item_vectors.detach().float()
        self.n_items = len(self.items)
        self.device = self.items.device
        self._unranked = _columns(unranked, self.n_items, self.device)

    def __call__(self, users: np.ndarray) -> torch.Tensor:
        rows = torch.as_tensor(users, device=self.device)
        return _finish(self.users[rows] @ self.items.T, self._unranked)


class HistoryScorer:
    """Scores are sums of item-item weights over a user's history, as in EASE or item k-NN.

    Args:
        history: (n_users, n_items) CSR, what each user is known to like.
        weights: (n_items, n_items), dense torch tensor or scipy sparse; a row holds what one liked item adds.
        unranked: as in `VectorScorer`.
    """

    def __init__(
        self,
        history: sp.csr_array,
        weights: torch.Tensor | sp.csr_array,
        unranked: np.ndarray | None = None,
    ):
        self.history = sp.csr_array(history, dtype=np.float32)
        self.n_items = weights.shape[1]
        self.device = torch.device("cpu") if sp.issparse(weights) else weights.device
        if sp.issparse(weights):
            self.weights = sp.csr_array(weights, dtype=np.float32)
        else:
            self.weights = weights.detach().float()
        self._unranked = _columns(unranked, self.n_items, self.device)

    def __call__(self, users: np.ndarray) -> torch.Tensor:
        rows = self.history[users]
        if sp.issparse(self.weights):
            scores = torch.from_numpy((rows @ self.weights).toarray())
        elif self.device.type == "cpu":
            scores = torch.from_numpy(rows @ self.weights.numpy())
        else:
            parts = (torch.as_tensor(a, device=self.device) for a in (rows.indptr, rows.indices, rows.data))
            scores = torch.sparse_csr_tensor(*parts, size=rows.shape) @ self.weights
        return _finish(scores, self._unranked)


class WalkScorer:
    """Scores are where a user's items get to in some steps item - user - item.

    Args:
        given: (n_users, n_items) CSR, what each user's walk starts from.
        up, down: (n_users, n_items) and (n_items, n_users) CSR, one step's two halves.
        hops: steps.
        cold: item numbers (n,) and a (n, n_items) CSR that averages other items' scores into theirs; numbers
            from n_items on are of items that no walk knows.
        unranked: as in `VectorScorer`.
    """

    def __init__(
        self,
        given: sp.csr_array,
        up: sp.csr_array,
        down: sp.csr_array,
        hops: int,
        cold: tuple[torch.Tensor, sp.csr_array] | None = None,
        unranked: np.ndarray | None = None,
    ):
        self.given = sp.csr_array(given, dtype=np.float32)
        self.steps = [SparseOperator(up), SparseOperator(down)] * hops
        self.n_items, self.device = up.shape[1], torch.device("cpu")
        if cold and len(cold[0]):
            self.n_items = max(self.n_items, int(cold[0].max()) + 1)
        self.cold_items = cold[0] if cold else None
        self.neighbours = SparseOperator(cold[1]) if cold else None
        self._unranked = _columns(unranked, self.n_items, self.device)

    def __call__(self, users: np.ndarray) -> torch.Tensor:
        scores = torch.from_numpy(self.given[users].toarray().T.copy())
        for step in self.steps:
            scores = step @ scores
        if self.neighbours is not None:
            joined = self.neighbours @ scores
            beyond = scores.new_empty(self.n_items - len(scores), scores.shape[1])
            scores = torch.cat([scores, beyond]).index_copy_(0, self.cold_items, joined)
        return _finish(scores.T.contiguous(), self._unranked)


class StandardScorer:
    """Another scorer's scores, each user's to mean 0 and standard deviation 1 over the items in `counted`.

    What the scorer leaves unscored gets the user's lowest score, so that it can be added to other scores.
    """

    def __init__(self, scorer: Scorer, counted: np.ndarray):
        self.scorer, self.n_items, self.device = scorer, scorer.n_items, scorer.device
        self._counted = torch.as_tensor(np.flatnonzero(counted), device=self.device)

    def __call__(self, users: np.ndarray) -> torch.Tensor:
        scores = self.scorer(users)
        among = scores.index_select(1, self._counted)
        std, mean = torch.std_mean(among, dim=1, correction=0, keepdim=True)
        low = among.amin(1, keepdim=True)
        return torch.maximum(scores, low).sub_(mean).div_(std.clamp_min(torch.finfo(std.dtype).tiny))


class SumScorer:
    """The weighted sum of other scorers' scores."""

    def __init__(
        self, scorers: Sequence[Scorer], weights: Sequence[float], unranked: np.ndarray | None = None
    ):
        self.scorers, self.weights = list(scorers), list(weights)
        self.n_items, self.device = scorers[0].n_items, scorers[0].device
        self._unranked = _columns(unranked, self.n_items, self.device)

    def __call__(self, users: np.ndarray) -> torch.Tensor:
        total = self.scorers[0](users).mul_(self.weights[0])
        for scorer, weight in zip(self.scorers[1:], self.weights[1:], strict=True):
            total.add_(scorer(users), alpha=weight)
        return _finish(total, self._unranked)


class AverageScorer:
    """Another scorer, except for items that it knows nothing of: these get each user's mean score.

    Args:
        scorer: scores the items that are known.
        unknown: (n,) int64, the items that get the mean.
        counted: (c,) int64, the items that it is the mean of.
    """

    def __init__(self, scorer: Scorer, unknown: np.ndarray, counted: np.ndarray):
        self.scorer, self.n_items, self.device = scorer, scorer.n_items, scorer.device
        self._unknown, self._counted = (
            torch.as_tensor(ids, device=self.device) for ids in (unknown, counted)
        )

    def __call__(self, users: np.ndarray) -> torch.Tensor:
        scores = self.scorer(users)
        mean = scores.index_select(1, self._counted).mean(1, keepdim=True)
        return scores.index_copy_(1, self._unknown, mean.expand(-1, len(self._unknown)))


class FallbackScorer:
    """Another scorer, except for users whom it knows nothing of: these get one list, the same for all.

    Args:
        scorer: scores the users that are known.
        unknown: (n_users,) bool, the users who get `scores`.
        scores: (n_items,) for example the items' popularity.
    """

    def __init__(self, scorer: Scorer, unknown: np.ndarray, scores: np.ndarray):
        self.scorer, self.unknown = scorer, unknown
        self.n_items, self.device = scorer.n_items, scorer.device
        self.scores = torch.as_tensor(scores, dtype=torch.float32, device=self.device)

    def __call__(self, users: np.ndarray) -> torch.Tensor:
        scores = self.scorer(users)
        unknown = torch.from_numpy(np.flatnonzero(self.unknown[users])).to(self.device)
        if len(unknown):
            scores[unknown] = self.scores
        return scores
