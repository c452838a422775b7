"""LATTICE's and MMSSL's folder: `train.json`, `val.json`, `test.json` (or `5-core/...`), each
`{user: [items]}`, beside `*_feat.npy`. Ids are row numbers of the feature files."""

from __future__ import annotations

from itertools import chain
from pathlib import Path

import numpy as np
import pandas as pd

from recsys.datasets.assembly import assemble_parts
from recsys.datasets.cards import Card, NoOptions
from recsys.datasets.checks import Catalogue, row_numbers
from recsys.datasets.dataset import Dataset
from recsys.datasets.files import feature_files, read_json
from recsys.datasets.readers import recognised_by
from recsys.errors import DataError

FILES = ("train.json", "val.json", "test.json")


def _read_part(path: Path, label: int, catalogue: Catalogue | None) -> tuple[pd.DataFrame, int]:
    """One part's interactions, and how many users the file knows (some may have an empty list)."""
    lists = read_json(path)
    if not isinstance(lists, dict) or not all(isinstance(items, list) for items in lists.values()):
        raise DataError(f"{path}: expected an object of user: [items]")
    users = pd.Series(list(lists), dtype=object, name="user id")
    users = row_numbers(users.set_axis(pd.Index(list(lists), name="user")), str(path))
    lengths = np.fromiter((len(items) for items in lists.values()), dtype=np.int64, count=len(lists))
    items = list(chain.from_iterable(lists.values()))
    user = pd.Index(np.repeat(users, lengths), name="user")
    # Not through an array: lists of one length would make it a matrix.
    kind = np.int64 if all(type(i) is int and abs(i) < 2**62 for i in items) else object
    column = pd.Series(items, index=user, dtype=kind, name="item")
    frame = pd.DataFrame(
        {"user": user.to_numpy(), "item": row_numbers(column, str(path), catalogue)}, index=user
    )
    return frame.assign(label=label), int(users.max(initial=-1)) + 1


def recognises(folder: Path) -> bool:
    """A file train.json, here or in 5-core."""
    return (folder / "train.json").is_file() or (folder / "5-core" / "train.json").is_file()


@recognised_by(recognises)
def read(folder: Path, card: Card) -> Dataset:
    """The folder as a Dataset with the publisher's split as labels. DataError where anything is amiss."""
    card.options_as(NoOptions)
    home = folder / "5-core" if (folder / "5-core" / FILES[0]).is_file() else folder
    features = feature_files(folder) or feature_files(home)
    return assemble_parts(card.name, home, dict(enumerate(FILES)), _read_part, features)
