"""What a data set looks like, in numbers: for `data info` and for reports."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from recsys.datasets.dataset import Dataset

if TYPE_CHECKING:
    from recsys.datasets.splits import Split


def _describe_split(dataset: Dataset, split: Split) -> dict[str, int]:
    items = dataset.interactions["item"].to_numpy()
    in_test = np.zeros(dataset.n_items, dtype=bool)
    in_test[items[split.test]] = True
    return {
        "train": len(split.train),
        "valid": len(split.valid),
        "test": len(split.test),
        "cold_users": int(split.cold_users.sum()),
        "cold_items": int(split.cold_items.sum()),
        "cold_items_in_test": int((split.cold_items & in_test).sum()),
    }


def describe(dataset: Dataset, splits: Mapping[str, Split] | None = None) -> dict[str, Any]:
    """Plain numbers, strings and lists, ready for JSON.

    Returns:
        `name`, `users`, `items`, `interactions`, `sparsity` (the share of user-item pairs without an
        interaction), `users_without_interactions`, `items_without_interactions`, `modalities` (name ->
        `width`, `items`, `coverage`, `sparse`, `made_from`), `user_attributes` and `item_attributes` (names), `notes`,
        and `splits` (name -> sizes of the parts, cold users, cold items, cold items that occur in test).
    """
    pairs = dataset.n_users * dataset.n_items
    return {
        "name": dataset.name,
        "users": dataset.n_users,
        "items": dataset.n_items,
        "interactions": len(dataset.interactions),
        "sparsity": 1 - len(dataset.interactions) / pairs,
        "users_without_interactions": dataset.n_users - int(dataset.interactions["user"].nunique()),
        "items_without_interactions": dataset.n_items - int(dataset.interactions["item"].nunique()),
        "modalities": {
            name: {
                "width": modality.width,
                "items": int(modality.mask.sum()),
                "coverage": float(modality.mask.mean()),
                "sparse": bool(modality.is_sparse),
                "made_from": str(dataset.provenance[name]),
            }
            for name, modality in dataset.modalities.items()
        },
        "user_attributes": [str(c) for c in dataset.user_attributes.columns],
        "item_attributes": [str(c) for c in dataset.item_attributes.columns],
        "notes": list(dataset.notes),
        "splits": {name: _describe_split(dataset, split) for name, split in (splits or {}).items()},
    }
