"""Scorers: what the evaluator ranks. Users in, a block of scores over the whole catalogue out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Protocol

import numpy as np
import scipy.sparse as sp
import torch

from recsys.graphs.operator import SparseOperator
from recsys.serving.parts import LOWEST


class Scorer(Protocol):
    """Anything that scores the whole catalogue for some users.

    Calling it with users, (b,) int64, gives a fresh (b, n_items) float32 tensor on `device`, which the caller
    may overwrite. Higher is better; equal scores are ties; an item that cannot be scored gets `LOWEST`.
    """

    n_items: int
    device: torch.device

    def __call__(self, users: np.ndarray) -> torch.Tensor: ...


class VectorScorer:
    """Scores are inner products of user and item vectors.

    Args:
        user_vectors: (n_users, d) float32.
        item_vectors: (n_items, d) float32, on the same device.
    """

    def __init__(self, user_vectors: torch.Tensor, item_vectors: torch.Tensor):
        self.users = user_vectors.detach().float()
        self.items = item_vectors.detach().float()
        self.n_items = len(self.items)
        self.device = self.items.device

    def __call__(self, users: np.ndarray) -> torch.Tensor:
        rows = torch.as_tensor(users, device=self.device)
        return self.users[rows] @ self.items.T


class HistoryScorer:
    """Scores are sums of item-item weights over a user's history, as in EASE or item k-NN.

    Args:
        history: (n_users, n_items) CSR, what each user is known to like.
        weights: (n_items, n_items), dense torch tensor or scipy sparse; a row holds what one liked item adds.
    """

    def __init__(
        self,
        history: sp.csr_array,
        weights: torch.Tensor | sp.csr_array,
    ):
        self.history = sp.csr_array(history, dtype=np.float32)
        self.n_items = weights.shape[1]
        self.device = torch.device("cpu") if sp.issparse(weights) else weights.device
        if sp.issparse(weights):
            self.weights = sp.csr_array(weights, dtype=np.float32)
        else:
            self.weights = weights.detach().float()

    def __call__(self, users: np.ndarray) -> torch.Tensor:
        rows = self.history[users]
        if sp.issparse(self.weights):
            scores = torch.from_numpy((rows @ self.weights).toarray())
        elif self.device.type == "cpu":
            scores = torch.from_numpy(rows @ self.weights.numpy())
        else:
            starts, columns, values = (
                torch.as_tensor(a, device=self.device) for a in (rows.indptr, rows.indices, rows.data)
            )
            scores = torch.sparse_csr_tensor(starts, columns, values, size=rows.shape) @ self.weights
        return scores


class KernelScorer:
    """Scores are similarities to what a user took, weighed by a matrix: (history @ matrix) sum_m X_m Y_m^T.

    Args:
        history: (n_users, w) CSR, what each user is known to like of w items.
        matrix: (w, w) float32.
        pairs: of each modality the rows X (w, width) of the w items and Y (n_items, width) of all, dense or CSR.
        scale: (n_items,) float32, a factor of each item's scores.
    """

    def __init__(
        self,
        history: sp.csr_array,
        matrix: torch.Tensor,
        pairs: Sequence[tuple[np.ndarray | sp.csr_array, np.ndarray | sp.csr_array]],
        scale: torch.Tensor,
    ):
        self.history = sp.csr_array(history, dtype=np.float32)
        self.matrix, self.scale = matrix.detach().cpu().numpy(), scale.cpu()
        # A product from the left, through the transposes, keeps sparse content sparse.
        self.pairs = [(rows.T, every) for rows, every in pairs]
        self.n_items, self.device = len(scale), torch.device("cpu")

    def __call__(self, users: np.ndarray) -> torch.Tensor:
        weights = np.ascontiguousarray((self.history[users] @ self.matrix).T)
        scores = sum(every @ (rows @ weights) for rows, every in self.pairs)
        return torch.from_numpy(scores).T.contiguous().mul_(self.scale)


class WalkScorer:
    """Scores are where a user's items get to in some steps item - user - item.

    Args:
        given: (n_users, n_items) CSR, what each user's walk starts from.
        up, down: (n_users, n_items) and (n_items, n_users) CSR, one step's two halves.
        hops: steps.
    """

    def __init__(
        self,
        given: sp.csr_array,
        up: sp.csr_array,
        down: sp.csr_array,
        hops: int,
    ):
        self.given = sp.csr_array(given, dtype=np.float32)
        self.steps = [SparseOperator(up), SparseOperator(down)] * hops
        self.n_items, self.device = up.shape[1], torch.device("cpu")

    def __call__(self, users: np.ndarray) -> torch.Tensor:
        scores = torch.from_numpy(self.given[users].toarray().T.copy())
        for step in self.steps:
            scores = step @ scores
        return scores.T.contiguous()


class JoinedScorer:
    """Another scorer, except for items that its scores say nothing of: these get averages of the others' scores.

    Args:
        scorer: scores n_items items.
        items: (n,) int64, the items that get averages; numbers from n_items on are of items that come after them.
        graph: (n, n_items) CSR, whose scores an item averages, and how much each counts.
    """

    def __init__(
        self,
        scorer: Scorer,
        items: torch.Tensor,
        graph: sp.csr_array,
    ):
        self.scorer, self.device = scorer, scorer.device
        self.n_items = max(scorer.n_items, int(items.max()) + 1) if len(items) else scorer.n_items
        self._items = items.to(self.device)
        self._graph = SparseOperator(graph).to(self.device)

    def __call__(self, users: np.ndarray) -> torch.Tensor:
        scores = self.scorer(users)
        joined = (self._graph @ scores.T).T
        beyond = scores.new_empty(len(scores), self.n_items - scores.shape[1])
        scores = torch.cat([scores, beyond], dim=1) if beyond.numel() else scores
        return scores.index_copy_(1, self._items, joined)


class StandardScorer:
    """The mean of other scorers' scores, each of which has each user's mean 0 and standard deviation 1 over the items
    in `counted`.

    What a scorer leaves unscored gets the user's lowest score, so that it can be added to other scores.

    Args:
        scorers: of the same items.
        counted: (n_items,) bool.
        unknown: (n,) bool, items after the scorers' own, of which they know nothing: lowest where True, 0 elsewhere.
    """

    def __init__(
        self, scorers: Sequence[Scorer], counted: np.ndarray, unknown: Sequence[bool] | np.ndarray = ()
    ):
        self.scorers, self.device = list(scorers), scorers[0].device
        self.n_items = scorers[0].n_items + len(unknown)
        self._unknown = torch.as_tensor(unknown, device=self.device)
        self._counted = torch.as_tensor(np.flatnonzero(counted), device=self.device)

    def __call__(self, users: np.ndarray) -> torch.Tensor:
        total, lowest = self._share(self.scorers[0], users)
        for scorer in self.scorers[1:]:
            scores, low = self._share(scorer, users)
            total.add_(scores)
            lowest.add_(low)
        return torch.cat([total, lowest * self._unknown], 1) if len(self._unknown) else total

    def _share(self, scorer: Scorer, users: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        """(b, n_items) what a scorer adds to the mean, and (b, 1) each user's lowest of it."""
        scores = scorer(users)
        among = scores.index_select(1, self._counted)
        low, mean = among.amin(1, keepdim=True), among.mean(1, keepdim=True)
        # In place, and not by std_mean: of many members' scores the passes were half of what serving took.
        norm = torch.linalg.vector_norm(among.sub_(mean), dim=1, keepdim=True)
        std = (norm / math.sqrt(len(self._counted))).clamp_min_(torch.finfo(norm.dtype).tiny)
        divisor = std * len(self.scorers)
        return scores.clamp_(min=low).sub_(mean).div_(divisor), (low - mean).div_(divisor)


class SumScorer:
    """The weighted sum of other scorers' scores.

    Args:
        scorers: p of them.
        weights: a number for each, or (p, n_items) float32 where items have weights of their own.
        offset: (n_items,) float32, added to each user's scores.
    """

    def __init__(
        self,
        scorers: Sequence[Scorer],
        weights: Sequence[float] | torch.Tensor,
        offset: torch.Tensor | None = None,
    ):
        self.scorers, self.offset = list(scorers), offset
        self.n_items, self.device = scorers[0].n_items, scorers[0].device
        self.weights = torch.as_tensor(weights, dtype=torch.float32, device=self.device)

    def __call__(self, users: np.ndarray) -> torch.Tensor:
        total = self.scorers[0](users).mul_(self.weights[0])
        for scorer, weight in zip(self.scorers[1:], self.weights[1:], strict=True):
            total.addcmul_(scorer(users), weight)
        if self.offset is not None:
            total.add_(self.offset)
        return total


class KeptScorer:
    """Another scorer that scores each block of users once, and remembers it.

    Args:
        scorer: the other.
        limit: bytes to remember; blocks beyond are scored anew each time.
    """

    def __init__(self, scorer: Scorer, limit: int):
        self.scorer, self.n_items, self.device = scorer, scorer.n_items, scorer.device
        self._left = limit
        self._kept: dict[bytes, torch.Tensor] = {}

    def __call__(self, users: np.ndarray) -> torch.Tensor:
        key = np.asarray(users).tobytes()
        if key not in self._kept:
            scores = self.scorer(users)
            if scores.nbytes > self._left:
                return scores
            self._left -= scores.nbytes
            self._kept[key] = scores
        return self._kept[key].clone()


class LowestScorer:
    """Another scorer, except for items that it cannot score: these get `LOWEST`, and so tie below all others.

    Args:
        scorer: scores all items.
        cannot_score: (n,) bool, n at most the scorer's items; what it does not reach to is scored.
    """

    def __init__(self, scorer: Scorer, cannot_score: np.ndarray):
        self.scorer, self.n_items, self.device = scorer, scorer.n_items, scorer.device
        if len(cannot_score) > self.n_items:
            raise ValueError(f"cannot_score names {len(cannot_score)} items, and there are {self.n_items}")
        self._items = torch.as_tensor(np.flatnonzero(cannot_score), device=self.device)

    def __call__(self, users: np.ndarray) -> torch.Tensor:
        return self.scorer(users).index_fill_(1, self._items, LOWEST)


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
