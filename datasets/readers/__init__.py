"""One file per format; each turns files into a Dataset: `read(folder, card) -> Dataset`.

A reader is registered here by name and imported only when a card asks for it.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path

READERS = {
    "atomic": "recsys.datasets.readers.atomic:read",
    "bundle-csv": "recsys.datasets.readers.bundle_csv:read",
    "citeulike": "recsys.datasets.readers.citeulike:read",
    "clhe": "recsys.datasets.readers.clhe:read",
    "diffmm": "recsys.datasets.readers.diffmm:read",
    "lattice": "recsys.datasets.readers.lattice:read",
    "mmrec": "recsys.datasets.readers.mmrec:read",
    "movielens": "recsys.datasets.readers.movielens:read",
    "table": "recsys.datasets.readers.table:read",
}


def get_reader(name: str) -> Callable:
    """The reader registered under `name` (KeyError where there is none)."""
    module, _, attribute = READERS[name].partition(":")
    return getattr(importlib.import_module(module), attribute)


def _first_line(path: Path) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.readline(10_000)
    except OSError:
        return ""


def guess_reader(folder: Path) -> str | None:
    """The reader that a folder without a card looks made for; None where it looks like none of them."""
    for path in sorted(folder.glob("*.inter")):
        header = _first_line(path)
        if "userID" in header.split():
            return "mmrec"
        if ":token" in header:
            return "atomic"
    if (folder / "train.json").is_file() or (folder / "5-core" / "train.json").is_file():
        return "lattice"
    if (folder / "trnMat.pkl").is_file():
        return "diffmm"
    if "::" in _first_line(folder / "ratings.dat"):
        return "movielens"
    if (folder / "bundle_item.csv").is_file():
        return "bundle-csv"
    if (folder / "count.json").is_file() and any(folder.glob("bi_train.*")):
        return "clhe"
    if (folder / "users.dat").is_file():
        return "citeulike"
    return None
