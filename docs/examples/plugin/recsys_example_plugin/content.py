"""A content encoder: a text of each item in, their features out, whatever the interactions are."""

from collections.abc import Sequence

import numpy as np

from recsys.datasets.dataset import Modality

ALPHABET = "abcdefghijklmnopqrstuvwxyz"


def letters(
    texts: Sequence[str], *, width: int, seed: int, source: str, fit_on: Sequence[str] | None = None
) -> Modality:
    """(n_items, 26) float32: the share of each letter; an item without letters is masked. Nothing is learned first, so
    that `fit_on`, the catalogue's texts where new items are encoded, has no say."""
    counts = np.array([[text.lower().count(letter) for letter in ALPHABET] for text in texts], np.float32)
    total = counts.sum(axis=1, keepdims=True)
    return Modality(counts / np.maximum(total, 1), total[:, 0] > 0)
