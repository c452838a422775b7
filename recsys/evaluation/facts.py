"""What metrics read besides ranks: how often items were taken, what they are like, and who the users are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
import scipy.sparse as sp

from recsys.datasets.dataset import Modality
from recsys.datasets.splits import head_items
from recsys.errors import UserError, nearest
from recsys.inputs.categories import groups_of, parts_of

POPULARITY, ACTIVITY = "popularity", "activity"
"""Groups that every data set has: items by popularity class, users by training interactions."""
Groups = tuple[list[str], sp.csr_array]
"""Names of g groups, and (n, g) CSR of who is in them."""


@dataclass(frozen=True, eq=False)
class Facts:
    """What is known of users and items before anybody is recommended anything.

    Attributes:
        item_counts: (n_items,) float64 training interactions of each item.
        user_counts: (n_users,) training interactions of each user; None where nobody asks.
        modalities: the items' content by name, as it is, whatever the model was shown.
        item_attributes, user_attributes: frames with one row each; may have no columns.
    """

    item_counts: np.ndarray
    user_counts: np.ndarray | None = None
    modalities: Mapping[str, Modality] = field(default_factory=dict)
    item_attributes: pd.DataFrame = field(default_factory=pd.DataFrame)
    user_attributes: pd.DataFrame = field(default_factory=pd.DataFrame)

    def __post_init__(self) -> None:
        object.__setattr__(self, "item_counts", np.asarray(self.item_counts, dtype=np.float64))

    @cached_property
    def _read(self) -> dict[tuple[str, str], Any]:
        return {}

    def known(self, kind: str) -> list[str]:
        """What there is of a kind: "modality", "item group" or "user group"."""
        if kind == "modality":
            return list(self.modalities)
        if kind == "item group":
            return [POPULARITY, *map(str, self.item_attributes)]
        return [*([] if self.user_counts is None else [ACTIVITY]), *map(str, self.user_attributes)]

    def check(self, kind: str, name: str, reader: str) -> None:
        """UserError where there is no such thing for `reader` to read."""
        if name not in self.known(kind):
            there_is = "there is none" if not self.known(kind) else f"there is {', '.join(self.known(kind))}"
            raise UserError(
                f"{reader}: the data set has no {kind} '{name}'{nearest(name, self.known(kind))}; {there_is}"
            )

    def directions(self, modality: str) -> tuple[np.ndarray | sp.csr_array, np.ndarray]:
        """(n_items, width) float64 unit rows of a modality, and (n_items,) bool which items have one."""
        key = "directions", modality
        if key not in self._read:
            given = self.modalities[modality]
            rows = given.features.astype(np.float64)
            norms = np.asarray((rows * rows).sum(axis=1)).ravel()
            has = given.mask & (norms > 0)
            scale = np.divide(1.0, np.sqrt(norms), out=np.zeros_like(norms), where=has)
            unit = sp.csr_array(sp.diags_array(scale) @ rows) if sp.issparse(rows) else rows * scale[:, None]
            self._read[key] = unit, has
        return self._read[key]

    def item_groups(self, name: str) -> Groups:
        """Items by the values of an attribute, or by popularity: "head", the most popular fifth of those with training
        interactions, "tail", the others, and "cold", those without any."""
        key = "item", name
        if key not in self._read:
            self._read[key] = (
                self._by_popularity() if name == POPULARITY else groups_of(self.item_attributes[name])
            )
        return self._read[key]

    def user_groups(self, name: str) -> Groups:
        """Users by the values of an attribute, or by activity: three parts of about one size by training
        interactions."""
        key = "user", name
        if key not in self._read:
            if name == ACTIVITY and self.user_counts is not None:
                self._read[key] = parts_of(self.user_counts)
            else:
                self._read[key] = groups_of(self.user_attributes[name])
        return self._read[key]

    @cached_property
    def head(self) -> np.ndarray:
        """(n_items,) bool: the most popular fifth of the items with training interactions."""
        return head_items(self.item_counts)

    def _by_popularity(self) -> Groups:
        cold = self.item_counts == 0
        member = np.stack([self.head, ~self.head & ~cold, cold], axis=1)
        return ["head", "tail", "cold"], sp.csr_array(member.astype(np.float64))

    @cached_property
    def information(self) -> np.ndarray:
        """(n_items,) float64: -log2 of the share of users who took the item in training, in bits; an item that nobody
        took counts as one that one user took."""
        counts = np.maximum(self.item_counts, 1.0)
        users = self.user_counts
        n_users = max(np.count_nonzero(users) if users is not None else counts.max(), 1)
        return np.log2(n_users / counts)
