"""Reading files: each failure ends in one DataError that names the file."""

from __future__ import annotations

import codecs
import contextlib
import csv
import hashlib
import os
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import scipy.sparse as sp
from pyarrow.parquet import read_schema

from recsys.errors import DataError
from recsys.files import json_of

MISSING = ["", "NA", "N/A", "NaN", "nan", "NULL", "null", "None"]
"""Entries of columns with an inferred type that stand for no value."""


def one_line(error: BaseException) -> str:
    """An exception's message without line breaks."""
    return " ".join(str(error).split()) or type(error).__name__


def need_file(path: Path) -> Path:
    """The path itself; DataError where there is no such file."""
    if not path.is_file():
        raise DataError(f"{path}: no such file")
    return path


def is_there(path: Path) -> bool:
    """Whether a file that may be missing is there; DataError where something else is in its place: a folder, a pipe, a
    device, a link that leads nowhere."""
    if path.is_file():
        return True
    if os.path.lexists(path):
        raise DataError(f"{path}: something is there that is no file; put the file there, or nothing")
    return False


def sha256(path: Path) -> str:
    """Hexadecimal SHA-256 of a file, read in blocks."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_text(path: Path, encoding: str = "utf-8") -> str:
    """A whole text file; DataError where it is missing or not in that encoding."""
    try:
        check_text(path)
        return path.read_text(encoding=encoding).removeprefix(codecs.BOM_UTF8.decode(encoding))
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not {encoding} text ({one_line(error)})") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({one_line(error)})") from None


def check_text(path: Path) -> None:
    """DataError where a file holds NUL bytes: parsers end a cell at one, or keep it unseen, and an id is another."""
    with open(need_file(path), "rb") as file:
        while block := file.read(2**20):
            if b"\0" in block:
                raise DataError(f"{path}: holds NUL bytes, which no text does; write it as UTF-8 text again")


def read_json(path: Path) -> Any:
    """A JSON file's content."""
    try:
        return json_of(read_text(path))
    except DataError:
        raise
    except ValueError as error:
        raise DataError(f"{path}: not valid JSON ({one_line(error)})") from None


def read_delimited(
    path: Path, sep: str = "\t", *, text: bool | Iterable[str] = False, quoted: bool = False
) -> pd.DataFrame:
    """A delimited file with a header; the index holds line numbers in the file and is named "line".

    Args:
        text: columns whose entries stay as they are written (str, "" where empty) instead of getting an
            inferred type; True for all.
        quoted: entries may stand in double quotes and hold the separator (CSV).
    """
    try:
        check_text(path)
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)
            quoting = csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE
            columns = pd.read_csv(path, sep=sep, quoting=quoting, index_col=False, nrows=0).columns
            as_text = set(columns if text is True else text or ())
            # Per column, so that an id such as "NA" is not read as a missing value.
            frame = pd.read_csv(
                path,
                sep=sep,
                quoting=quoting,
                index_col=False,
                skip_blank_lines=False,
                dtype=dict.fromkeys(as_text, str),
                keep_default_na=False,
                na_values={column: MISSING for column in columns if column not in as_text},
                low_memory=False,
            )
    except DataError:
        raise
    except (ValueError, pd.errors.ParserWarning, OSError) as error:
        raise DataError(f"{path}: cannot be read as a table ({one_line(error)})") from None
    frame.index = pd.RangeIndex(2, len(frame) + 2, name="line")
    _check_rows(path, frame, sep, quoted)
    blank = (frame.isna() | (frame == "")).all(axis=1)
    return frame[~blank] if blank.any() else frame


def _check_rows(path: Path, frame: pd.DataFrame, sep: str, quoted: bool) -> None:
    """DataError for a row that repeats the header, or that has fewer columns than it."""
    if not len(frame.columns):
        return
    names = [str(column) for column in frame.columns]
    again = (frame.iloc[:, 0].astype(str) == names[0]).to_numpy()
    for row in np.flatnonzero(again):
        if [str(value) for value in frame.iloc[row]] == names:
            raise DataError(f"{path}: line {frame.index[row]} repeats the header; delete it")
    last = frame.iloc[:, -1]
    if len(names) < 2 or not (last.isna() | (last.astype(str) == "")).any():
        return
    with open(path, encoding="utf-8-sig", errors="replace", newline="") as file:
        lines = csv.reader(file, delimiter=sep, quoting=csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE)
        with contextlib.suppress(csv.Error):  # a field that is longer than the module reads
            for cells in lines:
                if cells and len(cells) < len(names):
                    raise DataError(
                        f"{path}: line {lines.line_num} has {len(cells)} columns, the header has {len(names)}"
                    )


def read_parquet(path: Path, columns: Iterable[str] = ()) -> pd.DataFrame:
    """A Parquet file; the index holds row numbers from 0 and is named "row".

    Args:
        columns: read these alone, where the file has all of them.
    """
    need_file(path)
    try:
        wanted = list(columns)
        if not set(wanted) <= set(read_schema(path).names):
            wanted = []
        # A large file is not held twice; and what pandas noted of a column's type gives way to the type it has.
        how = {"self_destruct": True, "split_blocks": True, "ignore_metadata": True}
        frame = pd.read_parquet(path, columns=wanted or None, to_pandas_kwargs=how)
    except Exception as error:  # a damaged file raises ArrowException, OSError, TypeError, KeyError ...
        raise DataError(f"{path}: cannot be read as Parquet ({one_line(error)})") from None
    frame.index = pd.RangeIndex(len(frame), name="row")
    return frame


def load_npy(path: Path) -> np.ndarray:
    """An array, never unpickled; DataError where the file is truncated, of another kind, or holds objects."""
    try:
        array = np.load(need_file(path), allow_pickle=False)
    except Exception as error:  # a damaged header raises ValueError, EOFError, TokenError, MemoryError ...
        raise DataError(
            f"{path}: not a whole .npy array of numbers ({one_line(error)}); fetch or write the file again"
        ) from None
    if not isinstance(array, np.ndarray):
        raise DataError(f"{path}: expected one .npy array, found an archive of several")
    return array


def load_npz(path: Path) -> sp.csr_array:
    """A sparse matrix written by `scipy.sparse.save_npz`, its indices checked."""
    try:
        matrix = sp.csr_array(sp.load_npz(need_file(path)))
        matrix.check_format(full_check=True)
    except Exception as error:  # a damaged archive raises BadZipFile, KeyError, ValueError, zlib.error ...
        raise DataError(f"{path}: not a whole sparse matrix ({one_line(error)})") from None
    return matrix


def feature_files(folder: Path) -> dict[str, tuple[str, np.ndarray]]:
    """Every `*_feat.npy` of a folder: modality (the file's prefix) -> (file name, array), sorted by name."""
    matrices = {}
    for path in sorted(folder.glob("*_feat.npy")):
        array = load_npy(path)
        if array.ndim != 2:
            raise DataError(f"{path}: expected a matrix of items x width, found shape {array.shape}")
        matrices[path.name.removesuffix("_feat.npy")] = (str(path), array)
    return matrices
