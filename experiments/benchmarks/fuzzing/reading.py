"""A strict, plain and slow reading of files by their formats, without the engine's code."""

from __future__ import annotations

import ast
import csv
import io
import json
import os
import re
import stat
import struct
import zipfile
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp
import yaml

LABELS = {"0": 0, "1": 1, "2": 2, "train": 0, "valid": 1, "val": 1, "validation": 1, "test": 2}
Row = dict[str, Any]


class Unreadable(Exception):
    """A file of which nothing should be made."""


def need(condition: Any, reason: str) -> None:
    """Unreadable unless so."""
    if not condition:
        raise Unreadable(reason)


def content(path: Path) -> bytes:
    """A regular file's bytes."""
    need(os.path.exists(path) and stat.S_ISREG(os.stat(path).st_mode), f"{path.name} is no file")
    return path.read_bytes()


def there(path: Path) -> bool:
    """Whether anything is in an optional file's place."""
    return os.path.lexists(path)


def text_of(path: Path, encoding: str = "utf-8") -> str:
    """A text file without a byte order mark."""
    raw = content(path).removeprefix(b"\xef\xbb\xbf")
    try:
        return raw.decode(encoding)
    except UnicodeDecodeError as error:
        raise Unreadable(f"{path.name}: {error}") from None


def table_of(path: Path, sep: str, quoted: bool = False) -> list[Row]:
    """The rows of a delimited file by the names of its columns."""
    text = text_of(path)
    if quoted:
        try:
            rows = list(csv.reader(io.StringIO(text, newline=""), delimiter=sep))
        except csv.Error as error:
            raise Unreadable(str(error)) from None
    else:
        rows = [line.split(sep) for line in re.split("\r\n|\n|\r", text)]
    need(rows and rows[0], f"{path.name} is empty")
    head = rows[0]
    need(len(set(head)) == len(head), f"{path.name} has a column twice")
    rows = [row for row in rows[1:] if any(row)]
    need(all(len(row) == len(head) and row != head for row in rows), f"{path.name} has rows of other lengths")
    return [dict(zip(head, row, strict=True)) for row in rows]


def parquet_of(path: Path) -> list[Row]:
    """The rows of a Parquet file."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(pa.BufferReader(content(path)), use_threads=False)
        need(len(set(table.column_names)) == len(table.column_names), f"{path.name} has a column twice")
        return table.to_pylist()
    except (pa.ArrowException, OSError, ValueError) as error:
        raise Unreadable(str(error)) from None


def any_of(path: Path, sep: str = ",") -> list[Row]:
    """CSV, TSV or Parquet."""
    if path.suffix == ".parquet":
        return parquet_of(path)
    return table_of(path, "\t" if path.suffix == ".tsv" else sep, quoted=True)


def column(rows: list[Row], name: str) -> list[Any]:
    """One column's values."""
    need(all(name in row for row in rows), f"no column {name}")
    return [row[name] for row in rows]


def token(value: Any) -> str:
    """An id as text: texts as they are, whole numbers without a point."""
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    if isinstance(value, (date, Decimal)):
        value = str(value)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    need(value is not None and isinstance(value, (str, int)) and not isinstance(value, bool), f"id {value!r}")
    need(str(value) != "" and "\0" not in str(value), "an empty id, or half a one")
    return str(value)


def number(value: Any) -> float:
    """A finite number, as it is or as text."""
    need(value is not None and not isinstance(value, (bool, list, dict, complex, bytes)), f"number {value!r}")
    need(not isinstance(value, str) or (value.isascii() and "_" not in value), f"number {value!r:.40}")
    try:
        made = float(value)
    except (TypeError, ValueError, OverflowError):
        raise Unreadable(f"number {value!r:.40}") from None
    need(np.isfinite(made), f"number {value!r}")
    return made


def whole(value: Any) -> int:
    """A row number."""
    made = number(value)
    need(made.is_integer() and 0 <= made < 2**53, f"row number {value!r:.40}")
    return int(made)


def label(value: Any) -> int:
    """A part, by number or name."""
    key = re.sub(r"\.0$", "", str(value).strip().lower())
    need(key in LABELS and not isinstance(value, bool), f"part {value!r}")
    return LABELS[key]


def json_of(path: Path) -> Any:
    """JSON, no key twice, no NaN."""

    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        need(len(dict(items)) == len(items), "a key twice")
        return dict(items)

    def constant(name: str) -> None:
        raise Unreadable(name)

    try:
        return json.loads(text_of(path), object_pairs_hook=pairs, parse_constant=constant)
    except (ValueError, RecursionError) as error:
        raise Unreadable(str(error)) from None


class _Strict(yaml.SafeLoader):
    """No key twice."""

    def construct_mapping(self, node, deep=False):  # type: ignore[no-untyped-def]
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        need(len(set(map(repr, keys))) == len(keys), "a key twice")
        return super().construct_mapping(node, deep)


def yaml_of(path: Path) -> dict[str, Any]:
    """A YAML mapping, no key twice."""
    try:
        made = yaml.load(text_of(path), _Strict)
    except (yaml.YAMLError, ValueError, RecursionError, TypeError) as error:
        raise Unreadable(str(error)) from None
    need(isinstance(made, dict), "no mapping")
    return made


def array_of(raw: bytes) -> np.ndarray:
    """An .npy file's numbers."""
    need(raw[:6] == b"\x93NUMPY" and len(raw) > 12 and raw[6] in (1, 2, 3), "no array")
    size, start = (
        (struct.unpack("<H", raw[8:10])[0], 10) if raw[6] == 1 else (struct.unpack("<I", raw[8:12])[0], 12)
    )
    try:
        head = ast.literal_eval(raw[start : start + size].decode("latin-1"))
        need(set(head) == {"descr", "fortran_order", "shape"}, "a header of other keys")
        shape, kind = head["shape"], np.dtype(head["descr"])
        need(type(head["fortran_order"]) is bool and isinstance(head["descr"], str), "a lying header")
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError) as error:
        raise Unreadable(str(error)) from None
    need(isinstance(shape, tuple) and all(type(n) is int and 0 <= n < 2**40 for n in shape), f"shape {shape}")
    count = int(np.prod([float(n) for n in shape])) if shape else 1
    need(
        kind.kind in "fiub" and count * kind.itemsize <= len(raw) - start - size,
        "too few bytes, or no numbers",
    )
    flat = np.frombuffer(raw, kind, count, start + size)
    return flat.reshape(shape, order="F" if head["fortran_order"] else "C")


def sparse_of(path: Path) -> np.ndarray:
    """A sparse matrix's numbers, dense."""
    try:
        with zipfile.ZipFile(io.BytesIO(content(path))) as archive:
            parts = {name.removesuffix(".npy"): archive.read(name) for name in archive.namelist()}
        layout = parts["format"][10 + struct.unpack("<H", parts["format"][8:10])[0] :].replace(b"\0", b"")
        shape = tuple(int(n) for n in array_of(parts["shape"]))
        need(len(shape) == 2 and max(shape) < 10_000, f"shape {shape}")
        data = array_of(parts["data"])
        if layout == b"coo":
            names = ("row", "col") if "row" in parts else ("coords",)
            at = [array_of(parts[name]) for name in names]
            return sp.coo_array((data, tuple(at if len(at) == 2 else at[0])), shape).toarray()
        need(layout in (b"csr", b"csc"), f"layout {layout!r:.20}")
        make = sp.csc_array if layout == b"csc" else sp.csr_array
        made = make((data, array_of(parts["indices"]), array_of(parts["indptr"])), shape)
        made.check_format(full_check=True)
        return made.toarray()
    except (
        KeyError,
        ValueError,
        TypeError,
        zipfile.BadZipFile,
        NotImplementedError,
        OSError,
        EOFError,
    ) as error:
        raise Unreadable(str(error)) from None


def tensor_of(path: Path) -> np.ndarray:
    """A real dense matrix that torch wrote."""
    import torch

    try:
        with zipfile.ZipFile(io.BytesIO(content(path))) as archive:
            need(archive.testzip() is None, "a damaged part")
        made = torch.load(io.BytesIO(content(path)), weights_only=True)
        need(
            isinstance(made, torch.Tensor) and made.layout == torch.strided and not made.is_meta, "no matrix"
        )
        need(not made.is_complex() and not made.is_quantized and made.ndim == 2, "no matrix of numbers")
        need(made.numel() < 10**6, "a matrix beyond its storage")
        return made.float().detach().numpy()
    except Unreadable:
        raise
    except Exception as error:
        raise Unreadable(str(error)) from None


def matrix(values: np.ndarray) -> np.ndarray:
    """(n, width) float32, finite."""
    need(values.ndim == 2 and all(values.shape), f"shape {values.shape}")
    with np.errstate(over="ignore"):
        made = values.astype(np.float32)
    need(np.isfinite(made).all(), "numbers that are none")
    return made


def by_row(values: np.ndarray, ids: list[str]) -> dict[str, np.ndarray]:
    """Item -> its numbers."""
    need(len(values) == len(ids) == len(set(ids)), "rows and items differ")
    return dict(zip(ids, matrix(values), strict=True))
