"""Files of features of items, for the table reader: arrays and tables of numbers, in any order by id.

Arrays: `.npy`, `.npz` (a sparse matrix, or arrays by name), `.pt` (torch, weights only), `.safetensors`, `.h5`. Their
rows follow the items file, or the ids of a second file or of a second array of the same file.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp
from pydantic import BaseModel, ConfigDict

from recsys.datasets.assembly import make_modality
from recsys.datasets.cards import File
from recsys.datasets.checks import need_columns, positions, to_numbers, to_tokens
from recsys.datasets.compressed import plain_suffix
from recsys.datasets.content.weights import need
from recsys.datasets.dataset import Modality
from recsys.datasets.files import (
    load_npy,
    load_npz,
    need_file,
    one_line,
    read_json,
    read_table,
    read_text,
    without_index,
)
from recsys.datasets.joins import examples
from recsys.errors import DataError, nearest

ARRAYS = (".npy", ".npz", ".pt", ".pth", ".safetensors", ".h5", ".hdf5")
IDS = "ids"
"""The array of ids in a file of several arrays, where the card names none."""


class Features(BaseModel):
    """A feature file.

    Attributes:
        file: an array, or a table of numbers.
        id: the id column of a table, whose other columns are all numbers.
        ids: of an array the file of its rows' ids: `.txt` (one on each line), `.json` (a list) or `.npy`; without it,
            an array `ids` in the file itself counts, else the order of the items file.
        key: name of the array in a file of several.
        mask: an .npy of bool, a row for each row of the features, False where an item has none.
        made_of: as in `Modality`.
    """

    model_config = ConfigDict(extra="forbid")

    file: File
    id: str | None = None
    ids: File | None = None
    key: str = ""
    mask: File | None = None
    made_of: str = ""


def read_features(
    folder: Path, features: Features, ids: np.ndarray, file_order: np.ndarray | None, sep: str
) -> tuple[Modality, list[str]]:
    """The features in the order of `ids`; items without a row are masked.

    Args:
        ids: raw ids of the items.
        file_order: raw ids in the order of the items file; None where there is none.
        sep: of `.csv` files.

    Raises:
        DataError: a file that cannot be read, a row of no item, or two of one.
    """
    source = str(folder / features.file)
    values, tokens = _matrix(folder, features, file_order, sep)
    given = np.ones(len(tokens), dtype=bool)
    if features.mask:
        given = load_npy(folder / features.mask)
        if given.dtype != bool or given.shape != (len(tokens),):
            raise DataError(f"{folder / features.mask}: expected {len(tokens):,} values of type bool")
    checked, notes = make_modality(values, source, given)
    at = positions(ids, tokens)
    if (bad := at < 0).any():
        if bad.all():
            said = examples(ids, tokens, source)
            raise DataError(f"{source}: none of its rows is of an item that there is, such as {said}")
        if file_order is not None:
            raise DataError(
                f"{source}: row {np.argmax(bad)}: item '{tokens[np.argmax(bad)]}' is not in the items file; give it a "
                "row there, or take it out here"
            )
        notes = [
            *notes,
            f"{features.file}: {bad.sum():,} of {len(bad):,} rows are of items that no interaction has, and are not "
            "read; an items file that names them would keep them in the catalogue",
        ]
        at, checked = at[~bad], checked.rows(~bad)
    if np.bincount(at).max(initial=0) > 1:
        raise DataError(f"{source}: an item has two rows of features; expected one")
    if len(at) == len(ids) and (at == np.arange(len(at))).all():
        return replace(checked, made_of=features.made_of), notes
    where = np.full(len(ids), -1)
    where[at] = np.arange(len(at))
    given_row = where >= 0
    rows = checked.features[np.where(where >= 0, where, 0)]
    return replace(make_modality(rows, source, given_row)[0], made_of=features.made_of), notes


def _matrix(
    folder: Path, features: Features, file_order: np.ndarray | None, sep: str
) -> tuple[np.ndarray | sp.csr_array, np.ndarray]:
    """Rows as they are in the file, and the raw id of each."""
    path = folder / features.file
    if path.suffix.lower() not in ARRAYS:
        return _table(path, features.id, sep)
    without = file_order is None and not features.ids
    if without and path.suffix.lower() == ".npy":  # the others may hold their ids
        raise _no_order(path)
    matrix, tokens = _array(path, features.key)
    if features.ids:
        tokens = _ids(folder / features.ids)
    where = features.ids or features.file
    if tokens is None:
        if file_order is None:
            raise _no_order(path)
        tokens, where = file_order, "the items file"
    if matrix.shape[:1] != (len(tokens),):
        n = matrix.shape[0] if matrix.ndim else 0
        raise DataError(f"{path} has {n:,} rows for the {len(tokens):,} of {where}; expected one for each")
    return matrix, tokens


def _no_order(path: Path) -> DataError:
    return DataError(
        f"{path}: rows of an array need an items file, whose order they follow, or ids: the file of their ids"
    )


def _table(path: Path, key: str | None, sep: str) -> tuple[np.ndarray, np.ndarray]:
    if key is None:
        raise DataError(f"{path}: the card must name its id column (features: id)")
    table, _ = without_index(read_table(path, sep, ids=(key,)), str(path))
    need_columns(table.columns, [key], str(path))
    tokens = to_tokens(table[key], str(path))
    columns = [to_numbers(table[c], str(path)) for c in table.columns if c != key]
    return np.stack(columns, axis=1) if columns else np.empty((len(table), 0)), tokens


def _ids(path: Path) -> np.ndarray:
    """(n,) raw ids, as text."""
    kind = plain_suffix(path)
    if kind == ".npy":
        return _tokens(load_npy(path), path)
    if kind == ".json":
        held = read_json(path)
        if not isinstance(held, list) or not all(type(value) in (int, str) for value in held):
            raise DataError(f"{path}: expected a JSON list of ids")
        return np.array([str(value) for value in held], dtype=object)
    if kind == ".txt":
        return np.array([line.strip() for line in read_text(path).splitlines() if line.strip()], dtype=object)
    raise DataError(f"{path}: expected ids in a .txt, .json or .npy file")


def _tokens(array: np.ndarray, path: Path) -> np.ndarray:
    if array.ndim != 1 or array.dtype.kind not in "iuUSO":
        raise DataError(f"{path}: ids are {array.dtype} of shape {array.shape}; expected a list of ids")
    texts = [value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value) for value in array]
    return np.array(texts, dtype=object)


def _array(path: Path, key: str) -> tuple[np.ndarray | sp.csr_array, np.ndarray | None]:
    """The matrix of a file of arrays, and the ids of its rows where the file has them."""
    kind = path.suffix.lower()
    if kind == ".npy":
        return load_npy(path), None
    if kind == ".npz":
        held = _npz(path)
        if held is None:
            return load_npz(path), None
    else:
        held = {".pt": _torch, ".pth": _torch, ".safetensors": _safetensors}.get(kind, _hdf5)(path)
    return _chosen(held, key, path)


def _chosen(held: Mapping[str, Any], key: str, path: Path) -> tuple[np.ndarray, np.ndarray | None]:
    """The matrix among arrays by name: the one called `key`, or else the only one; and the array of ids."""
    ids = held.get(IDS) if key != IDS else None
    rest = {name: array for name, array in held.items() if name != IDS}
    if not key:
        if len(rest) != 1:
            raise DataError(f"{path}: holds {', '.join(sorted(rest)[:8])}; name the array with key")
        key = next(iter(rest))
    if key not in held:
        raise DataError(f"{path}: has no array '{key}'{nearest(key, rest)}")
    return np.asarray(held[key]), None if ids is None else _tokens(np.asarray(ids), path)


def _npz(path: Path) -> dict[str, np.ndarray] | None:
    """Arrays by name; None of a sparse matrix as SciPy writes it."""
    try:
        with np.load(need_file(path), allow_pickle=False) as archive:
            if {"indices", "indptr", "shape"} <= set(archive.files) or "format" in archive.files:
                return None
            return {name: archive[name] for name in archive.files}
    except DataError:
        raise
    except Exception as error:  # a damaged archive raises BadZipFile, ValueError, zlib.error ...
        raise DataError(f"{path}: not a whole sparse matrix or .npz of arrays ({one_line(error)})") from None


def _torch(path: Path) -> dict[str, Any]:
    """A tensor, tensors by name, or a vector for each id; nothing else is unpickled."""
    import torch

    try:
        held = torch.load(need_file(path), map_location="cpu", weights_only=True)
    except DataError:
        raise
    except Exception as error:  # pickle, zip and torch raise as they please
        raise DataError(
            f"{path}: cannot be read as tensors, weights only ({one_line(error)[:160]})"
        ) from None
    if isinstance(held, torch.Tensor):
        return {"features": held.detach().float().numpy()}
    if isinstance(held, dict) and held and all(isinstance(v, torch.Tensor) for v in held.values()):
        if len(held) > 2 and all(v.ndim == 1 for v in held.values()):
            rows = [v.detach().float().numpy() for v in held.values()]
            if len({len(row) for row in rows}) == 1:
                return {"features": np.stack(rows), IDS: np.array([str(k) for k in held], dtype=object)}
        return {
            str(k): v.detach().numpy() if v.dtype != torch.bfloat16 else v.float().numpy()
            for k, v in held.items()
        }
    if isinstance(held, dict) and isinstance(held.get(IDS), list):
        tensors = {str(k): v.detach().float().numpy() for k, v in held.items() if isinstance(v, torch.Tensor)}
        return tensors | {IDS: np.array([str(value) for value in held[IDS]], dtype=object)}
    raise DataError(f"{path}: expected a tensor, tensors by name, or a vector for each id")


def _safetensors(path: Path) -> dict[str, Any]:
    from safetensors.numpy import load_file

    try:
        return dict(load_file(need_file(path)))
    except DataError:
        raise
    except Exception as error:  # the library's own class, and those of its header's JSON
        raise DataError(f"{path}: cannot be read as safetensors ({one_line(error)})") from None


def _hdf5(path: Path) -> dict[str, Any]:
    library = need("h5py", "hdf5", str(path))
    try:
        with library.File(need_file(path), "r") as file:
            return {
                name: part[()]
                for name in file
                if isinstance(part := file.get(name), library.Dataset) and part.dtype.kind in "fiubSO"
            }
    except DataError:
        raise
    except Exception as error:  # h5py raises OSError, KeyError, RuntimeError ...
        raise DataError(f"{path}: cannot be read as HDF5 ({one_line(error)})") from None
