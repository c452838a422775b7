"""One look for every figure: a palette, marks and dashes, a matplotlib style, and files that are equal byte for byte.

The report's page draws its SVG itself and takes the palette, marks and dashes from here.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recsys.files import atomic
from recsys.optional_imports import require

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PALETTE = ("#0072b2", "#c24e00", "#00795a", "#a8407c", "#7d6000", "#5b4bb7", "#45707f", "#444444")
"""Colours on white: 3:1 or more against it, and told apart with the common colour vision deficiencies."""
PALETTE_DARK = ("#5cb3ea", "#ff9a57", "#45cfa5", "#ee9fcb", "#dfc04a", "#b3a6ff", "#93c0cf", "#d5d5d5")
"""The same colours on a dark page."""
MARKERS = ("o", "s", "^", "D", "X", "v", "P", "*")
DASHES = ("-", "--", ":", "-.")
STYLE: dict[str, Any] = {
    "axes.prop_cycle": f"cycler('color', {[colour.lstrip('#') for colour in PALETTE]})",
    "axes.grid": True,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "figure.max_open_warning": 0,
    "font.size": 9,
    "grid.alpha": 0.3,
    "pdf.fonttype": 42,  # TrueType: publishers refuse Type 3
    "ps.fonttype": 42,
    "svg.fonttype": "none",
    "svg.hashsalt": "recsys",
}


def look(number: int) -> tuple[str, str, str]:
    """Colour, marker and dash of the series `number`; the first 32 differ.

    Example:
        >>> look(0)
        ('#0072b2', 'o', '-')
    """
    place = number % len(PALETTE)
    dash = (number + number // len(PALETTE)) % len(DASHES)
    return PALETTE[place], MARKERS[place], DASHES[dash]


@contextlib.contextmanager
def style() -> Iterator[None]:
    """A block in which matplotlib draws in the project's style.

    Raises:
        UserError: matplotlib is not installed.
    """
    matplotlib = require("matplotlib", "plots")
    with matplotlib.rc_context(STYLE):
        yield


def save(figure: Figure, stem: Path, kinds: Sequence[str] = ("svg", "pdf")) -> list[Path]:
    """Write `<stem>.svg` and `<stem>.pdf`; the same figure gives the same bytes on every day.

    Returns:
        The paths written.

    Raises:
        UserError: the disk is full, or the folder cannot be written to.
    """
    paths = []
    for kind in kinds:
        path = stem.with_name(f"{stem.name}.{kind}")
        date = "Date" if kind == "svg" else "CreationDate"
        with atomic(path) as temporary:
            figure.savefig(temporary, format=kind, bbox_inches="tight", metadata={date: None})
        paths.append(path)
    return paths
