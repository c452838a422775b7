"""Bundles of items beside the user-item interactions, and the view of a Dataset in which bundles are the users.

The view's `interactions` are the bundles' items, so that splits, evaluator, samplers and models work on bundles
as they do on users. What users did is its `feedback`, which knows from which bundles each of its pairs came.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import PurePath
from typing import ClassVar

import numpy as np
import pandas as pd
import scipy.sparse as sp

from recsys.datasets.checks import positions, to_tokens
from recsys.datasets.dataset import Dataset, Modality
from recsys.errors import DataError


def binary(rows: np.ndarray, columns: np.ndarray, shape: tuple[int, int]) -> sp.csr_array:
    """(shape) float32 CSR with a one at each pair; repeated pairs count once."""
    matrix = sp.coo_array((np.ones(len(rows), dtype=np.float32), (rows, columns)), shape=shape).tocsr()
    matrix.data[:] = 1
    matrix.sort_indices()
    return matrix


@dataclass(frozen=True, eq=False)
class Feedback:
    """What users did with items, and where it comes from.

    Attributes:
        matrix: (n_users, n_items) float32 CSR of ones.
        owners: (n_users, n_bundles) CSR, who took which bundle.
        contents: (n_bundles, n_items) CSR, what is in it. A pair of a user and an item comes from the
            bundles that the user took and that hold the item; a pair may come from none.
    """

    matrix: sp.csr_array
    owners: sp.csr_array
    contents: sp.csr_array

    def within(self, bundles: np.ndarray) -> Feedback:
        """The pairs that come from one of these bundles ((n_bundles,) bool) at least, or from none at all."""
        return Feedback(self.matrix - self._leaking(bundles), self.owners, self.contents)

    def without(self, bundles: np.ndarray) -> Feedback:
        """What is left where nobody knows of these bundles ((n_bundles,) bool)."""
        kept = sp.diags_array((~bundles).astype(np.float32))
        fewer = self.within(~bundles).matrix, self.owners @ kept, kept @ self.contents
        return Feedback(*(sp.csr_array(matrix, dtype=np.float32) for matrix in fewer))

    def sources(self, bundles: np.ndarray) -> np.ndarray:
        """(n_bundles,) bool: `bundles`, and every other one that a pair of the matrix can only come from."""
        leaking = self._leaking(bundles)
        back = (self.owners.T @ leaking).multiply(self.contents)
        return bundles | (np.asarray(back.sum(axis=1)).ravel() > 0)

    def _leaking(self, bundles: np.ndarray) -> sp.csr_array:
        """The pairs that come from bundles, but from none of these."""
        keep = sp.diags_array(bundles.astype(np.float32))
        allowed = self.owners @ keep @ self.contents
        known = self.matrix.multiply((self.owners @ self.contents) > 0)
        leaking = sp.csr_array(known - known.multiply(allowed > 0), dtype=np.float32)
        leaking.eliminate_zeros()
        return leaking


@dataclass(frozen=True, eq=False)
class BundleView(Dataset):
    """A Dataset whose users are bundles: `user_ids` are theirs, `interactions` their items.

    Attributes:
        feedback: what the people did, with the bundles that it came from.
        given: (rows,) bool, the input part of the publisher's own split; None where there is none.
        parent: what it is a view of.
    """

    task: ClassVar[str] = "bundle"
    feedback: Feedback | None = None
    given: np.ndarray | None = None
    parent: Dataset | None = None

    @property
    def whole(self) -> Dataset:
        """What this is a view of."""
        return self.parent or self

    @cached_property
    def lengths(self) -> np.ndarray:
        """(n_bundles,) int64: the items of each bundle."""
        return np.bincount(self.interactions["user"], minlength=self.n_users)


def bundle_view(dataset: Dataset) -> BundleView:
    """The bundles of `dataset` as its users.

    Raises:
        DataError: it has no bundles.
    """
    if isinstance(dataset, BundleView):
        return dataset
    bundles = dataset.bundles
    if bundles is None:
        raise DataError(f"'{dataset.name}' has no bundles; use bundle-electronic, or leave out --task bundle")
    frame = bundles.items.rename(columns={"bundle": "user"})
    n_bundles = len(bundles.ids)
    pairs = dataset.interactions
    feedback = Feedback(
        dataset.matrix(np.arange(len(pairs))),
        binary(bundles.owners["user"], bundles.owners["bundle"], (dataset.n_users, n_bundles)),
        binary(frame["user"], frame["item"], (n_bundles, dataset.n_items)),
    )
    return BundleView(
        dataset.name,
        frame.drop(columns="given", errors="ignore"),
        bundles.ids,
        dataset.item_ids,
        dataset.modalities,
        bundles.attributes if len(bundles.attributes.columns) else pd.DataFrame(index=range(n_bundles)),
        dataset.item_attributes,
        dataset.notes,
        origin=dataset.origin,
        feedback=feedback,
        given=frame["given"].to_numpy() if "given" in frame else None,
        parent=dataset,
    )


def without_features(modalities: Iterable[Modality], n_items: int) -> np.ndarray:
    """(n_items,) bool: items that no modality tells anything of."""
    return ~np.any([np.zeros(n_items, dtype=bool), *(m.mask for m in modalities)], axis=0)


def checked_items(frame: pd.DataFrame, source: str) -> tuple[pd.DataFrame, list[str]]:
    """Bundle-item rows sorted, repeated pairs merged, and a note on merged ones and on bundles of one item."""
    if frame.empty:
        raise DataError(f"{source} holds no bundles; expected at least one row")
    unique = frame.drop_duplicates(["bundle", "item"]).sort_values(["bundle", "item"], ignore_index=True)
    notes, name = [], PurePath(source).name
    if n := len(frame) - len(unique):
        notes.append(f"{name}: {n:,} repeated items of a bundle merged")
    if n := int((np.bincount(unique["bundle"]) == 1).sum()):
        notes.append(f"{name}: {n:,} bundles hold one item; they only train")
    return unique, notes


def known_positions(frame: pd.DataFrame, column: str, ids: np.ndarray, source: str, where: str) -> np.ndarray:
    """(n,) int64 numbers of a column's raw ids; DataError names the first that `where` does not hold."""
    tokens = to_tokens(frame[column], source)
    at = positions(ids, tokens)
    if (bad := at < 0).any():
        first = int(np.argmax(bad))
        place = f"{frame.index.name or 'row'} {frame.index[first]}"
        raise DataError(f"{source}: {place}: {column} '{tokens[first]}' is not in {where}")
    return at
