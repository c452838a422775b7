"""LightGCN's, NGCF's and KGAT's folders: `train.txt` and `test.txt`, perhaps `valid.txt` or `val.txt`, each line a user
and then the items that belong to it, all as numbers; `*_feat.npy` beside them may have a row for each item."""

from __future__ import annotations

from itertools import chain, islice
from pathlib import Path

import numpy as np
import pandas as pd

from recsys.datasets.assembly import assemble_parts
from recsys.datasets.cards import Card, NoOptions
from recsys.datasets.checks import PARTS, Catalogue, row_numbers
from recsys.datasets.dataset import Dataset
from recsys.datasets.files import feature_files, is_there, read_text
from recsys.datasets.readers import recognised_by
from recsys.errors import DataError

FILES = {"train": ("train.txt",), "valid": ("valid.txt", "val.txt"), "test": ("test.txt",)}
"""The parts' files by their names in `PARTS`."""
FIRST = 20
"""Lines by which a folder is recognised."""


def number_lines(path: Path) -> tuple[pd.Series, np.ndarray]:
    """All numbers of a file as text, in order, the index holding their lines; and how many each line has.

    Raises:
        DataError: the file cannot be read.
    """
    text = read_text(path).replace("\r\n", "\n").replace("\r", "\n")
    tokens = [line.split() for line in text.rstrip("\n").split("\n")]
    lengths = np.fromiter(map(len, tokens), dtype=np.int64, count=len(tokens))
    line = pd.Index(np.repeat(np.arange(1, len(tokens) + 1), lengths), name="line")
    return pd.Series(list(chain.from_iterable(tokens)), index=line, dtype=object), lengths


def _part(path: Path, label: int, catalogue: Catalogue | None) -> tuple[pd.DataFrame, int]:
    """One part's interactions, and how many users the file knows (some may have no items)."""
    numbers, lengths = number_lines(path)
    starts = (np.cumsum(lengths) - lengths)[lengths > 0]
    first = np.zeros(len(numbers), dtype=bool)
    first[starts] = True
    users = row_numbers(numbers[first].rename("user"), str(path))
    if len(users) and (twice := pd.Series(users).duplicated()).any():
        user = users[int(np.argmax(twice))]
        raise DataError(f"{path}: user {user} has two lines; expected one line a user, with all of its items")
    rest = numbers[~first].rename("item")
    frame = pd.DataFrame({"user": np.repeat(users, lengths[lengths > 0] - 1)}, rest.index)
    frame["item"] = row_numbers(rest, str(path), catalogue)
    return frame.assign(label=label), int(users.max(initial=-1)) + 1


def _are_lists(path: Path) -> bool:
    """Whether the first lines are whole numbers, of one user each."""
    try:
        with open(path, encoding="utf-8") as file:
            rows = [line.split() for line in islice(file, FIRST)]
    except (OSError, UnicodeDecodeError):
        return False
    users = [row[0] for row in rows if row]
    return (
        bool(users)
        and len(set(users)) == len(users)
        and all(cell.isdecimal() for row in rows for cell in row)
    )


def recognises(folder: Path) -> bool:
    """Files train.txt and test.txt, whose lines begin with another user each."""
    paths = [folder / FILES[part][0] for part in ("train", "test")]
    return all(path.is_file() for path in paths) and _are_lists(paths[0])


@recognised_by(recognises)
def read(folder: Path, card: Card) -> Dataset:
    """The folder as a Dataset with the publisher's split as labels. DataError where anything is amiss."""
    card.options_as(NoOptions)
    if all(is_there(folder / name) for name in FILES["valid"]):
        raise DataError(f"{folder}: holds {' and '.join(FILES['valid'])}; keep the one that validates")
    files = {
        label: name
        for label, part in enumerate(PARTS)
        for name in FILES[part]
        if part != "valid" or is_there(folder / name)
    }
    return assemble_parts(card.name, folder, files, _part, feature_files(folder))
