"""One file per format; each turns files into a Dataset: `read(folder, card) -> Dataset`.

A reader is registered by name in `READERS` and imported only when a card asks for it, or a folder without a card is
to be recognised.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from recsys.errors import UserError
from recsys.registry import Registry, is_function

log = logging.getLogger(__name__)
Read = TypeVar("Read", bound=Callable)

READERS = Registry(
    "reader",
    "recsys.readers",
    {
        "mmrec": "recsys.datasets.readers.mmrec:read",
        "atomic": "recsys.datasets.readers.atomic:read",
        "lattice": "recsys.datasets.readers.lattice:read",
        "diffmm": "recsys.datasets.readers.diffmm:read",
        "movielens": "recsys.datasets.readers.movielens:read",
        "bundle-csv": "recsys.datasets.readers.bundle_csv:read",
        "clhe": "recsys.datasets.readers.clhe:read",
        "lists": "recsys.datasets.readers.lists:read",
        "citeulike": "recsys.datasets.readers.citeulike:read",
        "table": "recsys.datasets.readers.table:read",
    },
    accepts=is_function,
    expected="a function read(folder, card)",
)
"""A reader is a function `read(folder: Path, card: Card) -> Dataset`. One that `recognised_by` marks is offered folders
without a card."""


def recognised_by(rule: Callable[[Path], bool]) -> Callable[[Read], Read]:
    """Declare how a reader knows a folder that is made for it: `rule(folder) -> bool`, cheap and never an error.

    Example:
        @recognised_by(lambda folder: (folder / "clicks.log").is_file())
        def read(folder, card): ...
    """

    def mark(read: Read) -> Read:
        read.recognises = rule  # type: ignore[attr-defined]
        return read

    return mark


def guess_reader(folder: Path) -> str | None:
    """The first reader that recognises a folder without a card, built-in ones first; None where none does."""
    for name in (*READERS.builtin, *(n for n in READERS if n not in READERS.builtin)):
        try:
            rule = getattr(READERS.get(name), "recognises", None)
        except UserError as error:  # a broken package; the other readers go on
            log.warning("%s", error)
            continue
        if rule is not None and rule(folder):
            return name
    return None


def first_line(path: Path) -> str:
    """The first line of a text file; empty where it cannot be read, or is no file."""
    if not path.is_file():  # a pipe would be waited for
        return ""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.readline(10_000)
    except OSError:
        return ""
