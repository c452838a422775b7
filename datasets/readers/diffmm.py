"""DiffMM's folder: pickled SciPy matrices (`trnMat.pkl`, `valMat.pkl`, `tstMat.pkl`) beside `*_feat.npy`.

A pickle is a program. This unpickler admits NumPy arrays and the COO, CSR and CSC classes of SciPy alone, and
even of those it takes only the arrays: indices are checked before a matrix is made of them.
"""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from recsys.datasets.cards import Card, NoOptions
from recsys.datasets.checks import assemble_rows, check_catalogue, row_numbers
from recsys.datasets.dataset import Dataset
from recsys.datasets.files import feature_files, need_file, one_line
from recsys.datasets.readers import recognised_by
from recsys.errors import DataError

FILES = ("trnMat.pkl", "valMat.pkl", "tstMat.pkl")


class _State:
    """Stands in for a SciPy class: keeps the attributes that the pickle would set, and runs nothing."""

    layout = ""

    def __setstate__(self, state: Any) -> None:
        parts = state if isinstance(state, tuple) else (state,)
        self.state = {key: value for part in parts if isinstance(part, dict) for key, value in part.items()}


_STAND_INS = {
    f"{layout}_{kind}": type(f"_{layout}_{kind}", (_State,), {"layout": layout})
    for layout in ("coo", "csr", "csc")
    for kind in ("matrix", "array")
}


def _latin1(text: str, encoding: str) -> bytes:
    """What `_codecs.encode` does in a NumPy pickle of protocol 2; no other codec is run."""
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"codec {encoding} is not admitted")
    return text.encode("latin1")


def _numpy_parts() -> dict[tuple[str, str], Any]:
    from numpy._core import multiarray, numeric

    parts: dict[tuple[str, str], Any] = {("numpy", "ndarray"): np.ndarray, ("numpy", "dtype"): np.dtype}
    for package in ("numpy._core", "numpy.core"):
        parts[f"{package}.multiarray", "_reconstruct"] = multiarray._reconstruct
        parts[f"{package}.multiarray", "scalar"] = multiarray.scalar
        parts[f"{package}.numeric", "_frombuffer"] = vars(numeric)["_frombuffer"]
    return parts | {("_codecs", "encode"): _latin1}


class _ArrayUnpickler(pickle.Unpickler):
    admitted = _numpy_parts()

    def find_class(self, module: str, name: str) -> Any:
        if module.partition(".")[0] == "scipy" and module.startswith("scipy.sparse") and name in _STAND_INS:
            return _STAND_INS[name]
        if (module, name) in self.admitted:
            return self.admitted[module, name]
        raise DataError(
            f"the pickle asks for {module}.{name}; only NumPy arrays and SciPy's COO, CSR and CSC matrices are "
            "admitted, since any other class may run code. Write the matrix again in one of those forms"
        )


def _pairs(loaded: _State) -> tuple[np.ndarray, np.ndarray, tuple[int, int]]:
    """Rows and columns of the entries that are not zero, and the shape; ValueError where they do not fit."""
    state = loaded.state
    n_rows, n_columns = (int(n) for n in state["_shape" if "_shape" in state else "shape"])
    data = np.asarray(state["data"])
    if loaded.layout == "coo":
        row, column = (np.asarray(a) for a in state.get("coords") or (state["row"], state["col"]))
    else:
        major = n_rows if loaded.layout == "csr" else n_columns
        indptr, minor = np.asarray(state["indptr"]), np.asarray(state["indices"])
        lengths = np.diff(indptr)
        if len(indptr) != major + 1 or indptr[0] != 0 or (lengths < 0).any():
            raise ValueError("index pointers do not fit the shape")
        row = np.repeat(np.arange(major), lengths)
        row, column = (row, minor) if loaded.layout == "csr" else (minor, row)
    if not (row.shape == column.shape == data.shape and data.ndim == 1 and data.dtype.kind in "fiub"):
        raise ValueError("data and indices differ in length, or are not numbers")
    for index, size in ((row, n_rows), (column, n_columns)):
        if index.dtype.kind not in "iu" or (len(index) and not 0 <= index.min() <= index.max() < size):
            raise ValueError("an index is beyond the shape")
    kept = data != 0
    return row[kept].astype(np.int64), column[kept].astype(np.int64), (n_rows, n_columns)


def load_pairs(path: Path) -> tuple[np.ndarray, np.ndarray, tuple[int, int]]:
    """Rows and columns (int64) of a pickled sparse matrix's entries that are not zero, and its shape.

    Raises:
        DataError: the pickle asks for any other class (named), is truncated, or holds no such matrix.
    """
    with open(need_file(path), "rb") as file:
        try:
            loaded = _ArrayUnpickler(file, encoding="latin1").load()
            if not isinstance(loaded, _State):
                raise ValueError(f"it holds {type(loaded).__name__}, expected a sparse matrix")
            return _pairs(loaded)
        except DataError as error:
            raise DataError(f"{path}: {error}") from None
        except Exception as error:  # a damaged pickle can fail in any way
            raise DataError(f"{path}: not a whole pickled sparse matrix ({one_line(error)})") from None


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
        at = pd.Index(user, name="matrix row")
        item = row_numbers(pd.Series(item, index=at, name="item"), str(folder / file), catalogue)
        frames.append(pd.DataFrame({"user": user, "item": item, "label": label}, index=at))
        n_users = max(n_users, shape[0])
    source = f"{folder} ({', '.join(FILES)})"
    return assemble_rows(card.name, pd.concat(frames), source=source, features=features, n_users=n_users)
