"""Errors that a user can mend. The command line prints them as one line and exits with status 2."""

from __future__ import annotations

from recsys.datasets.errors import DataError, nearest
from recsys.graphs.errors import GraphError

__all__ = ["USER_ERRORS", "DataError", "GraphError", "LeakError", "UserError", "nearest"]


class UserError(Exception):
    """Something the user asked for cannot be done: one line saying what, and how to mend it."""


class LeakError(Exception):
    """A cold user or item was found in something that training used: the run's figures would be wrong."""


USER_ERRORS = (UserError, DataError, GraphError, LeakError)
