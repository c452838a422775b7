"""Errors that a user can mend. The command line prints them as one line and exits with status 2."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

__all__ = ["DataError", "GraphError", "LeakError", "UserError", "nearest"]


class UserError(Exception):
    """Something the user asked for cannot be done: one line saying what, and how to mend it."""


class DataError(UserError, ValueError):
    """Input data a user can mend: one line saying what was wrong, what was expected, how to mend it."""


class GraphError(UserError, ValueError):
    """A graph that cannot be built as asked: one line saying what was wrong and how to mend it."""


class LeakError(UserError):
    """A cold user or item was found in something that training used: the run's figures would be wrong."""


def nearest(name: str, known: Iterable[str]) -> str:
    """`; did you mean 'x'?` with the nearest known names, or, where nothing is near, `; known: ...`."""
    known = sorted(known)
    if close := difflib.get_close_matches(name, known, n=3, cutoff=0.5):
        return "; did you mean " + " or ".join(f"'{c}'" for c in close) + "?"
    return "; known: " + ", ".join(known)
