"""Pictures to item features, without trained weights."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from recsys.datasets.content.encoder import encoder
from recsys.datasets.content.weights import batches, need
from recsys.datasets.dataset import Modality

SIDE, BINS, DIRECTIONS, PARTS = 32, 4, 8, 4


@encoder(reads="file", each=True, width="192", revision="1", weights="none")
def image(
    texts: Sequence[bytes], *, width: int, seed: int, source: str, fit_on: Sequence[bytes] | None = None
) -> Modality:
    """Pictures to (n_items, 192) rows: a histogram of 4 x 4 x 4 colours, and in each of 4 x 4 parts of the picture one
    of the directions of its edges, weighted by their strength (the histograms of Dalal and Triggs, CVPR 2005, without
    overlapping blocks). Square roots, both halves of unit length; `width`, `seed` and `fit_on` are ignored. A picture
    that cannot be read counts as missing.

    Raises:
        DataError: Pillow is not installed.
    """
    features = np.zeros((len(texts), BINS**3 + PARTS * PARTS * DIRECTIONS), dtype=np.float32)
    for row, data in enumerate(texts):
        if (picture := picture_of(data, source)) is not None:
            small = picture.resize((SIDE, SIDE), resample=2)  # bilinear
            features[row] = describe(np.asarray(small, dtype=np.float32))
    return Modality(features, np.asarray(features.any(axis=1)))


def picture_of(data: bytes, source: str) -> Any:
    """A picture in RGB; None where the bytes are none, or claim to be an enormous one."""
    pillow = need("PIL.Image", "image", source)
    try:
        with pillow.open(io.BytesIO(data)) as picture:
            return picture.convert("RGB")
    except (OSError, ValueError, SyntaxError, pillow.DecompressionBombError):
        return None


def of_pictures(
    contents: Sequence[bytes],
    encoded: Callable[[list[Any]], np.ndarray],
    width: int,
    batch: int,
    source: str,
) -> Modality:
    """What a network makes of pictures, (n, `width`); those that cannot be read, or give no finite numbers, are masked.

    Args:
        encoded: pictures in RGB, at most `batch` -> a row for each; called without gradients.
    """
    import torch

    features = np.zeros((len(contents), width), dtype=np.float32)
    mask = np.zeros(len(contents), dtype=bool)
    for places in batches(range(len(contents)), batch):
        pictures = {place: p for place in places if (p := picture_of(contents[place], source)) is not None}
        if not pictures:
            continue
        with torch.inference_mode():
            rows = encoded(list(pictures.values()))
        features[list(pictures)] = rows
        mask[list(pictures)] = np.isfinite(rows).all(axis=1)
    features[~mask] = 0
    return Modality(features, mask)


def describe(pixels: np.ndarray) -> np.ndarray:
    """(192,) float32 of one picture.

    Args:
        pixels: (32, 32, 3) float32 from 0 to 255.
    """
    levels = np.minimum((pixels * BINS / 256).astype(int), BINS - 1) @ [BINS * BINS, BINS, 1]
    colours = np.bincount(levels.ravel(), minlength=BINS**3)
    down, right = np.gradient(pixels.mean(axis=2))
    direction = ((np.arctan2(down, right) % np.pi) * DIRECTIONS / np.pi).astype(int) % DIRECTIONS
    part = np.arange(SIDE) * PARTS // SIDE
    places = (part[:, None] * PARTS + part) * DIRECTIONS + direction
    edges = np.bincount(places.ravel(), np.hypot(down, right).ravel(), PARTS * PARTS * DIRECTIONS)
    halves = [np.sqrt(half / max(half.sum(), 1e-12)) for half in (colours, edges)]
    return np.concatenate(halves).astype(np.float32)
