"""Errors that a user can mend. The command line prints them as one line and exits with status 2."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

__all__ = ["DataError", "GraphError", "LeakError", "UserError", "nearest"]

LISTED, SEARCHED, LONGEST = 60, 2000, 80
"""Names that a message lists at most, ids that are compared, and characters shown of one."""


class UserError(Exception):
    """Something the user asked for cannot be done: one line saying what, and how to mend it."""


class DataError(UserError, ValueError):
    """Input data a user can mend: one line saying what was wrong, what was expected, how to mend it."""


class DataChanged(UserError):
    """A run's data set is not what it was trained on: one line saying what has changed."""


class GraphError(UserError, ValueError):
    """A graph that cannot be built as asked: one line saying what was wrong and how to mend it."""


class LeakError(UserError):
    """A cold user or item was found in something that training used: the run's figures would be wrong."""


def nearest(name: str, known: Iterable[str]) -> str:
    """`; did you mean 'x'?` with at most three of the nearest known names; where nothing is near, `; known: ...`, or,
    of more names than can be read, how many there are."""
    name, names = name[:LONGEST], list(map(str, known))
    near = names
    if len(names) > SEARCHED:  # ids: those that differ in blanks, case or padding, or begin alike
        plain = _plain(name)
        near = [k for k in names if _plain(k) == plain] or [k for k in names if k[:3] == name[:3]][:SEARCHED]
    if close := difflib.get_close_matches(name, sorted(near), n=3, cutoff=0.5):
        return "; did you mean " + " or ".join(f"'{c:.{LONGEST}}'" for c in close) + "?"
    if len(names) > LISTED:
        return f"; it is none of the {len(names):,} known"
    return "; known: " + ", ".join(sorted(names))


def _plain(name: str) -> str:
    return name.strip().casefold().lstrip("0")
