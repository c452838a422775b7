"""Who is ranked among what: users with ground truth, and their candidates."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp
import torch

from recsys.errors import UserError
from recsys.evaluation.ranking import TopK, top_k
from recsys.serving.parts import LOWEST


class Candidates:
    """Users with ground truth among some candidate items, and the pairs to find in their lists.

    Attributes:
        users: (b,) int64, ascending.
        truth, seen: (b, n) CSR, a row for each of `users`, a column for each candidate.
        pair_row: (p,) int64, for each pair in `truth`, its position in `users`.
        n_candidates: (b,) int64, candidates that are not masked.
    """

    def __init__(self, truth: sp.csr_array, seen: sp.csr_array, columns: np.ndarray | None = None):
        if columns is not None:
            truth, seen = truth[:, columns], seen[:, columns]
        self.columns = columns
        self.users = np.flatnonzero(np.diff(truth.indptr)).astype(np.int64)
        self.truth, self.seen = truth[self.users], seen[self.users]
        self.n_items = truth.shape[1]
        self.pair_row = np.repeat(np.arange(len(self.users)), np.diff(self.truth.indptr))
        self.n_candidates = self.n_items - np.diff(self.seen.indptr).astype(np.int64)

    def rank(self, scores: torch.Tensor, low: int, high: int, k: int) -> TopK:
        """Top K of users[low:high], whose scores are the rows of `scores` (overwritten)."""
        masked = torch.as_tensor(_flat(self.seen, low, high), device=scores.device)
        flat = scores.view(-1)
        flat.index_fill_(0, masked, -np.inf)
        top = top_k(scores, k)
        bad = np.flatnonzero(np.isnan(top.values[:, 0]))
        if len(bad):
            raise UserError(
                f"scores of user {self.users[low + bad[0]]} are NaN: the model has diverged or its input "
                "holds NaN; check the features, or lower the learning rate"
            )
        last = np.minimum(k, self.n_candidates[low:high]) - 1
        if np.any(top.values[np.arange(high - low), last] == -np.inf):
            # A scorer's own -inf means "lowest", not "masked": such items stay candidates.
            scores.clamp_(min=LOWEST)
            flat.index_fill_(0, masked, -np.inf)
            top = top_k(scores, k)
        return top

    def locate(self, scores: torch.Tensor, top: TopK, low: int, high: int) -> np.ndarray:
        """For each pair of users[low:high]: start of its tie group, or K outside the top K."""
        pairs = torch.as_tensor(_flat(self.truth, low, high), device=scores.device)
        pair_scores = scores.view(-1)[pairs].cpu().numpy()
        first, end = self.truth.indptr[low], self.truth.indptr[high]
        return top.locate(self.pair_row[first:end] - low, pair_scores)


def _flat(matrix: sp.csr_array, low: int, high: int) -> np.ndarray:
    """Flat positions of the entries of rows low..high in the dense block of those rows."""
    indptr = matrix.indptr[low : high + 1].astype(np.int64)
    rows = np.repeat(np.arange(high - low, dtype=np.int64) * matrix.shape[1], np.diff(indptr))
    return rows + matrix.indices[indptr[0] : indptr[-1]]
