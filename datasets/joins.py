"""Whether the ids of two files are the same ids."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import PurePath

import numpy as np
import pandas as pd

from recsys.datasets.checks import positions
from recsys.errors import DataError


def check_join(
    tokens: np.ndarray, known: np.ndarray, noun: str, source: str, file: str, least: float
) -> list[str]:
    """A note where some of the interactions' users or items are not in the file that describes them.

    Args:
        tokens: (n,) raw ids of the interactions.
        known: raw ids of the file.
        noun: "user" or "item".
        least: share of the distinct ids that must be there.

    Raises:
        DataError: fewer are; names examples of both sides, and what would join them where a simple rule would.
    """
    ids = pd.unique(tokens)
    missing = ids[positions(pd.unique(known), ids) < 0]
    if not len(missing):
        return []
    counted = f"{len(missing):,} of {len(ids):,} {noun}s of {PurePath(source).name} are not in {PurePath(file).name}"
    if len(missing) <= (1 - least) * len(ids) + 1e-9:
        return [counted]
    share = math.floor((1 - len(missing) / len(ids)) * 1e4) / 1e4
    raise DataError(
        f"{source}: {counted}, such as {examples(missing, known, file)}, or allow it with min_joined: {share}"
    )


def examples(missing: np.ndarray, known: np.ndarray, file: str) -> str:
    """Some ids that a file does not have, and what would join them where a simple rule would; else some that it has."""
    some = ", ".join(f"'{i:.40}'" for i in sorted(map(str, missing))[:3])
    for rule, plain in PLAIN_FORMS.items():
        there = {plain(str(k)): str(k) for k in known}
        if twin := next(((str(i), there[plain(str(i))]) for i in missing if plain(str(i)) in there), None):
            return f"{some}; '{twin[0]:.40}' is '{twin[1]:.40}' there: write both alike ({rule})"
    return f"{some}; {PurePath(file).name} has {', '.join(repr(str(k)[:40]) for k in known[:3])}; give them rows there"


def _whole(text: str) -> str:
    head, _, tail = text.strip().partition(".")
    return head if not tail.strip("0") else text


PLAIN_FORMS: dict[str, Callable[[str], str]] = {
    "blanks": str.strip,
    "upper and lower case": lambda text: text.strip().casefold(),
    "leading zeros": lambda text: text.strip().lstrip("0"),
    "a decimal point": _whole,
}
"""What two writings of one id often differ in, and the form without it."""
