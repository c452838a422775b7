"""Ranked items for one user of a trained run."""

from __future__ import annotations

import numpy as np
import pandas as pd
from rich.table import Table

from recsys.errors import UserError, nearest
from recsys.evaluation.ranking import LOWEST
from recsys.runs import Run
from recsys.tables import make_table


def recommend(run: Run, user: str, k: int = 10) -> pd.DataFrame:
    """The k items that rank highest for a user, without those that the run has seen the user take.

    Returns:
        Frame with `item` (raw id), `score`, `held_out` (True for a test item) and the item's attributes.

    Raises:
        UserError: the data set has no such user.
    """
    dataset, split = run.dataset, run.split
    found = np.flatnonzero(dataset.user_ids == user)
    if not len(found):
        raise UserError(f"'{dataset.name}' has no user '{user}'{nearest(user, dataset.user_ids)}")
    row = found[:1]
    support = dataset.matrix(split.test_support) if len(split.test_support) else None
    scores = run.model.scorer(support)(row)[0].cpu().numpy()
    scores[dataset.matrix(split.known)[row].indices] = -np.inf
    order = np.argsort(-scores, kind="stable")[:k]
    order = order[scores[order] > LOWEST]
    frame = dataset.item_attributes.iloc[order].reset_index(drop=True)
    frame.insert(0, "item", dataset.item_ids[order])
    frame.insert(1, "score", scores[order])
    frame.insert(2, "held_out", np.isin(order, dataset.matrix(split.test)[row].indices))
    return frame


def recommend_table(run: Run, user: str, k: int) -> Table:
    """`recommend` as a table to print."""
    frame = recommend(run, user, k)
    name = f"{run.config.model} on {run.dataset.name}, user {user}"
    shown = [c for c in ("title", "year", "genres") if c in frame]
    table = make_table(name, ["rank", "item", "score", "", *shown], "* held out for the test")
    for column in table.columns[3:]:
        column.justify = "left"
    for rank, row in enumerate(frame.to_dict("records"), 1):
        cells = [str(row[c]) for c in shown]
        table.add_row(str(rank), row["item"], f"{row['score']:.4f}", "*" if row["held_out"] else "", *cells)
    return table
