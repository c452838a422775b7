"""Items and users that arrive after training, as rows of a table; their columns: docs/new-items-and-users.md."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd
import scipy.sparse as sp

from recsys.datasets.assembly import make_modality
from recsys.datasets.checks import check_ids, floats, need_columns, place, positions
from recsys.datasets.content.columns import cells
from recsys.datasets.content.make import encode_new
from recsys.datasets.dataset import Dataset, Modality
from recsys.datasets.files import one_line
from recsys.datasets.frames import to_pandas
from recsys.errors import DataError, nearest
from recsys.inputs.requests import NewItems, QueryUsers

if TYPE_CHECKING:
    from narwhals.typing import IntoDataFrame

SPARSE = ("data", "indices", "indptr")
"""Parts of a CSR matrix, arrays of an .npz called `modality.data` and so on."""
UNREAD = ("rating", "timestamp", "label")
"""Columns that interactions may have and that say nothing of what a new user likes."""


def new_items_of_frame(
    frame: IntoDataFrame, dataset: Dataset, *, inline: bool = False
) -> tuple[NewItems, list[str]]:
    """The items of a frame of pandas, polars or others; see `new_items_of`.

    Raises:
        DataError: it is no frame, and what `new_items_of` refuses.
    """
    source = "new items"
    return new_items_of(columns_of(to_pandas(frame, source), dataset, source), dataset, source, inline=inline)


def new_items_of(
    columns: Mapping[str, Any],
    dataset: Dataset,
    source: str,
    beside: Path | None = None,
    *,
    inline: bool = False,
) -> tuple[NewItems, list[str]]:
    """The items in the order of their ids, and notes on what was mended.

    Args:
        columns: the ids, under `item` or the name that the data set's source gives them; modalities as the data set's
            features are, (values, mask), or as the column that its content encoder reads; item attributes.
        source: where they are from, for messages.
        beside: the folder that names of raw files are relative to; the current one where None.
        inline: cells hold raw files themselves, in base64, and no file is opened: they come from strangers.

    Raises:
        DataError: a modality or attribute that the data set does not have, or of another width; an id that is
            empty, occurs twice or is the catalogue's; numbers that are not finite.
    """
    columns = dataset.with_own_names(columns, "item")
    raw = {name: spec.columns_of(name) for name, spec in dataset.encoders.items()}
    known = list(
        dict.fromkeys([*dataset.modalities, *dataset.item_attributes, *itertools.chain(*raw.values())])
    )
    for name in columns:
        if name != "item" and name not in known:
            message = f"{source}: '{name}' is no modality or item attribute of '{dataset.name}'"
            raise DataError(f"{message}{nearest(name, [*known, *dataset.renames.get('item', ())])}")
    need_columns(columns, ["item"], source)
    ids = _ids(pd.Series(columns["item"]), "item", source)
    if not len(ids):
        raise DataError(f"{source} holds no items; expected at least one row")
    _refuse_known(ids, dataset.item_ids, "item", source, "leave it out: it is ranked without being given")
    order = np.argsort(ids, kind="stable")
    if (twice := ids[order][1:] == ids[order][:-1]).any():
        raise DataError(
            f"{source}: item '{ids[order][np.argmax(twice)]}' occurs twice; expected a row for each item"
        )
    modalities, notes = {}, []
    for name, own in dataset.modalities.items():
        modality = None
        if name in raw and not isinstance(columns.get(name), tuple):
            modality, more = _encoded(
                columns, name, ids, dataset, source, None if inline else beside or Path()
            )
        if modality is None and (name not in raw or isinstance(columns.get(name), tuple)):
            modality, more = _modality(columns.get(name), own, len(ids), f"{source}: {name}")
        elif modality is None:
            modality = _modality(None, own, len(ids), f"{source}: {name}")[0]
        notes += more
        modalities[name] = modality.rows(order)
    readable = {
        name: c for name, c in columns.items() if name not in dataset.modalities or not isinstance(c, tuple)
    }
    attributes = _attributes(pd.DataFrame(index=range(len(ids))), readable, dataset.item_attributes, source)
    return NewItems(ids[order], modalities, attributes.iloc[order].reset_index(drop=True)), notes


def _encoded(
    columns: Mapping[str, Any], name: str, ids: np.ndarray, dataset: Dataset, source: str, beside: Path | None
) -> tuple[Modality | None, list[str]]:
    """Raw content of new items to features, by the encoder that made the catalogue's, fitted on the catalogue; None
    where they come without it. A column called like the modality stands for those that it is made of."""
    spec = dataset.encoders[name]
    wanted = spec.columns_of(name)
    given = {column: columns[column] for column in wanted if column in columns}
    if not given and name in columns:
        given = {name: columns[name]}
        spec = spec.model_copy(update={"columns": (), "template": ""})
        wanted = (name,)
    if not given and not spec.names:
        return None, []
    table = pd.DataFrame(
        {column: pd.Series(values).reset_index(drop=True) for column, values in given.items()}
    )
    table = table.reindex(range(len(ids)))
    if given:
        for column in wanted:
            if column not in table:
                table[column] = ""
    return encode_new(spec, name, table, ids, dataset, source, beside)


class Interactions(NamedTuple):
    """Who took what, a row each.

    Attributes:
        users: (n,) str raw ids.
        items: (n,) int64 numbers of the data set's items; -1 where a row names a user alone.
        others: the other columns by name, n rows each, but for `UNREAD`.
    """

    users: np.ndarray
    items: np.ndarray
    others: dict[str, pd.Series]


def interactions_of(table: pd.DataFrame, dataset: Dataset, source: str) -> Interactions:
    """The rows of a table: ids under `user` and `item`, or the names that the data set's source gives them, an empty
    item where a user has none.

    Raises:
        DataError: a user or item that cannot be read, or an item that the data set does not have.
    """
    table = pd.DataFrame(
        dataset.with_own_names(dict(table.items()), "user", "user", "item"), index=table.index
    )
    need_columns(table, ["user", "item"], source)
    tokens = _ids(table["user"], "user", source)
    check_ids(table["item"], source)
    items = _texts(table["item"])
    numbers = positions(dataset.item_ids, items)
    if (bad := (numbers < 0) & (items != "")).any():
        unknown = items[np.argmax(bad)]
        raise DataError(
            f"{source}: {place(table.index, bad)}: '{dataset.name}' has no item "
            f"'{unknown}'{nearest(unknown, dataset.item_ids)}"
        )
    others = {str(name): table[name] for name in table if name not in ("user", "item", *UNREAD)}
    return Interactions(tokens, numbers, others)


def new_users_of(table: pd.DataFrame, dataset: Dataset, source: str) -> tuple[np.ndarray, QueryUsers]:
    """Raw ids (m,) of users in their order, and the users.

    Args:
        table: as `interactions_of`, with user attributes.
        source: where it is from, for messages.

    Raises:
        DataError: an item or attribute that the data set does not have; a user who is the data set's, or whose rows
            give two values of one attribute.
    """
    tokens, numbers, given = interactions_of(table, dataset, source)
    for name in given:
        if name not in dataset.user_attributes:
            message = f"{source}: '{name}' is no user attribute of '{dataset.name}'"
            own = [*dataset.user_attributes, *dataset.renames.get("user", ())]
            raise DataError(f"{message}{nearest(name, own)}")
    if not len(tokens):
        raise DataError(f"{source} holds no users; expected at least one row")
    _refuse_known(tokens, dataset.user_ids, "user", source, "rename it, or recommend to it with --user")
    rows, ids = pd.factorize(tokens)
    taken = numbers >= 0
    entries = (np.ones(taken.sum(), dtype=np.float32), (rows[taken], numbers[taken]))
    history = sp.csr_array(sp.coo_array(entries, shape=(len(ids), dataset.n_items)))
    history.data[:] = 1
    history.sort_indices()
    given_values = {name: _one_each(column, rows, ids, source) for name, column in given.items()}
    attributes = _attributes(
        pd.DataFrame(index=range(len(ids))), given_values, dataset.user_attributes, source
    )
    return ids.astype(str), QueryUsers(np.full(len(ids), -1), history, attributes)


def columns_of(
    table: pd.DataFrame, dataset: Dataset, source: str
) -> dict[str, np.ndarray | pd.Series | tuple]:
    """Name -> column; columns `name.0`, `name.1`, … and columns of lists of numbers as (values, mask)."""
    raw = {
        column
        for name, spec in dataset.encoders.items()
        if spec.encoder != "vector"
        for column in (name, *spec.columns_of(name))
    }
    groups: dict[str, list[str]] = {}
    for column in map(str, table):
        stem, dot, number = column.rpartition(".")
        groups.setdefault(stem if dot and number.isdigit() else column, []).append(column)
    columns: dict[str, np.ndarray | pd.Series | tuple] = {}
    for name, parts in groups.items():
        if parts != [name]:
            columns[name] = _spread(table, name, parts, source)
        elif name not in raw and any(isinstance(v, (np.ndarray, list)) for v in table[name]):
            columns[name] = _lists(table[name], name, source)
        else:
            columns[name] = table[name]
    return columns


def _spread(table: pd.DataFrame, name: str, parts: list[str], source: str) -> tuple[np.ndarray, np.ndarray]:
    wanted = [f"{name}.{number}" for number in range(len(parts))]
    need_columns(parts, wanted, source)
    values = np.column_stack([floats(table[c]) for c in wanted])
    empty = table[wanted].isna().to_numpy()
    bad = (np.isnan(values) & ~empty.all(axis=1, keepdims=True)).any(axis=1)
    if bad.any():
        raise DataError(
            f"{source}: {place(table.index, bad)}: {name} lacks a number; expected {len(wanted)}, or none where "
            "the item has none"
        )
    return np.nan_to_num(values, nan=0.0, posinf=np.inf, neginf=-np.inf), ~empty.all(axis=1)


def _lists(column: pd.Series, name: str, source: str) -> tuple[np.ndarray, np.ndarray]:
    held = np.array([isinstance(value, (np.ndarray, list)) for value in column])
    sizes = np.array([len(value) for value in column[held]])
    if (bad := sizes != sizes[0]).any():
        odd = np.zeros(len(held), dtype=bool)
        odd[np.flatnonzero(held)[bad]] = True
        raise DataError(
            f"{source}: {place(column.index, odd)}: {name} has {sizes[np.argmax(bad)]} numbers, "
            f"others have {sizes[0]}; expected lists of one length"
        )
    values = np.zeros((len(held), sizes[0]))
    try:
        values[held] = np.array([list(value) for value in column[held]], dtype=np.float64)
    except (ValueError, TypeError):
        raise DataError(f"{source}: {name} holds lists of other things than numbers") from None
    return values, held


def _modality(column: object, own: Modality, n: int, source: str) -> tuple[Modality, list[str]]:
    """The modality's n rows in the kind that the catalogue's are; all masked where the file has none."""
    if column is None:
        empty = (
            sp.csr_array((n, own.width), dtype=np.float32)
            if own.is_sparse
            else np.zeros((n, own.width), np.float32)
        )
        return Modality(empty, np.zeros(n, dtype=bool)), []
    if not isinstance(column, tuple):
        raise DataError(
            f"{source} holds one value an item; expected {own.width} numbers, as a matrix, lists, or columns "
            "with .0, .1, … behind the name"
        )
    values, mask = column
    if isinstance(values, list):
        values = _csr(values, own.width, n, source)
    if values.ndim != 2 or values.shape[1] != own.width:
        wide = values.shape[1] if values.ndim == 2 else f"of shape {values.shape}"
        raise DataError(f"{source} is {wide} wide; the model was trained on {own.width} numbers an item")
    if values.shape[0] != n or (mask is not None and np.shape(mask) != (n,)):
        raise DataError(f"{source} and its mask must have a row for each of the {n:,} items")
    if mask is not None:
        mask = np.asarray(mask, dtype=bool)
        keep = sp.diags_array(mask.astype(values.dtype)) if sp.issparse(values) else None
        values = np.where(mask[:, None], values, 0) if keep is None else sp.csr_array(keep @ values)
    modality, notes = make_modality(values, source, mask)
    if own.is_sparse and not modality.is_sparse:
        modality = Modality(sp.csr_array(modality.features), modality.mask)
    elif not own.is_sparse and not isinstance(modality.features, np.ndarray):
        modality = Modality(modality.features.toarray(), modality.mask)
    return modality, notes


def _csr(parts: Iterable[np.ndarray | None], width: int, n: int, source: str) -> sp.csr_array:
    try:
        matrix = sp.csr_array(tuple(parts), shape=(n, width))
        matrix.check_format(full_check=True)
    except (ValueError, TypeError, IndexError) as error:
        raise DataError(
            f"{source}.data, .indices and .indptr are no CSR of {n:,} rows, {width:,} wide ({one_line(error)})"
        ) from None
    return matrix


def _texts(column: pd.Series) -> np.ndarray:
    """(n,) str, "" where there is nothing; whole numbers beside empty fields stay whole."""
    return np.array(cells(column), dtype=object)


def _ids(column: pd.Series, noun: str, source: str) -> np.ndarray:
    check_ids(column, source)
    ids = _texts(column)
    if (bad := ids == "").any():
        raise DataError(f"{source}: {place(column.index, bad)}: {noun} is empty, expected an id")
    return ids


def _refuse_known(ids: np.ndarray, known: np.ndarray, noun: str, source: str, cure: str) -> None:
    if (bad := positions(known, ids) >= 0).any():
        raise DataError(f"{source}: {noun} '{ids[np.argmax(bad)]}' is not new, the run's data has it; {cure}")


def _one_each(column: pd.Series, rows: np.ndarray, ids: np.ndarray, source: str) -> pd.Series:
    """A user's value of an attribute, from all rows of that user."""
    grouped = column.reset_index(drop=True).replace("", None).groupby(rows)
    if (bad := (grouped.nunique() > 1).to_numpy()).any():
        raise DataError(
            f"{source}: user '{ids[np.argmax(bad)]}' has two values of {column.name}; expected one"
        )
    return grouped.first()


def _attributes(
    frame: pd.DataFrame, given: Mapping[str, object], like: pd.DataFrame, source: str
) -> pd.DataFrame:
    """`frame` with the columns of `like`, of what is given; "" and NaN where nothing is."""
    for name in like:
        numeric = pd.api.types.is_numeric_dtype(like[name])
        if name not in given:
            frame[name] = np.nan if numeric else ""
        elif isinstance(given[name], tuple):
            raise DataError(
                f"{source}: {name} holds several numbers an item; expected one value, it is an attribute"
            )
        else:
            column = pd.Series(given[name]).reset_index(drop=True)
            frame[name] = floats(column) if numeric else _texts(column)
    return frame
