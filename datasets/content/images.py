"""Pictures to item features, without trained weights."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from recsys.datasets.dataset import Modality
from recsys.errors import DataError

SIDE, BINS, DIRECTIONS, PARTS = 32, 4, 8, 4


def image(
    texts: Sequence[str], *, width: int, seed: int, source: str, fit_on: Sequence[str] | None = None
) -> Modality:
    """Paths of pictures to (n_items, 192) rows: a histogram of 4 x 4 x 4 colours, and in each of 4 x 4 parts of the
    picture one of the directions of its edges, weighted by their strength (the histograms of Dalal and Triggs, CVPR
    2005, without overlapping blocks). Square roots, both halves of unit length; `width`, `seed` and `fit_on` are
    ignored. A picture that cannot be read counts as missing.

    Raises:
        DataError: no picture can be read, or Pillow is not installed.
    """
    try:
        from PIL import Image
    except ModuleNotFoundError as error:
        raise DataError(f"{source}: pictures need a package: pip install recsys[image] ({error})") from None
    features = np.zeros((len(texts), BINS**3 + PARTS * PARTS * DIRECTIONS), dtype=np.float32)
    for row, text in enumerate(texts):
        try:
            with Image.open(Path(text)) as picture:
                small = picture.convert("RGB").resize((SIDE, SIDE), Image.Resampling.BILINEAR)
        except (OSError, ValueError, Image.DecompressionBombError):
            continue
        features[row] = describe(np.asarray(small, dtype=np.float32))
    mask = features.any(axis=1)
    if len(texts) and not mask.any():
        raise DataError(f"{source}: no picture can be read; the first is '{texts[0]}'")
    return Modality(features, np.asarray(mask))


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
