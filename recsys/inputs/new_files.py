"""Files of items and users that arrive after training; docs/new-items-and-users.md describes their columns."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from recsys.datasets.dataset import Dataset
from recsys.datasets.files import need_file, one_line, read_table, without_index
from recsys.errors import DataError
from recsys.inputs.new_data import (
    SPARSE,
    Interactions,
    columns_of,
    interactions_of,
    new_items_of,
    new_users_of,
)
from recsys.inputs.requests import NewItems, QueryUsers


def read_new_items(path: Path, dataset: Dataset) -> tuple[NewItems, list[str]]:
    """The items of an .npz file, or of a table of any form; see `new_items_of`. Names of pictures and other raw files
    are relative to its folder, or as in the data set.

    Raises:
        DataError: a file that cannot be read, and what `new_items_of` refuses.
    """
    if path.suffix == ".npz":
        return new_items_of(_arrays(path), dataset, str(path))
    ids = ("item", *dataset.id_columns.get("item", ()))
    table = _table(path, ids)
    named = pd.DataFrame(dataset.with_own_names(dict(table.items()), "item"), index=table.index)
    return new_items_of(columns_of(named, dataset, str(path)), dataset, str(path), path.parent)


def read_new_users(path: Path, dataset: Dataset) -> tuple[np.ndarray, QueryUsers]:
    """The users of a table of any form; see `new_users_of`.

    Raises:
        DataError: a file that cannot be read, and what `new_users_of` refuses.
    """
    return new_users_of(_table(path, _id_columns(dataset)), dataset, str(path))


def read_interactions(path: Path, dataset: Dataset) -> Interactions:
    """The rows of a table of any form; see `interactions_of`.

    Raises:
        DataError: a file that cannot be read, and what `interactions_of` refuses.
    """
    return interactions_of(_table(path, _id_columns(dataset)), dataset, str(path))


def _id_columns(dataset: Dataset) -> tuple[str, ...]:
    return ("user", "item", *(name for names in dataset.id_columns.values() for name in names))


def _arrays(path: Path) -> dict[str, np.ndarray | tuple]:
    """Name -> array; of a modality (values, mask or None)."""
    try:
        with np.load(need_file(path), allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
    except Exception as error:  # a damaged archive raises BadZipFile, ValueError, EOFError, zlib.error ...
        raise DataError(f"{path}: not a whole .npz of arrays ({one_line(error)})") from None
    columns: dict[str, np.ndarray | tuple] = {}
    for name in dict.fromkeys(key.partition(".")[0] for key in arrays):
        parts = [arrays.pop(f"{name}.{part}", None) for part in SPARSE]
        sparse = any(part is not None for part in parts)
        if sparse:
            columns[name] = (parts, arrays.pop(f"{name}.mask", None))
        elif name in arrays:
            values, mask = arrays.pop(name), arrays.pop(f"{name}.mask", None)
            columns[name] = (values, mask) if values.ndim > 1 or mask is not None else values
    if arrays:
        raise DataError(
            f"{path}: array '{next(iter(arrays))}' belongs to nothing; expected a modality's name, or that with "
            f".mask or .{', .'.join(SPARSE)} behind it"
        )
    return columns


def _table(path: Path, ids: tuple[str, ...]) -> pd.DataFrame:
    return without_index(read_table(path, ids=ids), str(path))[0]
