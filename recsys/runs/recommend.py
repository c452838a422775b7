"""Ranked items of a trained run, for its users and for new ones, of its catalogue and of items that are new."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import scipy.sparse as sp
import torch

from recsys.datasets.checks import positions
from recsys.errors import UserError, nearest
from recsys.evaluation.facts import Facts
from recsys.evaluation.ranking import ordered_top_k
from recsys.evaluation.scorers import Scorer
from recsys.inputs.content import stacked
from recsys.inputs.new_files import read_new_items, read_new_users
from recsys.inputs.requests import NewItems, QueryUsers
from recsys.reranking.base import Reranker, make_reranker
from recsys.runs.artifacts import MASK
from recsys.runs.lists import RecommendRequest
from recsys.runs.reasons import add_reasons
from recsys.runs.run import Run, facts_of, known_rows
from recsys.serving.notes import notes_on
from recsys.serving.parts import LOWEST

CELLS = 2**22
"""Scores of one block of users."""


@dataclass(frozen=True, eq=False)
class Recipients:
    """m users to recommend to.

    Attributes:
        ids: (m,) raw ids.
        query_users: what a model needs of them.
        known: (m, n_items) CSR, items that are not recommended to them again.
        held_out: (m, n_items) CSR, their items of the test part; None where these are not recommended.
        numbers: (m,) int64 rows of the data set's users; None where they are new.
    """

    ids: np.ndarray
    query_users: QueryUsers
    known: sp.csr_array
    held_out: sp.csr_array | None
    numbers: np.ndarray | None


class Recommendations(NamedTuple):
    """Recommendations.

    Attributes:
        frame: as `rank` gives it.
        attributes: of the catalogue's items and of the new items, by raw id.
        notes: what should be known of them.
    """

    frame: pd.DataFrame
    attributes: pd.DataFrame
    notes: list[str]


def catalogue_users(
    run: Run, ids: np.ndarray | None = None, held_out: bool = False, mask: str = MASK
) -> Recipients:
    """Users of the run's data set, all of them where `ids` is None.

    Args:
        held_out: whether what the split kept for the test may be recommended, as in the test; otherwise nobody is
            recommended what they have.
        mask: with `held_out`, whose items are left out: as in RunConfig.

    Raises:
        UserError: the data set has no such user.
    """
    dataset, split, data = run.dataset, run.split, run.data
    rows = np.arange(dataset.n_users) if ids is None else positions(dataset.user_ids, ids)
    if ids is not None and (rows < 0).any():
        unknown = str(ids[np.argmax(rows < 0)])
        raise UserError(f"'{dataset.name}' has no user '{unknown}'{nearest(unknown, dataset.user_ids)}")
    query_users = data.query_users(run.support("test")).rows(rows)
    had = np.arange(len(dataset.interactions))
    if held_out:
        had = known_rows(split, "test", mask)
    tested = dataset.matrix(split.test)[rows] if held_out else None
    return Recipients(dataset.user_ids[rows], query_users, dataset.matrix(had)[rows], tested, rows)


def new_users(
    given: tuple[np.ndarray, QueryUsers], source: str, wanted: np.ndarray | None = None
) -> Recipients:
    """Users who arrived after training, those among them with the ids `wanted` where not None.

    Args:
        given: their ids and what a model needs of them.
        source: where they are from, for messages.

    Raises:
        UserError: there is no such user among them.
    """
    ids, query_users = given
    rows = np.arange(len(ids)) if wanted is None else positions(ids, wanted)
    if wanted is not None and (rows < 0).any():
        unknown = str(wanted[np.argmax(rows < 0)])
        raise UserError(f"{source} has no user '{unknown}'{nearest(unknown, ids)}")
    query_users = query_users.rows(rows)
    return Recipients(ids[rows], query_users, query_users.history, None, None)


def rank(
    scorer: Scorer,
    recipients: Recipients,
    ids: np.ndarray,
    *,
    new_only: bool,
    k: int,
    reranker: Reranker | None = None,
) -> pd.DataFrame:
    """Each recipient's k best items, without those that they are known to have.

    Args:
        scorer: of the recipients, over the catalogue and the new items.
        ids: (n,) raw ids of the catalogue's items and of the new items.
        new_only: rank new items alone.
        reranker: puts them in another order; scores stay the scorer's.

    Returns:
        Frame with `user` and `item` (raw ids), `rank` from 1, `score`, `new` (a new item) and, where such are ranked,
        `held_out` (a test item of the user), users in order, best first.
    """
    n_items = recipients.known.shape[1]
    first = n_items if new_only else 0
    blocks, size = [], max(1, CELLS // len(ids))
    for low in range(0, len(recipients.ids), size):
        users = np.arange(low, min(low + size, len(recipients.ids)))
        scores = scorer(users)
        rows, columns = recipients.known[users].nonzero()
        scores[torch.from_numpy(rows), torch.from_numpy(columns)] = -torch.inf
        places, values = ordered_top_k(
            scores[:, first:], k if reranker is None else max(k, reranker.settings.candidates)
        )
        if reranker is not None:
            places, values = _reranked(reranker, places, values, first, recipients, users, k)
        rows, ranks = np.nonzero(values > LOWEST)
        blocks.append((users[rows], ranks + 1, places[rows, ranks] + first, values[rows, ranks]))
    users, ranks, items, values = (np.concatenate(part) for part in zip(*blocks, strict=True))
    frame = pd.DataFrame(
        {
            "user": recipients.ids[users],
            "rank": ranks,
            "item": ids[items],
            "score": values,
            "new": items >= n_items,
        }
    )
    if recipients.held_out is not None:
        tested = recipients.held_out.tocoo()
        pairs = tested.coords[0].astype(np.int64) * len(ids) + tested.coords[1]
        frame["held_out"] = np.isin(users * len(ids) + items, pairs)
    return frame


def _reranked(
    reranker: Reranker,
    places: np.ndarray,
    values: np.ndarray,
    first: int,
    recipients: Recipients,
    users: np.ndarray,
    k: int,
) -> tuple[np.ndarray, np.ndarray]:
    """(b, k) places and scores of each row's re-ranked list; beyond the candidates the order is by score."""
    n = reranker.settings.candidates
    candidates = np.where(values > LOWEST, values, -np.inf)[:, :n]
    history = recipients.query_users.history[users]
    order = reranker.order(places[:, :n] + first, candidates, history, k)
    rest = np.arange(order.shape[1], min(k, places.shape[1]))
    order = np.concatenate([order, np.broadcast_to(rest, (len(order), len(rest)))], axis=1)
    return np.take_along_axis(places, order, axis=1), np.take_along_axis(values, order, axis=1)


def recommend(run: Run, asked: RecommendRequest) -> Recommendations:
    """What a command line asks for.

    Raises:
        UserError, DataError: what is asked for cannot be.
    """
    asked.check()
    new_items, notes = (None, []) if asked.new_items is None else read_new_items(asked.new_items, run.dataset)
    recipients = recipients_of(run, asked)
    step = rerank_of(run, new_items, asked.rerank, asked.rerank_options)
    only = asked.pool != "all"
    made = recommend_to(
        run, recipients, new_items, new_only=only, k=asked.k, reranker=step, because=asked.because
    )
    return made._replace(notes=notes + made.notes)


NO_STEP = "none"
"""In place of a re-ranking step: none, where the run has one."""


def rerank_of(
    run: Run, new_items: NewItems | None, name: str = "", options: Mapping[str, Any] | None = None
) -> Reranker | None:
    """The re-ranking step called `name`, over the catalogue and new items; the run's own where no name is given.

    Raises:
        UserError: there is no such step or setting, or no such modality or attribute.
    """
    if not name and options:
        raise UserError("settings of a re-ranking step were given, and no step: name one with rerank")
    name, options = (name, options or {}) if name else (run.config.rerank, run.config.rerank_options)
    if not name or name == NO_STEP:
        return None
    facts = facts_of(run.dataset, run.data)
    if new_items is not None:
        modalities = {
            key: stacked(modality, new_items.modalities[key]) for key, modality in facts.modalities.items()
        }
        counts = np.concatenate([facts.item_counts, np.zeros(len(new_items))])
        attributes = facts.item_attributes
        if len(attributes.columns):
            lower = new_items.attributes.reindex(range(len(new_items)))
            attributes = pd.concat([attributes, lower], ignore_index=True)
        facts = Facts(counts, facts.user_counts, modalities, attributes, facts.user_attributes)
    return make_reranker(name, options, facts)


def recommend_to(
    run: Run,
    recipients: Recipients,
    new_items: NewItems | None,
    *,
    new_only: bool = True,
    k: int = 10,
    reranker: Reranker | None = None,
    because: int = 0,
) -> Recommendations:
    """The `k` best items for each of the recipients.

    Args:
        new_items: ranked beside the catalogue, or alone with `new_only`; None: the catalogue is ranked.
        reranker: puts the best items in another order; see `rerank_of`.
        because: name so many items of the user's history that weigh most; see `add_reasons`.

    Raises:
        UserError: the model cannot rank new items, or not by this content.
    """
    if k < 1:
        raise UserError(f"k is {k}; expected 1 or more items")
    dataset, model = run.dataset, run.model
    ids, attributes = dataset.item_ids, _named(dataset.item_attributes, dataset.item_ids)
    if new_items is not None:
        _check_content(run, new_items)
        ids = np.concatenate([ids, new_items.ids])
        attributes = pd.concat([attributes, _named(new_items.attributes, new_items.ids)])
    scorer = model.scorer(recipients.query_users, new_items)
    notes = notes_on(
        run.config.model,
        users=len(recipients.ids),
        strangers=int((np.diff(recipients.query_users.history.indptr) == 0).sum()),
        popular=model.popular_without_history,
        new_items=0 if new_items is None else len(new_items),
        without_content=0 if new_items is None else int(model.without_content(new_items).sum()),
    )
    only = new_items is not None and new_only
    ranked = rank(scorer, recipients, ids, new_only=only, k=k, reranker=reranker)
    if because:
        asked = recipients.ids, recipients.query_users
        ranked, note = add_reasons(ranked, run, asked, ids, new_items, because)
        notes.append(note)
    return Recommendations(ranked, attributes, notes)


def _check_content(run: Run, new_items: NewItems) -> None:
    """UserError where the run's content was corrupted in a way that new items' content cannot follow."""
    content = run.config.content
    if content.control:
        raise UserError(
            f"this run was trained on a control instead of content ({content.control}): it cannot rank new items"
        )
    if content.fill != "mask" and not all(m.mask.all() for m in new_items.modalities.values()):
        raise UserError(
            f"this run fills what is missing (fill={content.fill}), which new items cannot follow; give them every "
            "modality, or train with fill=mask"
        )


def recipients_of(run: Run, asked: RecommendRequest) -> Recipients:
    """Whom to recommend to.

    Raises:
        UserError: nobody is named, both ways at once, or somebody whom neither the data set nor the file knows.
    """
    wanted = None if (named := asked.named()) is None else np.array(named)
    if asked.new_users is not None:
        return new_users(read_new_users(asked.new_users, run.dataset), str(asked.new_users), wanted)
    return catalogue_users(run, wanted, asked.held_out)


def _named(attributes: pd.DataFrame, ids: np.ndarray) -> pd.DataFrame:
    return attributes.reindex(range(len(ids))).set_axis(ids, axis=0)
