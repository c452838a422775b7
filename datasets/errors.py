"""The one error that bad data raises, and the near names that messages offer."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class DataError(ValueError):
    """Input data a user can mend: one line saying what was wrong, what was expected, how to mend it."""


def nearest(name: str, known: Iterable[str]) -> str:
    """`; did you mean 'x'?` with the nearest known names, or, where nothing is near, `; known: ...`."""
    known = sorted(known)
    if close := difflib.get_close_matches(name, known, n=3, cutoff=0.5):
        return "; did you mean " + " or ".join(f"'{c}'" for c in close) + "?"
    return "; known: " + ", ".join(known)
