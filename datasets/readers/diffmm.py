"""DiffMM's folder: pickled SciPy matrices (`trnMat.pkl`, `valMat.pkl`, `tstMat.pkl`) beside `*_feat.npy`.

A pickle is a program. It is recorded, not run (see `recsys.datasets.pickled`): of NumPy arrays and the COO, CSR and CSC
classes of SciPy alone, and even of those only the arrays are taken, their indices checked.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from recsys.datasets.assembly import assemble_rows
from recsys.datasets.cards import Card, NoOptions
from recsys.datasets.checks import check_catalogue, row_numbers, too_sparse
from recsys.datasets.dataset import Dataset
from recsys.datasets.files import feature_files, need_file, one_line
from recsys.datasets.pickled import ARRAY_PARTS, Call, Name, Refused, array_of, record
from recsys.datasets.readers import recognised_by
from recsys.errors import DataError

MAX_SIZE = 2**31
"""Rows or columns that a matrix may have."""
FILES = ("trnMat.pkl", "valMat.pkl", "tstMat.pkl")


LAYOUTS = ("coo", "csr", "csc")
CLASSES = {f"{layout}_{kind}": layout for layout in LAYOUTS for kind in ("matrix", "array")}
"""Names of SciPy's classes, wherever a version keeps them."""


def _admitted(name: Name) -> bool:
    return name in ARRAY_PARTS or (_is_sparse(name.module) and name.name in CLASSES)


def _is_sparse(module: str) -> bool:
    return module == "scipy.sparse" or module.startswith("scipy.sparse.")


def _pairs(loaded: Call) -> tuple[np.ndarray, np.ndarray, tuple[int, int]]:
    """Rows and columns of the entries that are not zero, and the shape; ValueError where they do not fit."""
    layout, state = CLASSES[loaded.name.name], _state(loaded)
    n_rows, n_columns = _shape(state["_shape" if "_shape" in state else "shape"])
    data = array_of(state["data"])
    if layout == "coo":
        row, column = (array_of(a) for a in state.get("coords") or (state["row"], state["col"]))
    else:
        major = n_rows if layout == "csr" else n_columns
        indptr, minor = array_of(state["indptr"]), array_of(state["indices"])
        whole = indptr.dtype.kind in "iu" and indptr.shape == (major + 1,)
        if not whole or indptr[0] != 0 or indptr[-1] != len(minor) or (indptr[1:] < indptr[:-1]).any():
            raise ValueError("index pointers do not fit the shape")
        counts: np.ndarray = np.diff(indptr.astype(np.int64))
        row = np.repeat(np.arange(major), counts)
        row, column = (row, minor) if layout == "csr" else (minor, row)
    if not (row.shape == column.shape == data.shape and data.ndim == 1 and data.dtype.kind in "fiub"):
        raise ValueError("data and indices differ in length, or are not numbers")
    for index, size in ((row, n_rows), (column, n_columns)):
        if index.dtype.kind not in "iu" or (len(index) and not 0 <= index.min() <= index.max() < size):
            raise ValueError("an index is beyond the shape")
    kept = data != 0
    return row[kept].astype(np.int64), column[kept].astype(np.int64), (n_rows, n_columns)


def _state(loaded: Call) -> dict[str, Any]:
    """The attributes that the pickle would set."""
    parts = loaded.state if isinstance(loaded.state, tuple) else (loaded.state,)
    return {key: value for part in parts if isinstance(part, dict) for key, value in part.items()}


def _shape(value: Any) -> tuple[int, int]:
    sizes = [n if type(n) is int else array_of(n).item() for n in value] if isinstance(value, tuple) else []
    if len(sizes) != 2 or not all(type(n) is int and 0 <= n <= MAX_SIZE for n in sizes):
        raise ValueError("the shape is no pair of sizes")
    return sizes[0], sizes[1]


def load_pairs(path: Path) -> tuple[np.ndarray, np.ndarray, tuple[int, int]]:
    """Rows and columns (int64) of a pickled sparse matrix's entries that are not zero, and its shape.

    Raises:
        DataError: the pickle asks for any other class (named), is truncated, or holds no such matrix.
    """
    try:
        loaded = record(need_file(path).read_bytes(), _admitted)
        if not isinstance(loaded, Call) or not _is_sparse(loaded.name.module):
            kind = loaded.name if isinstance(loaded, Call) else type(loaded).__name__
            raise ValueError(f"it holds {kind}, expected a sparse matrix")
        return _pairs(loaded)
    except Refused as error:
        raise DataError(
            f"{path}: the pickle asks for {error!s:.80}; only NumPy arrays and SciPy's COO, CSR and CSC matrices are "
            "admitted, since any other class may run code. Write the matrix again in one of those forms"
        ) from None
    except DataError:
        raise
    except Exception as error:  # a damaged pickle can fail in any way
        raise DataError(f"{path}: not a whole pickled sparse matrix ({one_line(error):.200})") from None


def recognises(folder: Path) -> bool:
    """A file trnMat.pkl."""
    return (folder / "trnMat.pkl").is_file()


@recognised_by(recognises)
def read(folder: Path, card: Card) -> Dataset:
    """The folder as a Dataset with the publisher's split as labels. DataError where anything is amiss."""
    card.options_as(NoOptions)
    features = feature_files(folder)
    catalogue = check_catalogue(dict(features.values()))
    frames, n_users = [], 0
    for label, file in enumerate(FILES):
        user, item, shape = load_pairs(folder / file)
        if too_sparse(shape[0], len(user)):
            raise DataError(
                f"{folder / file}: {shape[0]:,} rows for {len(user):,} entries; expected a row for each user"
            )
        at = pd.Index(user, name="matrix row")
        item = row_numbers(pd.Series(item, index=at, name="item"), str(folder / file), catalogue)
        frames.append(pd.DataFrame({"user": user, "item": item, "label": label}, index=at))
        n_users = max(n_users, shape[0])
    source = f"{folder} ({', '.join(FILES)})"
    return assemble_rows(card.name, pd.concat(frames), source=source, features=features, n_users=n_users)
