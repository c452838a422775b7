"""Who is told how far the encoding of raw content has come; nobody unless asked."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from typing import TextIO

PROGRESS: ContextVar[Callable[[str, int, int], None] | None] = ContextVar("PROGRESS", default=None)
"""Told the modality, and how many of how many items are encoded; the command line shows a bar on a terminal."""
BAR = 30


def bar_on(stream: TextIO) -> Callable[[str, int, int], None]:
    """A bar that is drawn over itself.

    Example:
        >>> import io
        >>> bar_on(drawn := io.StringIO())("poster", 2, 4)
        >>> drawn.getvalue().strip()
        'encoding poster [###############               ] 2 of 4'
    """

    def show(name: str, done: int, total: int) -> None:
        filled = "#" * (BAR * done // max(1, total))
        end = "\n" if done >= total else ""
        stream.write(f"\rencoding {name} [{filled:<{BAR}}] {done:,} of {total:,}{end}")
        stream.flush()

    return show
