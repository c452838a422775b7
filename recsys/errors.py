"""Errors that a user can mend. The command line prints them as one line and exits with status 2."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from recsys.datasets.errors import DataError
from recsys.graphs.errors import GraphError


class UserError(Exception):
    """Something the user asked for cannot be done: one line saying what, and how to mend it."""


class LeakError(Exception):
    """A cold user or item was found in something that training used: the run's figures would be wrong."""


USER_ERRORS = (UserError, DataError, GraphError, LeakError)


def nearest(name: str, known: Iterable[str]) -> str:
    """Return `; did you mean 'x'?` for the nearest known names, or a list of all of them."""
    known = sorted(known)
    close = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    if close:
        return "; did you mean " + " or ".join(f"'{c}'" for c in close) + "?"
    return "; known: " + ", ".join(known)
