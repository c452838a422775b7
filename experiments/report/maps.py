"""A map of item vectors: two coordinates for each of some items, and a category to tell them apart by."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from recsys.datasets.dataset import Dataset
from recsys.datasets.splits import HEAD_SHARE
from recsys.inputs.content import unit_rows

CATEGORY_COLUMNS = ("genres", "genre", "category", "categories", "class", "type", "tags")
ITEMS, KINDS = 600, 7
SIZE = 1000
COMMON = 0.6
"""A category that a larger share of the items has does not tell items apart and is passed over."""
OTHER = "other"
"""The mark of all categories that have no mark of their own."""
NO_CATEGORY = "no category"


@dataclass(frozen=True, eq=False)
class ItemMap:
    """Where items lie.

    Attributes:
        model, dataset: whose vectors, of which data set's items.
        items: (n,) item numbers.
        places: (n, 2) int, 0 to SIZE, y downwards.
        kinds: names of the marked categories, the most frequent first; the last may be OTHER, for all further ones.
        kind: (n,) index into `kinds`.
        by: what the categories are.
        names: each item's own category, also where its mark is that of OTHER.
    """

    model: str
    dataset: str
    items: np.ndarray
    places: np.ndarray
    kinds: list[str]
    kind: np.ndarray
    by: str
    names: list[str]

    @property
    def further(self) -> dict[str, int]:
        """The categories that share the mark of OTHER, and how many items each has; the most frequent first."""
        frequent = _frequencies(self.names)
        marked = set(self.kinds) - {OTHER} if len(frequent) > len(self.kinds) else set(self.kinds)
        return {str(name): int(count) for name, count in frequent.items() if name not in marked}


def item_map(
    model: str, dataset: Dataset, vectors: np.ndarray, counts: np.ndarray, ranked: np.ndarray
) -> ItemMap | None:
    """A map of at most ITEMS of the items that the model ranks; None where that leaves too few.

    Args:
        vectors: (n_items, d).
        counts: (n_items,) training interactions.
        ranked: (n_items,) bool.
    """
    known = np.flatnonzero(ranked & (np.abs(vectors).sum(axis=1) > 0))
    if len(known) < 10 or vectors.shape[1] < 2:
        return None
    order = known[np.argsort(-counts[known], kind="stable")]
    items = np.sort(order[np.unique(np.linspace(0, len(order) - 1, min(ITEMS, len(order))).astype(int))])
    names, by = _categories(dataset, items)
    if names is None:
        names, by = _popularity(counts, items), "popularity in training"
    kinds, kind = _codes(names)
    return ItemMap(model, dataset.name, items, _flat(vectors[items]), kinds, kind, by, names)


def _flat(vectors: np.ndarray) -> np.ndarray:
    """(n, 2) int places by t-SNE on cosine distances (van der Maaten and Hinton, 2008), by PCA for few rows."""
    unit = unit_rows(np.ascontiguousarray(vectors, dtype=np.float32))
    if len(unit) < 60:
        from sklearn.decomposition import PCA

        flat = PCA(2, random_state=0).fit_transform(unit)
    else:
        from sklearn.manifold import TSNE
        from threadpoolctl import threadpool_limits

        tsne = TSNE(2, init="pca", perplexity=min(30, len(unit) / 4), max_iter=400, random_state=0, n_jobs=1)
        # So few points keep several threads waiting for each other: two take three times the processor time of one.
        with threadpool_limits(1):
            flat = tsne.fit_transform(unit)
    low, span = flat.min(axis=0), np.ptp(flat, axis=0)
    return np.round((flat - low) / np.where(span > 0, span, 1) * SIZE).astype(int)


def _categories(dataset: Dataset, items: np.ndarray) -> tuple[list[str] | None, str]:
    """Each item's first category that tells it from others, and the attribute it is from; None without any."""
    frame = dataset.item_attributes
    column = next((c for c in CATEGORY_COLUMNS if c in frame), None)
    if column is None:
        return None, ""
    texts = frame[column].iloc[items].fillna("").astype(str)
    sign = next((s for s in ("|", ",", ";") if texts.str.contains(s, regex=False).any()), None)
    if sign is None and column in ("genres", "tags"):
        sign = " "
    tokens = [[t.strip() for t in (x.split(sign) if sign else [x]) if t.strip()] for x in texts]
    frequent = pd.Series([t for own in tokens for t in set(own)], dtype=object).value_counts()
    telling = set(frequent.index[frequent <= COMMON * len(items)])
    names = [next((t for t in own if t in telling), own[0] if own else NO_CATEGORY) for own in tokens]
    return (names, column) if len(set(names)) > 1 else (None, "")


def _popularity(counts: np.ndarray, items: np.ndarray) -> list[str]:
    warm = np.flatnonzero(counts > 0)
    order = warm[np.argsort(-counts[warm], kind="stable")]
    head = set(order[: round(HEAD_SHARE * len(warm))].tolist())
    return [
        "head" if i in head else "tail" if counts[i] else "no training interaction" for i in items.tolist()
    ]


def _codes(names: list[str]) -> tuple[list[str], np.ndarray]:
    """The marked categories, and each item's place among them."""
    frequent = _frequencies(names).index.tolist()
    kinds = frequent if len(frequent) <= KINDS + 1 else [*[n for n in frequent if n != OTHER][:KINDS], OTHER]
    places = {name: place for place, name in enumerate(kinds)}
    return kinds, np.array([places.get(name, len(kinds) - 1) for name in names])


def _frequencies(names: list[str]) -> pd.Series:
    return pd.Series(names, dtype=object).value_counts()
