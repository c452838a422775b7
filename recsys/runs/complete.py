"""Items that complete a bundle, by a trained run."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import scipy.sparse as sp
from rich.table import Table

from recsys.errors import UserError, nearest
from recsys.inputs.requests import QueryUsers
from recsys.runs.run import Run
from recsys.runs.tables import make_table
from recsys.serving.parts import LOWEST


def complete(run: Run, items: Sequence[str], k: int = 10) -> pd.DataFrame:
    """The k items that best complete a bundle of which `items` (raw ids) are given.

    Returns:
        Frame with `item` (raw id), `score` and the item's attributes, best first.

    Raises:
        UserError: the run is of another task, no item is given, or one is unknown.
    """
    if run.config.task != "bundle":
        raise UserError(
            "this run recommends items to users; train one with --task bundle to complete bundles"
        )
    dataset = run.dataset
    wanted = [item.strip() for item in items if item.strip()]
    if not wanted:
        raise UserError("no items given: name at least one, for example --items A,B")
    numbers = pd.Index(dataset.item_ids.astype(object)).get_indexer(wanted)
    if (numbers < 0).any():
        unknown = wanted[int(np.argmax(numbers < 0))]
        raise UserError(f"'{dataset.name}' has no item '{unknown}'{nearest(unknown, dataset.item_ids)}")
    numbers = np.unique(numbers)
    entries = np.ones(len(numbers), dtype=np.float32), (np.zeros_like(numbers), numbers)
    given = sp.csr_array(sp.coo_array(entries, shape=(1, dataset.n_items)))
    bundle = QueryUsers(np.array([-1]), given, run.data.user_attributes.iloc[:0])
    scores = run.model.scorer(bundle)(np.array([0]))[0].cpu().numpy()
    scores[numbers] = -np.inf
    order = np.argsort(-scores, kind="stable")[:k]
    order = order[scores[order] > LOWEST]
    frame = dataset.item_attributes.iloc[order].reset_index(drop=True)
    frame.insert(0, "item", dataset.item_ids[order])
    frame.insert(1, "score", scores[order])
    return frame


def complete_table(run: Run, items: Sequence[str], k: int) -> Table:
    """`complete` as a table to print."""
    frame = complete(run, items, k)
    shown = [c for c in ("title",) if c in frame]
    table = make_table(
        f"{run.config.model} on {run.dataset.name}: to complete {', '.join(items)}",
        ["rank", "item", "score", *shown],
    )
    for column in table.columns[3:]:
        column.justify = "left"
    for rank, row in enumerate(frame.to_dict("records"), 1):
        table.add_row(str(rank), row["item"], f"{row['score']:.4f}", *(str(row[c]) for c in shown))
    return table


def examples_table(run: Run, bundles: int = 3, k: int = 5) -> Table:
    """The first test bundles that a trained run completes best: what is given, what it adds, * for held out."""
    dataset, split = run.dataset, run.split
    truth, given = dataset.matrix(split.test), dataset.matrix(split.test_support)
    tested = np.flatnonzero(np.diff(truth.indptr) > 0)[:100]
    scores = run.model.scorer(run.data.query_users(given))(tested).cpu().numpy()
    scores[given[tested].nonzero()] = -np.inf
    top = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    hits = np.take_along_axis(truth[tested].toarray() > 0, top, axis=1)
    named = dataset.item_attributes.get("title", pd.Series(dataset.item_ids)).to_numpy()
    purpose = dataset.user_attributes.get("title", pd.Series([""] * dataset.n_users)).to_numpy()
    table = make_table("some completed bundles", ["bundle", "", "item"], "+ given, * added and held out")
    table.columns[2].justify = "left"
    for place in np.argsort(-hits.sum(axis=1), kind="stable")[:bundles]:
        bundle = tested[place]
        label = f"{dataset.user_ids[bundle]} {purpose[bundle]}".strip()
        rows = [("+", named[item]) for item in given[[bundle]].indices]
        rows += [("*" if hit else "", named[i]) for i, hit in zip(top[place], hits[place], strict=True)]
        for number, (mark, title) in enumerate(rows):
            table.add_row(label if number == 0 else "", mark, str(title))
    return table
