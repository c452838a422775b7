"""Checks that every reader shares: columns, ids, numbers, features, and the assembly of a Dataset.

A frame's index says where a row came from (`frame.index.name` is "line", "row" or "user"), so that each message
names the place in the file.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path, PurePath
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import scipy.sparse as sp

from recsys.datasets.dataset import Bundles, Dataset, Modality, Provenance
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


class Attributes(NamedTuple):
    """One row per user and one row per item, in the order of the ids; None where there are no attributes."""

    users: pd.DataFrame | None = None
    items: pd.DataFrame | None = None


def place(index: pd.Index, bad: np.ndarray) -> str:
    """The first row marked in `bad`, as "line 7" after the index's name ("row" where it has none)."""
    return f"{index.name or 'row'} {index[int(np.argmax(bad))]}"


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
        numbers: (n,) int64 place of each row's id in `distinct`.
        distinct: (m,) str, the raw ids.
    """

    numbers: np.ndarray
    distinct: np.ndarray

    def places(self, ids: np.ndarray) -> np.ndarray:
        """(n,) int64 place of each row's id in `ids`, -1 where it is not there."""
        return positions(ids, self.distinct)[self.numbers]


def to_codes(column: pd.Series, source: str) -> Codes:
    """The ids of a column, whole numbers without a decimal point, however a file stores them; DataError names the first
    that is none."""
    check_ids(column, source)
    if column.dtype.kind in "iu" and isinstance(column.dtype, np.dtype):
        numbers, values = _numbered(column.to_numpy())
        return Codes(numbers, _written(values))
    numbers, values = pd.factorize(whole_numbers(column))
    distinct = pd.Series(values).astype(str).to_numpy(dtype=object)
    # The last entry is that of a missing id, whose number is -1.
    empty = np.append(distinct == "", True)
    if (bad := empty[numbers]).any():
        raise DataError(f"{source}: {place(column.index, bad)}: {column.name} is empty, expected an id")
    return Codes(numbers, distinct)


def _numbered(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(n,) int64 place of each whole number in the distinct ones, and these, ascending; where they lie close together
    by a table, which takes half of the time of hashes."""
    low, high = (int(values.min()), int(values.max())) if len(values) else (0, 0)
    if high - low >= 2 * len(values) or high > np.iinfo(np.int64).max:
        return pd.factorize(values, sort=True)
    offsets = values.astype(np.int64, copy=False) - low
    there = np.zeros(high - low + 1, dtype=bool)
    there[offsets] = True
    return (np.cumsum(there) - 1)[offsets], np.flatnonzero(there) + low


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


def align(frame: pd.DataFrame, key: str, ids: np.ndarray, source: str) -> pd.DataFrame:
    """Attribute rows in the order of `ids`; where an id has none, text is "" and numbers are NaN.

    Raises DataError where an id has two rows."""
    tokens = to_tokens(frame[key], source)
    if (bad := pd.Series(tokens).duplicated().to_numpy()).any():
        raise DataError(f"{source}: {place(frame.index, bad)}: {key} '{tokens[np.argmax(bad)]}' occurs twice")
    rows, at = frame.drop(columns=key), positions(tokens, ids)
    if (at >= 0).all():
        rows = rows.iloc[at].reset_index(drop=True)
    else:
        rows = rows.set_axis(pd.Index(tokens), axis=0).reindex(ids.astype(object)).reset_index(drop=True)
    texts = [c for c in rows.columns if isinstance(rows[c].dtype, pd.StringDtype) or rows[c].dtype == object]
    return rows.assign(**{c: rows[c].fillna("") for c in texts})


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


def make_modality(
    values: np.ndarray | sp.csr_array, source: str, mask: np.ndarray | None = None
) -> tuple[Modality, list[str]]:
    """Features as float32 with their mask, and a note where rows that should be there are zero.

    Args:
        values: (n_items, width), any real dtype; half precision is widened before anything is summed.
        mask: (n_items,) bool, items known to have the modality; all where None.

    Raises:
        DataError: not a numeric matrix, or NaN or infinite entries (names the first row).
    """
    if values.ndim != 2 or values.dtype.kind not in "fiub" or not all(values.shape):
        raise DataError(
            f"{source}: expected a numeric matrix of items x width, found {values.dtype} of shape {values.shape}"
        )
    with np.errstate(over="ignore"):
        features = values.astype(np.float32)
    if not isinstance(features, np.ndarray):
        features = sp.csr_array(features)
        features.sum_duplicates()
        row_of = np.repeat(np.arange(features.shape[0]), np.diff(features.indptr))
        bad = np.bincount(row_of[~np.isfinite(features.data)], minlength=features.shape[0]) > 0
    else:
        features = np.ascontiguousarray(features)
        bad = np.asarray(~np.isfinite(features).all(axis=1))
    if bad.any():
        raise DataError(
            f"{source}: row {np.argmax(bad)} (counted from 0) holds NaN or infinity, or overflows float32; "
            "expected finite features (a row of zeros where an item has none)"
        )
    if isinstance(features, np.ndarray):
        present = np.asarray(features.any(axis=1))
    else:
        features.eliminate_zeros()
        present = np.diff(features.indptr) > 0
    notes = []
    expected = np.ones(len(present), dtype=bool) if mask is None else mask
    if n_zero := int((expected & ~present).sum()):
        notes.append(
            f"{PurePath(source).name}: {n_zero:,} of {len(present):,} rows are zero; those items count as missing"
        )
    if (stray := present & ~expected).any():
        if isinstance(features, np.ndarray):
            features[stray] = 0
        else:
            features.data[np.repeat(stray, np.diff(features.indptr))] = 0
            features.eliminate_zeros()
    return Modality(features, present & expected), notes


def _merge_duplicates(frame: pd.DataFrame, source: str, ids: tuple[np.ndarray, np.ndarray]):
    """Sort by user and item and keep one row per pair: the earliest, then the lowest rated, so that the
    order of the file's rows does not matter. DataError for a pair in two parts."""
    user, item = frame["user"].to_numpy(), frame["item"].to_numpy()
    # Of distinct pairs a CSR is sorted in linear time. It holds the one other column, or of several the row numbers.
    others = [c for c in frame if c not in ("user", "item")]
    one = len(others) == 1
    held = (
        frame[others[0]].to_numpy()
        if one
        else np.arange(len(frame), dtype=np.int32 if len(frame) < 2**31 else np.int64)
    )
    sorted_pairs = sp.coo_array((held, (user, item)), shape=tuple(map(len, ids))).tocsr()
    if sorted_pairs.nnz == len(frame):
        sorted_pairs.sort_indices()
        users = np.repeat(np.arange(len(ids[0])), np.diff(sorted_pairs.indptr))
        columns = {"user": users, "item": sorted_pairs.indices.astype(np.int64)}
        rest = {c: sorted_pairs.data if one else frame[c].to_numpy()[sorted_pairs.data] for c in others}
        return pd.DataFrame(columns | rest, copy=False), []
    del sorted_pairs
    pair = user * len(ids[1]) + item
    order = np.argsort(pair)
    pair = pair[order]
    again = np.zeros(len(frame), dtype=bool)
    again[1:] = pair[1:] == pair[:-1]
    if again.any():
        # Of pairs that occur again the order of rows is not decided yet.
        places = np.flatnonzero(again | np.append(again[1:], False))
        rows = frame.iloc[order[places]].assign(pair=pair[places]).reset_index(drop=True)
        by = [c for c in ("pair", "label", "timestamp", "rating") if c in rows]
        order[places] = order[places][rows.sort_values(by, kind="stable").index]
    frame = frame.iloc[order].reset_index(drop=True)
    user, item = frame["user"].to_numpy(), frame["item"].to_numpy()
    if "label" in frame and again.any():
        label = frame["label"].to_numpy()
        if (leak := again & np.append(False, label[1:] != label[:-1])).any():
            at = int(np.argmax(leak))
            raise DataError(
                f"{source}: user {ids[0][user[at]]} and item {ids[1][item[at]]} are in both "
                f"{PARTS[label[at - 1]]} and {PARTS[label[at]]}; a pair may be in one part only"
            )
    notes = []
    if n := int(again.sum()):
        notes.append(f"{PurePath(source).name}: {n:,} duplicate interactions merged")
    return frame[~again].reset_index(drop=True), notes


def _check_sizes(
    frame: pd.DataFrame, known: Mapping[str, np.ndarray], modalities: Mapping[str, Modality], source: str
) -> None:
    """DataError for a number beyond the known ids, or a feature matrix that has not a row for each item."""
    for column, ids in known.items():
        if (bad := ((frame[column] < 0) | (frame[column] >= len(ids))).to_numpy()).any():
            value = frame[column].iloc[int(np.argmax(bad))]
            where = place(frame.index, bad)
            raise DataError(f"{source}: {where}: {column} {value} is beyond the {len(ids):,} known")
    for name, modality in modalities.items():
        if (rows := modality.features.shape[0]) != len(known["item"]):
            raise DataError(f"modality {name} has {rows:,} rows for {len(known['item']):,} items")


def assemble(
    name: str,
    frame: pd.DataFrame,
    *,
    source: str,
    ids: tuple[np.ndarray, np.ndarray],
    modalities: Mapping[str, Modality] | None = None,
    attributes: Attributes | None = None,
    notes: Iterable[str] = (),
    bundles: Bundles | None = None,
    encoders: Mapping[str, Any] | None = None,
    declared: Mapping[str, Provenance] | None = None,
    id_columns: Mapping[str, tuple[str, ...]] | None = None,
    renames: Mapping[str, Mapping[str, str]] | None = None,
    folder: Path | None = None,
) -> Dataset:
    """A checked Dataset, its interactions sorted by user and item, duplicates merged and counted in the notes.

    Args:
        frame: columns `user`, `item` (numbers into `ids`), optional `rating`, `timestamp`, `label`.
        source: the file (or files) the interactions came from, for messages.
        ids: raw ids of users and of items, in order.
        modalities: of as many rows as there are items.
        bundles: of these items and users.
        encoders, declared, id_columns, renames, folder: as in `Dataset`.

    Raises:
        DataError: no interactions, an id beyond `ids`, a feature matrix with fewer rows than items, or a pair
            in two parts.
    """
    users, items = (np.asarray(i).astype(str) for i in ids)
    if frame.empty:
        raise DataError(f"{source} holds no interactions; expected at least one row")
    _check_sizes(frame, {"user": users, "item": items}, modalities or {}, source)
    columns = [c for c in DTYPES if c in frame]
    frame = frame[columns].astype({c: DTYPES[c] for c in columns})
    frame, merged = _merge_duplicates(frame, source, (users, items))
    of_users, of_items = attributes or Attributes()
    return Dataset(
        name,
        frame,
        users,
        items,
        dict(modalities or {}),
        pd.DataFrame(index=range(len(users))) if of_users is None else of_users,
        pd.DataFrame(index=range(len(items))) if of_items is None else of_items,
        notes=(*notes, *merged),
        bundles=bundles,
        encoders=encoders or {},
        declared=declared or {},
        id_columns=id_columns or {},
        renames=renames or {},
        folder=folder,
    )


def assemble_rows(
    name: str,
    frame: pd.DataFrame,
    *,
    source: str,
    features: Mapping[str, tuple[str, np.ndarray | sp.csr_array]],
    notes: Iterable[str] = (),
    n_users: int = 0,
    attributes: Attributes | None = None,
) -> Dataset:
    """`assemble` for formats whose ids are row numbers: index = raw id, gaps kept as users and items without
    interactions.

    Args:
        frame: as for `assemble`, ids already checked by `row_numbers`.
        features: modality -> (file name, matrix with a row for each item).
        n_users: at least so many users, where the format tells.
    """
    catalogue = check_catalogue({file: matrix for file, matrix in features.values()})
    if frame.empty:
        raise DataError(f"{source} holds no interactions; expected at least one row")
    n_users = max(n_users, int(frame["user"].max()) + 1)
    n_items = catalogue.n_items if catalogue else int(frame["item"].max()) + 1
    modalities, notes = {}, list(notes)
    for modality, (file, matrix) in features.items():
        modalities[modality], more = make_modality(matrix, file)
        notes += more
    return assemble(
        name,
        frame,
        source=source,
        ids=(np.arange(n_users), np.arange(n_items)),
        modalities=modalities,
        attributes=attributes,
        notes=notes,
    )
