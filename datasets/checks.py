"""Checks that every reader shares: columns, ids, numbers and features.

A frame's index says where a row came from (`frame.index.name` is "line", "row" or "user"), so that each message
names the place in the file.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import PurePath
from typing import NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import scipy.sparse as sp

from recsys.errors import DataError

PARTS = ("train", "valid", "test")
"""Names of the values of the `label` column, in order."""

DTYPES = {
    "user": np.int64,
    "item": np.int64,
    "rating": np.float32,
    "timestamp": np.float64,
    "label": np.int8,
}
"""The columns of a Dataset's interactions."""

NO_IDS = (bool, np.bool_, bytes, list, tuple, set, dict, np.ndarray)
MAX_GAP = 100
"""Row-number ids may leave gaps; ids this many times sparser than the rows are no row numbers."""


class Catalogue(NamedTuple):
    """How many items the feature files describe, and which file says so."""

    n_items: int
    source: str


def place(index: pd.Index, bad: np.ndarray) -> str:
    """The first row marked in `bad`, as "line 7" after the index's name ("row" where it has none), or as "line 7 of
    test.csv" where several files were put together by `one_table`."""
    where = index[int(np.argmax(bad))]
    if isinstance(index, pd.MultiIndex):
        return f"{index.names[1] or 'row'} {where[1]} of {where[0]}"
    return f"{index.name or 'row'} {where}"


def one_table(parts: Mapping[str, tuple[str, pd.DataFrame]], column: str = "label") -> pd.DataFrame:
    """Files of the parts of a split as one table, whose index says file and row.

    Args:
        parts: name of the part (one of `PARTS`) -> name of its file, and its rows.
        column: is added: the place of a row's part in `PARTS`.

    Raises:
        DataError: the files' columns differ.
    """
    (first, table), *others = parts.values()
    for file, other in others:
        if differ := set(table.columns).symmetric_difference(other.columns):
            raise DataError(
                f"{file} and {first} have not the same columns: {', '.join(map(str, sorted(differ)))}"
            )
    files, frames = zip(*parts.values(), strict=True)
    name = table.index.name or "row"
    joined = pd.concat(frames, keys=files, names=["file", name])
    label = np.repeat([PARTS.index(part) for part in parts], [len(frame) for frame in frames])
    return joined.assign(**{column: label.astype(np.int8)})


def need_columns(columns: Iterable[str], expected: Iterable[str], source: str) -> None:
    """Raise DataError naming file, expected and found columns unless all `expected` are in `found`."""
    columns, expected = [str(f) for f in columns], list(expected)
    missing = [c for c in expected if c not in columns]
    if missing:
        raise DataError(
            f"{source}: no column {', '.join(missing)}; expected {', '.join(expected)}, found {', '.join(columns)}"
        )


def check_ids(column: pd.Series, source: str) -> None:
    """DataError for truth values, fractions, bytes, lists and mappings, no ids, and for text that holds a NUL, which
    arrays of text would cut off."""
    if pd.api.types.is_bool_dtype(column):
        raise DataError(f"{source}: column {column.name} holds truth values, expected ids")
    odd = np.zeros(len(column), dtype=bool)
    if pd.api.types.is_float_dtype(column):
        odd[:] = column.notna() & ~(column % 1 == 0)
    elif column.dtype == object:
        odd[:] = [isinstance(v, NO_IDS) or (isinstance(v, str) and "\0" in v) for v in column]
    elif isinstance(column.dtype, pd.StringDtype):
        cut = [v for v in column.dropna().unique() if "\0" in v]
        odd[:] = column.isin(cut) if cut else False
    if odd.any():
        value = column.iloc[int(np.argmax(odd))]
        raise DataError(
            f"{source}: {place(column.index, odd)}: {column.name} is {str(value)!r:.80}, "
            f"a {type(value).__name__}; expected an id: text without NUL, or a whole number"
        )


def floats(column: pd.Series) -> np.ndarray:
    """(n,) float64, NaN where an entry is no number, infinity where it is beyond all floats.

    Raises:
        TypeError: the column holds lists or other objects.
    """
    try:
        return np.asarray(pd.to_numeric(column, errors="coerce"), dtype=np.float64)
    except OverflowError:  # whole numbers of hundreds of digits
        return np.array([_float(value) for value in column])


def _float(value: object) -> float:
    try:
        return float(str(value))
    except ValueError:
        return float("nan")


def to_numbers(column: pd.Series, source: str) -> np.ndarray:
    """(n,) float64; DataError names the first entry that is not a finite number. Truth values, complex numbers,
    moments and lists are none."""
    if column.dtype.kind in "bcMm":
        raise DataError(f"{source}: column {column.name} holds {column.dtype} values, expected numbers")
    try:
        numeric = floats(column)
    except TypeError:
        raise DataError(
            f"{source}: column {column.name} holds lists or other objects, expected numbers"
        ) from None
    bad = ~np.isfinite(numeric)
    if bad.any():
        value = column.iloc[int(np.argmax(bad))]
        raise DataError(
            f"{source}: {place(column.index, bad)}: {column.name} is '{value}', expected a number"
        )
    return numeric


def row_numbers(column: pd.Series, source: str, catalogue: Catalogue | None = None) -> np.ndarray:
    """(n,) int64 ids that are row numbers; DataError for one that is no integer, negative, or (of items) at or
    beyond the end of the feature files."""
    if column.dtype.kind not in "iuf":
        check_ids(column, source)
    if column.dtype.kind in "iu":
        ids = column.to_numpy().astype(np.int64)
    else:
        numeric = floats(column)
        bad = ~(np.abs(numeric) < 2**53) | (np.floor(numeric) != numeric)
        if bad.any():
            value = column.iloc[int(np.argmax(bad))]
            raise DataError(
                f"{source}: {place(column.index, bad)}: {column.name} is '{value}', expected an integer"
            )
        ids = numeric.astype(np.int64)
    if (bad := ids < 0).any():
        raise DataError(
            f"{source}: {place(column.index, bad)}: {column.name} is {ids[np.argmax(bad)]}, expected 0 or more"
        )
    if catalogue and (bad := ids >= catalogue.n_items).any():
        raise DataError(
            f"{source}: {place(column.index, bad)}: {column.name} {ids[np.argmax(bad)]} is beyond the "
            f"{catalogue.n_items:,} rows of {catalogue.source}; ids must be row numbers of that file"
        )
    if not catalogue and len(ids) and too_sparse(ids.max(), len(ids)):
        raise DataError(
            f"{source}: {column.name} {ids.max()} cannot be a row number among {len(ids):,} interactions; "
            "renumber the ids from 0, or read the file with the 'table' reader"
        )
    return ids


def too_sparse(number: int, rows: int) -> bool:
    """Whether numbers up to `number` are no row numbers, or no count, of what `rows` interactions are about."""
    return number >= 1_000_000 + MAX_GAP * rows


def whole_numbers(column: pd.Series) -> pd.Series:
    """The column itself, of floats that are whole numbers beside missing ones as integers, so that 42.0 reads 42."""
    if pd.api.types.is_float_dtype(column) and (column.dropna() % 1 == 0).all():
        return column.astype("Int64")
    return column


class Codes(NamedTuple):
    """A column of ids without a text for each row.

    Attributes:
        rows: (n,) int64, a number for each row's id.
        present: (m,) int64, the numbers that occur, ascending.
        distinct: (m,) str, their raw ids.
    """

    rows: np.ndarray
    present: np.ndarray
    distinct: np.ndarray

    @property
    def numbers(self) -> np.ndarray:
        """(n,) int64 place of each row's id in `distinct`."""
        return self._at(np.arange(len(self.distinct)))

    def places(self, ids: np.ndarray) -> np.ndarray:
        """(n,) int64 place of each row's id in `ids`, -1 where it is not there."""
        return self._at(positions(ids, self.distinct))

    def _at(self, values: np.ndarray) -> np.ndarray:
        """The value of each row's id; the rows' own numbers where these are the values already."""
        if np.array_equal(values, self.present):
            return self.rows
        table = np.empty(self.present[-1] + 1, dtype=np.int64)
        table[self.present] = values
        return table[self.rows]


def to_codes(column: pd.Series, source: str) -> Codes:
    """The ids of a column, whole numbers without a decimal point, however a file stores them; DataError names the first
    that is none."""
    check_ids(column, source)
    if column.dtype.kind in "iu" and isinstance(column.dtype, np.dtype):
        rows, present, values = _numbered(column.to_numpy())
        return Codes(rows, present, _written(values))
    numbers, values = pd.factorize(whole_numbers(column))
    distinct = pd.Series(values).astype(str).to_numpy(dtype=object)
    # The last entry is that of a missing id, whose number is -1.
    empty = np.append(distinct == "", True)
    if (bad := empty[numbers]).any():
        raise DataError(f"{source}: {place(column.index, bad)}: {column.name} is empty, expected an id")
    return Codes(numbers, np.arange(len(distinct)), distinct)


def _numbered(values: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A number for each of n whole numbers, (n,) int64, those that occur, and which each stands for, both ascending.
    Where they lie close together the distance from the least is the number, which takes half of the time of hashes."""
    low, high = (int(values.min()), int(values.max())) if len(values) else (0, 0)
    if high - low >= 2 * len(values) or high > np.iinfo(np.int64).max:
        rows, distinct = pd.factorize(values, sort=True)
        return rows, np.arange(len(distinct)), distinct
    rows = values.astype(np.int64, copy=False)
    rows = rows - low if low else rows
    there = np.zeros(high - low + 1, dtype=bool)
    there[rows] = True
    present = np.flatnonzero(there)
    return rows, present, present + low


def _written(numbers: np.ndarray) -> np.ndarray:
    """(n,) whole numbers as str objects."""
    return pa.array(numbers).cast(pa.string()).to_numpy(zero_copy_only=False)


def _plain_numbers(texts: np.ndarray) -> np.ndarray | None:
    """(n,) int64 that the texts are; None unless all are whole numbers as Python writes them, such as 7 and not 07."""
    try:
        written = pa.array(texts, pa.string())
        numbers = written.cast(pa.int64())
    except (pa.ArrowException, UnicodeError, TypeError, ValueError):
        return None
    plain = not written.null_count and numbers.cast(pa.string()).equals(written)
    return numbers.to_numpy() if plain else None


def to_tokens(column: pd.Series, source: str) -> np.ndarray:
    """(n,) raw ids as str objects; as `to_codes`."""
    codes = to_codes(column, source)
    return codes.distinct[codes.numbers]


def taken(frame: pd.DataFrame, positive_from: float | None, source: str) -> tuple[pd.DataFrame, list[str]]:
    """The rows that are interactions, and what was left out.

    Those rated at least `positive_from`; where that is None all, but of ratings that are 0 or 1 alone those of 1.

    Raises:
        DataError: `positive_from` is given, and there are no ratings.
    """
    if positive_from is not None:
        need_columns(frame.columns, ["rating"], source)
        return frame[frame["rating"] >= positive_from], []
    if "rating" not in frame or not frame["rating"].isin([0, 1]).all() or not (frame["rating"] == 0).any():
        return frame, []
    kept = frame[frame["rating"] == 1]
    left = len(frame) - len(kept)
    return kept, [
        f"{PurePath(source).name}: {left:,} rows rated 0, of ratings that are 0 or 1, are no interactions"
    ]


def number_ids(*columns: np.ndarray) -> np.ndarray:
    """The distinct raw ids of all `columns`, as str: in numeric order where all are integers, else in
    lexicographic order. The order of a file's rows does not matter."""
    tokens = np.concatenate([np.asarray(c, dtype=object) for c in columns])
    plain = _plain_numbers(tokens)
    if plain is not None:
        return _written(np.sort(pd.unique(plain))).astype(str)
    # Sorting texts takes twenty times as long as numbers.
    distinct = pd.unique(tokens).astype(str)
    try:
        numbers = distinct.astype(np.int64)
    except (ValueError, OverflowError):
        return np.sort(distinct)
    order = np.argsort(numbers)
    if (np.diff(numbers[order]) == 0).any():  # 7 and 07
        order = np.lexsort((distinct, numbers))
    return distinct[order]


def positions(ids: np.ndarray, tokens: np.ndarray) -> np.ndarray:
    """(n,) int64 place of each token in `ids`, -1 where it is not there."""
    known, wanted = _plain_numbers(ids), _plain_numbers(tokens)
    if known is None or wanted is None:
        known, wanted = ids.astype(object), tokens
    return pd.Index(known).get_indexer(wanted).astype(np.int64)


def to_labels(column: pd.Series, source: str) -> np.ndarray:
    """(n,) int8 from 0, 1, 2 or the parts' names."""
    codes = {str(i): i for i in range(3)} | {"train": 0, "valid": 1, "val": 1, "validation": 1, "test": 2}
    numbers, values = pd.factorize(column, use_na_sentinel=False)
    text = pd.Series(values).astype(str).str.strip().str.lower().str.replace(r"\.0$", "", regex=True)
    labels = text.map(codes).to_numpy(dtype=np.float64)[numbers]
    if (bad := np.isnan(labels)).any():
        raise DataError(
            f"{source}: {place(column.index, bad)}: {column.name} is '{column.iloc[int(np.argmax(bad))]}', "
            "expected 0 (train), 1 (valid) or 2 (test)"
        )
    return labels.astype(np.int8)


def check_catalogue(features: Mapping[str, np.ndarray | sp.csr_array]) -> Catalogue | None:
    """The number of items by the feature files (`features`: file name -> matrix); None without features.

    Raises DataError naming the file that has fewer rows than the longest."""
    rows = {source: matrix.shape[0] for source, matrix in features.items()}
    if not rows:
        return None
    longest = max(rows, key=lambda source: rows[source])
    for source, n in rows.items():
        if n < rows[longest]:
            raise DataError(
                f"{source} has {n:,} rows, fewer than the {rows[longest]:,} items of {longest}; "
                "give each item a row, of zeros where it has none"
            )
    return Catalogue(rows[longest], longest)
