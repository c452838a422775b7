"""From checked columns and features to a Dataset: attributes in the order of the ids, masks, duplicates, sizes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path, PurePath
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import scipy.sparse as sp

from recsys.datasets.checks import (
    DTYPES,
    PARTS,
    Catalogue,
    check_catalogue,
    place,
    positions,
    to_tokens,
)
from recsys.datasets.dataset import Bundles, Dataset, Modality, Provenance
from recsys.errors import DataError


class Attributes(NamedTuple):
    """One row per user and one row per item, in the order of the ids; None where there are no attributes."""

    users: pd.DataFrame | None = None
    items: pd.DataFrame | None = None


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
        # An array is not copied, which a large one may be too large for, and is not written to.
        features = values.astype(np.float32, copy=not isinstance(values, np.ndarray))
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
            features = np.where(stray[:, None], np.float32(0), features)
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
        numbers = frame[column].to_numpy()
        if numbers.min() < 0 or numbers.max() >= len(ids):
            bad = (numbers < 0) | (numbers >= len(ids))
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


def assemble_parts(
    name: str,
    folder: Path,
    files: Mapping[int, str],
    read_part: Callable[[Path, int, Catalogue | None], tuple[pd.DataFrame, int]],
    features: Mapping[str, tuple[str, np.ndarray]],
) -> Dataset:
    """`assemble_rows` for formats that have a file for each part of the publisher's split.

    Args:
        files: label -> file of `folder`.
        read_part: makes of path, label and the catalogue the rows, and how many users the file knows.
    """
    catalogue = check_catalogue(dict(features.values()))
    parts = [read_part(folder / file, label, catalogue) for label, file in files.items()]
    return assemble_rows(
        name,
        pd.concat([frame for frame, _ in parts]),
        source=f"{folder} ({', '.join(files.values())})",
        features=features,
        n_users=max(n for _, n in parts),
    )
