"""LambdaRank: boosted trees over features of users, items, context, and how far an item is from a user's others."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from functools import lru_cache
from types import ModuleType
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import scipy.sparse as sp
import torch

from recsys.datasets.checks import floats
from recsys.encoders.fields import AttributeFields, Numbers, context_fields
from recsys.errors import UserError
from recsys.evaluation.scorers import Scorer
from recsys.inputs.content import below, choose, unit_rows
from recsys.inputs.requests import NewItems, QueryUsers
from recsys.inputs.training_data import TrainingData
from recsys.memory import check_fits
from recsys.models.base import Model
from recsys.settings import Settings, setting

BLOCK = 2**24
"""Features held at once while scoring."""
PAIRS = 2**16
"""Pairs whose similarities are taken at once."""
TOLD = 2**13
"""Rows that LightGBM is told at once."""
BYTES_PER_VALUE = 2
"""LightGBM keeps a feature's bin, a byte, by column, and by row too while it tries which is the faster."""
REDRAWS = 20
"""A user who has nearly every item keeps a few of their own among the negatives."""


class LambdaRankSettings(Settings):
    trees: int = setting(200, "boosting rounds", low=1, high=10_000, search=(50, 500))
    leaves: int = setting(31, "largest number of leaves of a tree", low=2, high=1024, search=[7, 15, 31, 63])
    rate: float = setting(0.05, "shrinkage of each tree", low=1e-4, high=1, search=(0.02, 0.2), log=True)
    least: int = setting(50, "smallest number of rows in a leaf", low=1, search=[20, 50, 200])
    negatives: int = setting(10, "sampled negatives for each positive", low=1, high=1000)
    withheld: float = setting(
        0.2, "share of items whose popularity is withheld beside one taken", low=0, high=1, search=(0.05, 0.5)
    )
    context: bool | None = setting(None, "use the hour and the weekday; empty: where there are timestamps")
    modalities: list[str] = setting([], "modalities to read; empty: all of them")
    user_fields: list[str] = setting([], "user attributes to read; empty: all of them")
    item_fields: list[str] = setting([], "item attributes to read; empty: all of them")


class LambdaRank(Model):
    """Boosted regression trees trained on pairs within a query, weighed by what swapping them does to NDCG.

    "From RankNet to LambdaRank to LambdaMART: An Overview", Burges, MSR-TR-2010-82, in LightGBM's implementation
    ("LightGBM: A Highly Efficient Gradient Boosting Decision Tree", Ke et al., NeurIPS 2017). A query is a training
    interaction beside `negatives` items that its user did not take. A row holds the user's attributes and number of
    other interactions, the hour and weekday of the interaction, the item's attributes, dense content and
    popularity, and for each modality the item's mean cosine to the user's other items.

    What an interaction would tell of itself is taken out: an item taken counts one user less, and is not among the
    items that it is compared with. The popularity of some items is withheld, so that trees learn to rank items
    without any. A ranking has no moment of its own: it takes the most frequent hour and weekday of the training.
    """

    Settings = LambdaRankSettings
    paper = "From RankNet to LambdaRank to LambdaMART: An Overview, MSR-TR-2010-82"
    closed_form = True
    exports_vectors = False
    reads_content = True
    ranks_cold_items = True
    settings: LambdaRankSettings
    objective: ClassVar[dict[str, Any]] = {"objective": "lambdarank", "deterministic": True, "verbosity": -1}
    booster: torch.Tensor

    def __init__(self, settings: LambdaRankSettings, data: TrainingData, seed: int):
        super().__init__(settings, data, seed)
        self.library = _lightgbm()
        wanted = data.modalities or settings.modalities
        self.modalities = choose(data.modalities, settings.modalities, "LambdaRank") if wanted else {}
        warm = data.warm_users, data.warm_items
        self.user_columns = AttributeFields(data.user_attributes, warm[0], settings.user_fields, "user")
        self.item_columns = AttributeFields(data.item_attributes, warm[1], settings.item_fields, "item")
        data.ledger.record("vocabulary", "attributes", *warm)
        times = context_fields(data, settings.context)
        self.context = None if times is None else np.column_stack(list(times.values()))

    def fit(self) -> None:
        """Draw the queries and grow the trees."""
        settings, data, rng = self.settings, self.data, np.random.default_rng(self.seed)
        users, taken = data.interactions.nonzero()
        size = 1 + settings.negatives
        items = np.column_stack([taken, *self._not_taken(users, rng)]).ravel()
        label = np.tile(np.arange(size) == 0, len(users))
        features = self._training_features(np.repeat(users, size), items, label, rng)
        check_fits(
            BYTES_PER_VALUE * len(label) * features(slice(0, 1)).shape[1],
            f"LambdaRank on {len(label):,} rows",
            f"use fewer --set negatives (now {settings.negatives}) or name fewer --set modalities",
        )
        rows = self.library.Dataset(
            _in_blocks(self.library, features, len(label)),
            label.astype(np.float32),
            group=np.full(len(users), size),
            params={"verbosity": -1},
        )
        options = {
            "num_leaves": settings.leaves,
            "learning_rate": settings.rate,
            "min_data_in_leaf": settings.least,
            "num_threads": torch.get_num_threads(),
            "seed": self.seed,
        }
        booster = self.library.train(self.objective | options, rows, num_boost_round=settings.trees)
        text = np.frombuffer(booster.model_to_string().encode(), dtype=np.uint8)
        self.register_buffer("booster", torch.from_numpy(text.copy()))

    def _not_taken(self, users: np.ndarray, rng: np.random.Generator) -> list[np.ndarray]:
        """For each user as many warm items as there are negatives; those taken are drawn again a few times."""
        warm, keys = np.flatnonzero(self.data.warm_items), _keys(self.data.interactions)
        drawn = []
        for _ in range(self.settings.negatives):
            items = rng.choice(warm, len(users))
            for _ in range(REDRAWS):
                again = np.isin(users * self.data.n_items + items, keys)
                items[again] = rng.choice(warm, int(again.sum()))
            drawn.append(items)
        return drawn

    def _training_features(
        self, users: np.ndarray, items: np.ndarray, label: np.ndarray, rng: np.random.Generator
    ) -> Callable[[slice], np.ndarray]:
        """What gives the rows of some of the pairs, (b, width) float32: all at once are many times the data."""
        data, history = self.data, self.data.interactions
        by_user = _table(self.user_columns, data.user_attributes, data.n_users)
        by_item = self._content(data.item_attributes, data.modalities, data.n_items)
        counts = (data.item_counts()[items] - label).astype(np.float32)
        # Whatever the label: a count of nobody else, which only an item taken can have, is no mark of cold items.
        counts[rng.random(len(items)) < self.settings.withheld] = np.nan
        others = (np.diff(history.indptr) - 1).astype(np.float32)
        size = 1 + self.settings.negatives
        near = []
        for modality in self.modalities.values():
            content = unit_rows(modality.features)
            sums, has = history @ content, modality.mask
            total = _paired(sums, content, users, items) - label * has[items]
            held = (history @ has.astype(np.float32))[users] - label * has[items]
            near.append(_mean(total, held * has[items])[:, None])

        def rows(places: slice) -> np.ndarray:
            user, item = users[places], items[places]
            columns = [by_user[user], others[user, None]]
            if self.context is not None:
                columns.append(self.context[np.arange(places.start, places.stop) // size])
            columns += [by_item[item], counts[places, None], *(column[places] for column in near)]
            return np.concatenate(columns, axis=1, dtype=np.float32)

        return rows

    def _content(self, attributes: pd.DataFrame, modalities: Any, n: int) -> np.ndarray:
        """(n, width): attributes and dense modalities, NaN where an item lacks them."""
        parts = [_table(self.item_columns, attributes, n)]
        for name in self.modalities:
            if not self.modalities[name].is_sparse:
                modality = modalities[name]
                parts.append(np.where(modality.mask[:, None], modality.features, np.nan))
        return np.concatenate(parts, axis=1, dtype=np.float32)

    def scores(self, users: QueryUsers, new_items: NewItems | None) -> Scorer:
        """Scores by the trees, a block of users by all items at a time."""
        data = self.data
        content = [self._content(data.item_attributes, data.modalities, data.n_items)]
        counts = np.where(data.warm_items, data.item_counts(), np.nan)
        units = {n: unit_rows(m.features) for n, m in self.modalities.items()}
        masks = {n: m.mask for n, m in self.modalities.items()}
        history = {n: _Profile(users.history, units[n], masks[n]) for n in units}
        if new_items is not None:
            content.append(self._content(new_items.attributes, new_items.modalities, len(new_items)))
            counts = np.append(counts, np.full(len(new_items), np.nan))
            for name in units:
                new = new_items.modalities[name]
                units[name] = below(units[name], unit_rows(new.features))
                masks[name] = np.append(masks[name], new.mask)
        columns = [_table(self.user_columns, users.attributes, len(users))]
        columns.append(np.diff(users.history.indptr)[:, None])
        if self.context is not None:
            moments, often = np.unique(self.context, axis=0, return_counts=True)
            columns.append(np.tile(moments[often.argmax()], (len(users), 1)))
        by_user = np.concatenate(columns, axis=1, dtype=np.float32)
        by_item = np.concatenate([np.concatenate(content), counts[:, None]], axis=1, dtype=np.float32)
        near = [(history[n], units[n], masks[n]) for n in units]
        text = self.booster.cpu().numpy().tobytes().decode()
        return _TreeScorer(self.library.Booster(model_str=text), by_user, by_item, near)


class _Profile:
    """What each user's items add up to in one modality, and how many of them have it."""

    def __init__(self, history: sp.csr_array, content: Any, mask: np.ndarray):
        self.sums, self.held = history @ content, history @ mask.astype(np.float32)


class _TreeScorer:
    """Trees' scores of every pair of some users with all items.

    Args:
        by_user, by_item: (m, a) and (n, c) float32, the columns that depend on one of them.
        near: of each modality the users' profiles, the items' unit rows (n, d) and mask.
    """

    def __init__(self, booster: Any, by_user: np.ndarray, by_item: np.ndarray, near: list[tuple]):
        self.booster, self.by_user, self.by_item, self.near = booster, by_user, by_item, near
        self.n_items, self.device = len(by_item), torch.device("cpu")

    def __call__(self, users: np.ndarray) -> torch.Tensor:
        width = self.by_user.shape[1] + self.by_item.shape[1] + len(self.near)
        size = max(1, BLOCK // (self.n_items * width))
        blocks = [self._block(users[low : low + size], width) for low in range(0, len(users), size)]
        return torch.from_numpy(np.concatenate([np.empty((0, self.n_items), np.float32), *blocks]))

    def _block(self, users: np.ndarray, width: int) -> np.ndarray:
        rows = np.empty((len(users), self.n_items, width), dtype=np.float32)
        user_end, item_end = self.by_user.shape[1], self.by_user.shape[1] + self.by_item.shape[1]
        rows[:, :, :user_end] = self.by_user[users][:, None]
        rows[:, :, user_end:item_end] = self.by_item
        for column, (profile, content, mask) in enumerate(self.near, start=item_end):
            total = profile.sums[users] @ content.T
            total = total.toarray() if sp.issparse(total) else total
            rows[:, :, column] = _mean(total, profile.held[users][:, None] * mask)
        threads = torch.get_num_threads()
        scores = self.booster.predict(rows.reshape(-1, width), num_threads=threads)
        return scores.astype(np.float32).reshape(len(users), self.n_items)


def _lightgbm() -> ModuleType:
    try:
        return importlib.import_module("lightgbm")
    except ModuleNotFoundError as error:
        raise UserError(f"LambdaRank needs a package: pip install 'recsys[lightgbm]' ({error})") from None


def _in_blocks(library: Any, rows: Callable[[slice], np.ndarray], n: int) -> Any:
    """LightGBM's view of n rows of which it sees a block at a time: `rows` gives those of a slice."""

    @lru_cache(maxsize=1)  # single rows are asked for in ascending order
    def block(start: int) -> np.ndarray:
        return rows(slice(start, min(start + TOLD, n)))

    class Rows(library.Sequence):
        batch_size = TOLD

        def __len__(self) -> int:
            return n

        def __getitem__(self, wanted: int | slice) -> np.ndarray:
            if isinstance(wanted, slice):
                return rows(wanted)
            place = int(wanted) % TOLD
            return block(int(wanted) - place)[place].astype(np.float64)

    return Rows()


def _table(columns: AttributeFields, frame: pd.DataFrame, n: int) -> np.ndarray:
    """(n, width) float32: numbers as they are, a one or zero for each known word; NaN where a row lacks the column."""
    parts = [np.empty((n, 0))]
    for name, coder in columns.coders.items():
        column = frame[name].reset_index(drop=True) if name in frame else pd.Series([""] * n)
        if isinstance(coder, Numbers):
            parts.append(floats(column)[:, None])
        else:
            words = coder(column)
            parts.append(np.where(words.mask[:, None], sp.csr_array(words.features).toarray(), np.nan))
    return np.concatenate(parts, axis=1, dtype=np.float32)


def _keys(matrix: sp.csr_array) -> np.ndarray:
    users, items = matrix.nonzero()
    return users * matrix.shape[1] + items


def _paired(sums: Any, content: Any, users: np.ndarray, items: np.ndarray) -> np.ndarray:
    """(p,) product of each pair's two rows."""
    products = np.empty(len(users), dtype=np.float32)
    for low in range(0, len(users), PAIRS):
        part = slice(low, low + PAIRS)
        left, right = sums[users[part]], content[items[part]]
        product = left.multiply(right) if sp.issparse(right) else left * right
        products[part] = np.asarray(product.sum(axis=1)).ravel()
    return products


def _mean(total: np.ndarray, count: np.ndarray) -> np.ndarray:
    """total / count; NaN where there is nothing to count."""
    return np.divide(total, count, out=np.full(np.shape(total), np.nan, dtype=np.float32), where=count > 0.5)
