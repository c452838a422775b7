"""Frames of pandas, polars, pyarrow and others as a Dataset."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pandas as pd

from recsys.datasets.assembly import Attributes, align, assemble
from recsys.datasets.cards import is_plain
from recsys.datasets.checks import need_columns, number_ids, taken, to_codes, to_labels, to_numbers, to_tokens
from recsys.datasets.content.columns import cells
from recsys.datasets.content.make import make_modalities, without_raw
from recsys.datasets.content.spec import ContentSpec
from recsys.datasets.dataset import Dataset
from recsys.datasets.joins import check_join
from recsys.datasets.times import to_timestamps
from recsys.errors import DataError, nearest

if TYPE_CHECKING:
    import numpy as np
    from narwhals.typing import IntoDataFrame


class Columns(NamedTuple):
    """A frame's name for each of our columns."""

    user: str = "user"
    item: str = "item"
    rating: str | None = None
    timestamp: str | None = None
    label: str | None = None


def to_pandas(frame: IntoDataFrame, what: str) -> pd.DataFrame:
    """Any frame as one of pandas, rows numbered from 0.

    Args:
        what: what the frame holds, for messages.

    Raises:
        DataError: it is no frame.
    """
    import narwhals as nw

    try:
        table = nw.from_native(frame, eager_only=True).to_pandas()
    except TypeError:
        kind = type(frame).__name__
        raise DataError(f"{what}: expected a frame (pandas, polars, pyarrow, ...), got {kind}") from None
    table = table.set_axis(pd.RangeIndex(len(table), name="row")).set_axis(map(str, table.columns), axis=1)
    if (twice := table.columns.duplicated()).any():
        raise DataError(f"{what}: two columns are called '{table.columns[twice][0]}'; rename one of them")
    return table


def dataset_from_frames(
    interactions: IntoDataFrame,
    columns: Columns,
    positive_from: float | None,
    items: IntoDataFrame | None,
    users: IntoDataFrame | None,
    content: Mapping[str, str | Mapping[str, Any]],
    name: str,
    min_joined: float = 1.0,
    drop: Iterable[str] = (),
) -> Dataset:
    """`Dataset.from_frame`."""
    if not is_plain(name):
        raise DataError(
            f"name '{name}': expected letters, digits, '.', '_' or '-', the first a letter or digit"
        )
    source = "interactions"
    raw = to_pandas(interactions, source)
    given = {ours: theirs for ours, theirs in columns._asdict().items() if theirs is not None}
    need_columns(raw.columns, given.values(), source)
    codes = {key: to_codes(raw[given[key]], source) for key in ("user", "item")}
    of_users, of_items = (
        None if frame is None else _entities(to_pandas(frame, what), key, what)
        for frame, key, what in ((users, columns.user, "users"), (items, columns.item, "items"))
    )
    joins: list[str] = []
    for noun, table, key in (("user", of_users, columns.user), ("item", of_items, columns.item)):
        if table is not None:
            known = table[key].to_numpy(dtype=object)
            joins += check_join(codes[noun].distinct, known, noun, source, f"{noun}s", min_joined)
    ids = (
        _ids(codes["user"].distinct, of_users, columns.user),
        _ids(codes["item"].distinct, of_items, columns.item),
    )
    frame = pd.DataFrame(
        {"user": codes["user"].places(ids[0]), "item": codes["item"].places(ids[1])}, raw.index
    )
    if positive_from is not None and "rating" not in given:
        raise DataError("positive_from compares ratings; name their column with rating=")
    frame, notes = observed(frame, raw, given, positive_from, source)
    attributes = Attributes(
        _aligned(of_users, columns.user, ids[0], "users"), _aligned(of_items, columns.item, ids[1], "items")
    )
    specs = {name: ContentSpec.of(value, f"content '{name}'") for name, value in content.items()}
    made = make_modalities(specs, attributes.items, ids[1], "items", Path(), anywhere=True)
    left = tuple(drop)
    tables = [table for table in (attributes.items, attributes.users) if table is not None]
    if bad := [column for column in left if not any(column in table for table in tables)]:
        known = [column for table in tables for column in map(str, table)]
        raise DataError(f"drop: no column '{bad[0]}' in items or users{nearest(bad[0], known)}")
    if attributes.items is not None:
        attributes = attributes._replace(items=_readable(without_raw(attributes.items, specs, left)))
    if attributes.users is not None:
        attributes = attributes._replace(
            users=_readable(attributes.users.drop(columns=left, errors="ignore"))
        )
    return assemble(
        name,
        frame,
        source=source,
        ids=ids,
        modalities=made.modalities,
        attributes=attributes,
        notes=[*joins, *notes, *made.notes],
        encoders=specs,
        declared=made.provenance,
        id_columns={"user": (columns.user,), "item": (columns.item,)},
        renames=dict.fromkeys(("user", "item"), dict.fromkeys(left, "")),
    )


def observed(
    frame: pd.DataFrame,
    raw: pd.DataFrame,
    columns: Mapping[str, str],
    positive_from: float | None,
    source: str,
) -> tuple[pd.DataFrame, list[str]]:
    """`frame` with the ratings, labels and times of `raw`, its rows that are interactions, and what was noted.

    Args:
        columns: our name -> the column of `raw`, of those that it has.
        positive_from: as in `taken`.

    Raises:
        DataError: a value that is none of its kind.
    """
    notes: list[str] = []
    read: dict[str, np.ndarray] = {}
    for key, convert in (("rating", to_numbers), ("label", to_labels)):
        if key in columns:
            read[key] = convert(raw[columns[key]], source)
    if "timestamp" in columns:
        read["timestamp"], notes = to_timestamps(raw[columns["timestamp"]], source)
    # A column that is set is copied, and may be as large as the file.
    beside = pd.DataFrame(read, index=frame.index, copy=False)
    frame, left_out = taken(pd.concat([frame, beside], axis=1), positive_from, source)
    return frame, [*notes, *left_out]


def _entities(frame: pd.DataFrame, key: str, source: str) -> pd.DataFrame:
    need_columns(frame.columns, [key], source)
    return frame.assign(**{key: to_tokens(frame[key], source)})


def _ids(tokens: np.ndarray, entities: pd.DataFrame | None, key: str) -> np.ndarray:
    return (
        number_ids(tokens) if entities is None else number_ids(tokens, entities[key].to_numpy(dtype=object))
    )


def _aligned(entities: pd.DataFrame | None, key: str, ids: np.ndarray, source: str) -> pd.DataFrame | None:
    return None if entities is None else align(entities, key, ids, source)


def _readable(attributes: pd.DataFrame) -> pd.DataFrame:
    """Numbers as they are, everything else as text."""
    made = {}
    for name, column in attributes.items():
        if pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column):
            made[name] = column
        else:
            made[name] = pd.Series(cells(column), dtype=str, index=column.index)
    return pd.DataFrame(made, index=attributes.index)
