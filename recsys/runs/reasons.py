""" "Because you took": the items of a user's history that weigh most in a recommendation."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import scipy.sparse as sp
import torch

from recsys.datasets.checks import positions
from recsys.inputs.requests import NewItems, QueryUsers
from recsys.runs.lists import BECAUSE, WEIGHTS
from recsys.runs.run import Run

PAIRS = 2**22
"""Pairs of a recommendation and an item of the history that are weighed at once, about."""
CELLS = 2**22
"""Weights that are computed at once: of some history items on all items."""
Weigher = Callable[[np.ndarray], np.ndarray]
"""(h,) numbers of history items -> (h, n) their weights in each item's score."""


def add_reasons(
    frame: pd.DataFrame,
    run: Run,
    users: tuple[np.ndarray, QueryUsers],
    ids: np.ndarray,
    new_items: NewItems | None,
    n: int,
) -> tuple[pd.DataFrame, str]:
    """Recommendations with the `n` items of the user's history that weigh most in each.

    Where the model's scores are sums over the history (`Model.linear_in_history`), the weights are the terms of that
    sum, exactly; of other models they are similarities, which the note says.

    Args:
        frame: recommendations, with raw ids in `user` and `item`.
        users: the recipients' raw ids, and what a model needs of them.
        ids: raw ids of the catalogue's items and of the new items.

    Returns:
        The frame with the columns `because` (raw ids, at most `n`, heaviest first; only positive weights) and
        `because_weights`, and a note on what the weights are.
    """
    weigh, note = _weigher(run, new_items)
    rows = positions(users[0], frame["user"].to_numpy())
    items = positions(ids, frame["item"].to_numpy())
    history = users[1].history
    lengths = np.diff(history.indptr)[rows]
    ends = np.cumsum(lengths)
    because: list[np.ndarray] = []
    weights: list[np.ndarray] = []
    low = 0
    while low < len(frame):
        done = int(ends[low] - lengths[low])
        high = max(low + 1, int(np.searchsorted(ends, done + PAIRS, side="right")))
        part = slice(low, high)
        for found, kept in zip(
            (because, weights), _heaviest(weigh, history, rows[part], items[part], len(ids), n), strict=True
        ):
            found.extend(kept)
        low = high
    named = [run.dataset.item_ids[numbers].tolist() for numbers in because]
    values = [part.tolist() for part in weights]
    return frame.assign(**{BECAUSE: named, WEIGHTS: values}), note


def _heaviest(
    weigh: Weigher, history: sp.csr_array, rows: np.ndarray, items: np.ndarray, n_all: int, n: int
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Of r recommendations: each one's heaviest history items, by number, and their weights."""
    lengths = np.diff(history.indptr)[rows]
    of = np.repeat(np.arange(len(rows)), lengths)
    starts = np.cumsum(lengths) - lengths
    taken = history.indices[np.arange(len(of)) - starts[of] + history.indptr[rows][of]]
    distinct, place = np.unique(taken, return_inverse=True)
    weights = np.empty(len(of))
    by_place = np.argsort(place, kind="stable")
    size = max(1, CELLS // n_all)
    for low in range(0, len(distinct), size):
        block = weigh(distinct[low : low + size])
        first, end = np.searchsorted(place[by_place], [low, low + len(block)])
        pairs = by_place[first:end]
        weights[pairs] = block[place[pairs] - low, items[of[pairs]]]
    order = np.lexsort((taken, -weights, of))
    rank = np.arange(len(of)) - starts[of]  # places within a recommendation, in this order too
    kept = order[(rank < n) & (weights[order] > 0)]
    cuts = np.searchsorted(of[kept], np.arange(1, len(rows)))
    return np.split(taken[kept], cuts), np.split(weights[kept], cuts)


def _weigher(run: Run, new_items: NewItems | None) -> tuple[Weigher, str]:
    """How history items are weighed, and the note that says so."""
    model, name = run.model, run.config.model
    if model.linear_in_history:
        return lambda taken: _alone(run, new_items, taken), (
            f"because: exact, {name}'s score is the sum of the weights of all that the user took"
        )
    if model.exports_vectors and model.personal:
        _, vectors = model.embed(run.data.query_users().rows(np.arange(1)), new_items)
        unit = torch.nn.functional.normalize(vectors.detach().float().cpu(), dim=1).numpy()
        return lambda taken: unit[taken] @ unit.T, (
            f"because: by similarity, the cosine of {name}'s vectors; its score is no sum over what the user took"
        )
    columns = sp.csr_array(run.data.interactions).astype(np.float64)
    norms = np.sqrt(np.maximum(run.data.item_counts(), 1))
    unit_columns = sp.csc_array(columns @ sp.diags_array(1 / norms))
    beyond = 0 if new_items is None else len(new_items)

    def together(taken: np.ndarray) -> np.ndarray:
        cosines = (unit_columns[:, taken].T @ unit_columns).toarray()
        return np.pad(cosines, ((0, 0), (0, beyond)))

    return together, (
        f"because: by similarity, the cosine of who took both in training; {name}'s score is no sum over what the user "
        "took"
    )


def _alone(run: Run, new_items: NewItems | None, taken: np.ndarray) -> np.ndarray:
    """(h, n) the scores of users who took one item each: the terms of a linear model's sum."""
    n = len(taken)
    ones = np.ones(n, dtype=np.float32)
    history = sp.csr_array((ones, (np.arange(n), taken)), shape=(n, run.dataset.n_items))
    users = QueryUsers(np.full(n, -1), history, pd.DataFrame())
    return np.asarray(run.model.scorer(users, new_items)(np.arange(n)).cpu().numpy())
