"""What the page's explorer shows: some users, what they had, what was held out, and what models rank first."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from recsys.datasets.dataset import Dataset, Modality
from recsys.datasets.splits import Split
from recsys.errors import UserError
from recsys.experiments.report.collect import Group, StoredRun
from recsys.experiments.report.maps import ItemMap, item_map
from recsys.experiments.report.sources import Source, split_of, view_of
from recsys.models import MODELS
from recsys.runs.artifacts import kept_bundle
from recsys.serving.bundle import load_bundle
from recsys.serving.parts import LOWEST, Lists
from recsys.settings import build
from recsys.training.filenames import MODEL_FILE

LISTED, SHOWN, NEAREST = 10, 12, 5
"""Items of a recommendation; of a history or of what was held out; neighbours by a modality."""
TITLE = 90


@dataclass
class Explored:
    """What the explorer shows.

    Attributes:
        tables: one for each group that can be explored, as the page reads it.
        items: data set -> what the page says of its items.
        maps: data set -> its map.
        troubles: what could not be explored, and why.
    """

    tables: list[dict[str, Any]] = field(default_factory=list)
    items: dict[str, dict[str, Any]] = field(default_factory=dict)
    maps: dict[str, ItemMap] = field(default_factory=dict)
    troubles: dict[str, str] = field(default_factory=dict)


def explore(
    groups: Sequence[Group],
    ranked: Sequence[Sequence[str]],
    sources: Mapping[str, Source],
    users: int,
    models: int,
) -> Explored:
    """Score a sample of users with the best models of each group.

    Args:
        ranked: of each group, the models, best first.
        users: how many users at most.
        models: how many models at most.
    """
    explored = Explored()
    used: dict[str, set[int]] = {}
    for group, labels in zip(groups, ranked, strict=True):
        try:
            dataset = view_of(sources[group.dataset], group)
            table = _explore(group, labels, dataset, users, models, explored)
        except UserError as error:
            explored.troubles[group.title] = str(error)
            continue
        if table["models"]:
            explored.tables.append(table)
            used.setdefault(group.dataset, set()).update(_items(table))
    for name, items in used.items():
        shown = explored.maps[name].items.tolist() if name in explored.maps else []
        source = sources[name].dataset
        assert source is not None
        explored.items[name] = describe_items(source, sorted(items), shown)
    return explored


def _explore(
    group: Group, labels: Sequence[str], dataset: Dataset, users: int, models: int, explored: Explored
) -> dict[str, Any]:
    split_seed = min(draw[0] for draw in group.draws)
    split = split_of(dataset, group, split_seed)
    chosen = sample_users(dataset, split, users)
    table: dict[str, Any] = {
        "title": group.title,
        "dataset": group.dataset,
        "noun": group.noun,
        "users": _users(dataset, split, chosen),
        "models": [],
        "lists": [],
    }
    for label in labels:
        if len(table["models"]) == models:
            break
        run = _first(group, label, split_seed)
        if run is None:
            continue
        try:
            lists = _with_model(run, label, (dataset, split), chosen, explored)
        except Exception as error:  # an old run that this code cannot load is no reason to have no page
            line = " ".join(str(error).split())
            line = line if isinstance(error, UserError) else f"{type(error).__name__}: {line}"
            explored.troubles[run.name] = line
            continue
        table["models"].append(label)
        table["lists"].append(lists)
    return table


def _first(group: Group, label: str, split_seed: int) -> StoredRun | None:
    runs = [r for r in group.runs if r.scored.label == label and r.scored.draw[0] == split_seed]
    return min(runs, key=lambda run: run.scored.draw, default=None)


def _with_model(
    run: StoredRun,
    label: str,
    of: tuple[Dataset, Split],
    users: np.ndarray,
    explored: Explored,
) -> list[list[int]]:
    """The items that a trained run ranks first for each user; its vectors make the map where there is none yet."""
    dataset, split = of
    scores = served(run, dataset, users) or by_model(run, dataset, split, users)
    name = run.key[0]
    if name not in explored.maps and scores.vectors is not None:
        counts = np.bincount(dataset.matrix(split.train).indices, minlength=dataset.n_items)
        ranked = np.ones(dataset.n_items, dtype=bool)
        ranked[scores.cannot_score] = False
        made = item_map(label, dataset, scores.vectors, counts, ranked)
        if made is not None:
            explored.maps[name] = made
    return top_items(scores.values, dataset, split, users)


class Scores(NamedTuple):
    """What a run says of some users.

    Attributes:
        values: (b, n_items).
        vectors: (n_items, d) whose inner products with users' they are; None where there are none.
        cannot_score: numbers of the items that the model knows nothing of.
    """

    values: np.ndarray
    vectors: np.ndarray | None
    cannot_score: np.ndarray


def served(run: StoredRun, dataset: Dataset, users: np.ndarray) -> Scores | None:
    """By the bundle that the run keeps, which needs neither its model nor torch; None where it keeps none, or one of
    lists."""
    kept = kept_bundle(run.scored.folder)
    bundle = load_bundle(kept) if kept else None
    if bundle is None or isinstance(bundle.part, Lists):
        return None
    scores = bundle.part.scores(bundle.recipients(dataset.user_ids[users].astype(str)).query)
    vectors = None if bundle.vectors is None else np.asarray(bundle.vectors.items)
    return Scores(scores, vectors, bundle.cannot_score)


def by_model(run: StoredRun, dataset: Dataset, split: Split, users: np.ndarray) -> Scores:
    """By the trained model. Unlike `load_run` it leaves the trainer and its library alone.

    Raises:
        UserError: the run holds no weights, or they or its settings do not fit the model any more.
    """
    from recsys.runs.run import support_of, training_data  # torch and the models, which a bundle does without
    from recsys.training.weights import load_model

    if not (run.scored.folder / MODEL_FILE).exists():
        raise UserError(f"{run.name} holds no trained model")
    kind = MODELS.get(run.config.model)
    own = {k: v for k, v in run.config.settings.items() if k in kind.Settings.model_fields}
    data = training_data(run.config, dataset, split)
    model = kind(build(kind.Settings, own, kind.__name__), data, run.config.seed)
    load_model(model, run.scored.folder)
    model.eval()
    query_users = data.query_users(support_of(dataset, split, "test"))
    vectors = model.embed(query_users)[1].cpu().numpy() if model.exports_vectors else None
    values = model.scorer(query_users)(users).cpu().numpy()
    return Scores(values, vectors, np.flatnonzero(model.cannot_score()))


def top_items(scores: np.ndarray, dataset: Dataset, split: Split, users: np.ndarray) -> list[list[int]]:
    """The items that rank first for each user, without those that the user is known to have."""
    known = dataset.matrix(_of(users, dataset, split.known))
    scores[known[users].nonzero()] = -np.inf
    order = np.argsort(-scores, axis=1, kind="stable")[:, :LISTED]
    kept = np.take_along_axis(scores, order, axis=1) > LOWEST
    return [row[keep].tolist() for row, keep in zip(order, kept, strict=True)]


def sample_users(dataset: Dataset, split: Split, users: int) -> np.ndarray:
    """(n,) numbers of tested users, from the least to the most active in even steps, in their own order."""
    pairs = dataset.interactions["user"].to_numpy()
    tested = np.unique(pairs[split.test])
    counts = np.bincount(pairs[split.known], minlength=dataset.n_users)[tested]
    order = tested[np.argsort(counts, kind="stable")]
    steps = np.linspace(0, len(order) - 1, min(users, len(order))).round().astype(int)
    return np.sort(order[np.unique(steps)])


def _users(dataset: Dataset, split: Split, users: np.ndarray) -> list[dict[str, Any]]:
    """Each user's raw id, or of people whose data set is not public a pseudonym, what it had (the newest first where
    times are known) and what was held out."""
    had, held = (_latest_first(dataset, rows, users) for rows in (split.known, split.test))
    titles = dataset.user_attributes.get("title")
    described = []
    named = dataset.public or dataset.whole is not dataset  # bundles are not people
    for number, user in enumerate(users.tolist(), start=1):
        one: dict[str, Any] = {
            "id": str(dataset.user_ids[user]) if named else f"user {number}",
            "had": had.get(user, []),
            "held": held.get(user, []),
        }
        sizes = {"n": len(one["had"]), "m": len(one["held"])}
        one |= {"had": one["had"][:SHOWN], **sizes}
        if titles is not None:
            one["title"] = _plain(str(titles.iloc[user]))
        described.append(one)
    return described


def _latest_first(dataset: Dataset, rows: np.ndarray, users: np.ndarray) -> dict[int, list[int]]:
    frame = dataset.interactions.iloc[_of(users, dataset, rows)]
    if "timestamp" in frame:
        frame = frame.sort_values("timestamp", ascending=False, kind="stable")
    return {int(user): part["item"].tolist() for user, part in frame.groupby("user", sort=False)}


def _of(users: np.ndarray, dataset: Dataset, rows: np.ndarray) -> np.ndarray:
    """Those of `rows` of the interactions that are of these users."""
    return rows[np.isin(dataset.interactions["user"].to_numpy()[rows], users)]


def _items(table: Mapping[str, Any]) -> set[int]:
    listed = {item for model in table["lists"] for top in model for item in top}
    return listed | {item for user in table["users"] for item in (*user["had"], *user["held"][:SHOWN])}


def describe_items(dataset: Dataset, items: Sequence[int], also: Sequence[int] = ()) -> dict[str, Any]:
    """Of the items: raw id, title, a word more where known, and the nearest items by each modality.

    Args:
        also: items of which only the name is wanted.
    """
    rows = np.asarray(items, dtype=int)
    near: dict[str, list[list[int]]] = {}
    for name, modality in dataset.modalities.items():
        near[name] = [
            [i for i in own if i not in (-1, item)][:NEAREST]
            for own, item in zip(_nearest(modality, rows).tolist(), rows.tolist(), strict=True)
        ]
    named = sorted({*items, *also, *(i for lists in near.values() for own in lists for i in own)})
    frame = dataset.item_attributes
    titles = frame["title"].fillna("").astype(str) if "title" in frame else pd.Series([""] * dataset.n_items)
    more = next((c for c in ("genres", "genre", "category", "categories", "year") if c in frame), None)
    descriptions = frame[more].fillna("").astype(str) if more else pd.Series([""] * dataset.n_items)
    return {
        "ids": named,
        "raw": [str(dataset.item_ids[i]) for i in named],
        "titles": [_plain(titles.iloc[i]) for i in named],
        "more": [_plain(descriptions.iloc[i]) for i in named] if more else [],
        "with": [int(i) for i in items],
        "near": near,
    }


def _nearest(modality: Modality, rows: np.ndarray) -> np.ndarray:
    """(n, NEAREST + 1) numbers of the items nearest to each of `rows`, itself among them; -1 for none."""
    from sklearn.neighbors import NearestNeighbors

    nearest = np.full((len(rows), NEAREST + 1), -1)
    bank, having = np.flatnonzero(modality.mask), np.flatnonzero(modality.mask[rows])
    if len(having):
        k = min(NEAREST + 1, len(bank))
        search = NearestNeighbors(n_neighbors=k, metric="cosine", algorithm="brute").fit(
            modality.features[bank]
        )
        places = search.kneighbors(modality.features[rows[having]], return_distance=False)
        nearest[having[:, None], np.arange(k)] = bank[places]
    return nearest


def _plain(text: str) -> str:
    """A title as people read it: many data sets hold it as HTML writes it; cut where it is long."""
    text = " ".join(html.unescape(text).split())
    return text if len(text) <= TITLE else text[: TITLE - 1].rstrip() + "…"
