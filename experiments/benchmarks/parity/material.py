"""What both sides are given: interactions, features without ties, a batch; and our models built on them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch

import recsys
from recsys.datasets.cards import load_dataset
from recsys.datasets.dataset import Modality
from recsys.datasets.splits import make_split
from recsys.errors import DataError
from recsys.inputs.sampler import Batch
from recsys.inputs.training_data import TrainingData
from recsys.runs.config import resolve_settings

WIDTH, BATCH = 16, 64


@dataclass(frozen=True)
class Material:
    """A slice of a data set on which nobody is cold.

    Attributes:
        name: of the slice, for the page.
        interactions: (n_users, n_items) float32 CSR of ones.
        features: modality -> (n_items, width) float32 rows of different lengths, no two alike.
    """

    name: str
    interactions: sp.csr_array
    features: dict[str, np.ndarray]

    @property
    def shape(self) -> tuple[int, int]:
        return self.interactions.shape

    def training_data(self, modalities: bool = True) -> TrainingData:
        """As our models read it."""
        everyone = np.ones(self.shape[1], dtype=bool)
        content = {name: Modality(rows, everyone) for name, rows in self.features.items() if modalities}
        return TrainingData(self.interactions, content)

    def ours(self, model: type, modalities: bool = True, **settings: Any) -> Any:
        """Our model in float64."""
        chosen, _ = resolve_settings(model, {"width": WIDTH, **settings})
        return model(chosen, self.training_data(modalities), 0).double()

    def batch(self, negatives: int = 1) -> Batch:
        """`BATCH` training pairs and their negatives, which the user did not take."""
        rng = np.random.default_rng(0)
        pairs = sp.coo_array(self.interactions)
        chosen = rng.permutation(pairs.nnz)[:BATCH]
        users, items = pairs.row[chosen].astype(np.int64), pairs.col[chosen].astype(np.int64)
        taken = self.interactions.toarray() > 0
        others = [rng.choice(np.flatnonzero(~taken[user]), negatives, replace=False) for user in users]
        return Batch(*(torch.from_numpy(np.array(ids)) for ids in (users, items, np.stack(others))))


def triple(batch: Batch) -> torch.Tensor:
    """(3, b): users, positives and the first negatives, as MMRec hands them to a model."""
    return torch.stack([batch.users, batch.positives, batch.negatives[:, 0]])


def material(data_root: str | None) -> Material:
    """A dense slice of TikTok where it is at hand, else of the toy shop."""
    try:
        dataset = load_dataset("tiktok", data_root)
    except DataError:
        return of_toys()
    data = TrainingData.of(dataset, make_split(dataset, "predefined"))
    features = {name: np.asarray(modality.features) for name, modality in data.modalities.items()}
    distinct = np.logical_and.reduce([_distinct(rows) for rows in features.values()])
    popularity = data.item_counts() * distinct
    # Half of the most popular items, so that the slice is neither complete nor all alike. The sorts are stable: other
    # machines break ties alike.
    items = np.sort(np.random.default_rng(0).permutation(np.argsort(-popularity, kind="stable")[:600])[:300])
    part = data.interactions[:, items]
    users = np.sort(np.argsort(-np.diff(part.indptr), kind="stable")[:250])
    part = part[users]
    warm = np.bincount(part.indices, minlength=part.shape[1]) > 0
    held = {name: rows[items[warm]].astype(np.float32) for name, rows in features.items()}
    return Material("tiktok, publisher's split", sp.csr_array(part[:, warm]), held)


def of_toys() -> Material:
    """The toy shop's interactions, with features drawn at random: its own tie."""
    data = TrainingData.of(recsys.toy_data(), make_split(recsys.toy_data(), "random"))
    part = data.interactions[:, data.warm_items]
    rng = np.random.default_rng(0)
    widths = {"image": 24, "audio": 12}
    drawn = {n: rng.normal(size=(part.shape[1], w)).astype(np.float32) for n, w in widths.items()}
    return Material("the toy shop", sp.csr_array(part), drawn)


def _distinct(rows: np.ndarray) -> np.ndarray:
    """(n,) bool: rows that are not zero and not another's too."""
    _, place, count = np.unique(np.round(rows, 6), axis=0, return_inverse=True, return_counts=True)
    return (count[place.ravel()] == 1) & (np.abs(rows).sum(1) > 0)
