"""Metrics without a model: any table of recommendations can be measured, a rival's too."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import pandas as pd
import scipy.sparse as sp
import torch

from recsys.datasets.checks import place
from recsys.errors import UserError
from recsys.evaluation.evaluator import Evaluation, Evaluator
from recsys.evaluation.metrics import DEFAULT_METRICS
from recsys.serving.parts import LOWEST


class TableScorer:
    """Scores read from a table; items that a user's list does not name rank last, tied.

    Args:
        table: (n_users, n_items) CSR of scores; a stored zero is a score.
    """

    def __init__(self, table: sp.csr_array):
        self.table = table
        self.n_items = table.shape[1]
        self.device = torch.device("cpu")

    def __call__(self, users: np.ndarray) -> torch.Tensor:
        rows = self.table[users]
        scores = torch.full(rows.shape, LOWEST)
        flat = np.repeat(np.arange(len(users)) * self.n_items, np.diff(rows.indptr)) + rows.indices
        scores.view(-1)[torch.from_numpy(flat)] = torch.from_numpy(rows.data.astype(np.float32))
        return scores


class MatrixScorer:
    """Scores read from a matrix.

    Args:
        matrix: (n_users, n_items) of real numbers.
    """

    def __init__(self, matrix: np.ndarray):
        self.matrix = matrix
        self.n_items = matrix.shape[1]
        self.device = torch.device("cpu")

    def __call__(self, users: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(self.matrix[users].astype(np.float32))


def evaluate_recommendations(
    recommendations: pd.DataFrame,
    truth: sp.csr_array,
    seen: sp.csr_array | None = None,
    groups: Mapping[str, np.ndarray] | None = None,
    metrics: Iterable[str] = DEFAULT_METRICS,
) -> Evaluation:
    """Measure any table of recommendations, whoever made it.

    Args:
        recommendations: frame with int columns `user`, `item` and a numeric `score`, higher first. Items that
            a user's rows do not name rank last, tied; so does every item of a user without rows.
        truth, seen, groups, metrics: as in `Evaluator`.

    Raises:
        UserError: a column is missing, an id is out of range, a score is NaN, or a pair occurs twice.
    """
    evaluator = Evaluator(truth, seen, groups, metrics=metrics)
    return evaluator.evaluate(TableScorer(table_of_lists(recommendations, truth.shape)))


def table_of_lists(
    frame: pd.DataFrame, shape: tuple[int, int], source: str = "recommendations"
) -> sp.csr_array:
    """The scores of a table of recommendations as `TableScorer` reads them: ranks within a user's rows.

    Args:
        source: where the table is from, for messages; its index says where a row is.

    Raises:
        UserError: as `evaluate_recommendations`.
    """
    missing = [c for c in ("user", "item", "score") if c not in frame.columns]
    if missing:
        raise UserError(f"{source}: no column '{missing[0]}'; found: {', '.join(map(str, frame.columns))}")
    for column, bound in (("user", shape[0]), ("item", shape[1])):
        if not pd.api.types.is_integer_dtype(frame[column]):
            raise UserError(f"{source}: column '{column}' is {frame[column].dtype}, expected integers")
        wrong = (~frame[column].between(0, bound - 1)).to_numpy()
        if wrong.any():
            number = frame[column].iloc[int(np.argmax(wrong))]
            raise UserError(
                f"{source}, {place(frame.index, wrong)}: {column} {number} is outside 0..{bound - 1}"
            )
    for wrong, reason in (
        (frame["score"].isna().to_numpy(), "the score is NaN"),
        (frame.duplicated(["user", "item"]).to_numpy(), "the pair occurs twice; keep one row of it"),
    ):
        if wrong.any():
            raise UserError(f"{source}, {place(frame.index, wrong)}: {reason}")
    # Ranks within a user's rows are exact in float32, where the scores themselves might fall together.
    ranks = frame.groupby("user")["score"].rank(method="dense").to_numpy(dtype=np.float32)
    coo = sp.coo_array((ranks, (frame["user"].to_numpy(), frame["item"].to_numpy())), shape=shape)
    return coo.tocsr()
