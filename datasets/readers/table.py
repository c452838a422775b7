"""CSV or Parquet files with a card that maps their columns.

Interactions in one file; optionally attributes of users and items, and features: `.npy` or `.npz` (sparse) with
a row for each row of the items file, or CSV or Parquet with an id column and numbers.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import pandas as pd
import scipy.sparse as sp
from pydantic import BaseModel, ConfigDict, Field

from recsys.datasets.cards import Card, File
from recsys.datasets.checks import (
    Attributes,
    align,
    assemble,
    make_modality,
    need_columns,
    number_ids,
    positions,
    to_codes,
    to_numbers,
    to_tokens,
)
from recsys.datasets.content.encode import ContentEncoder, made_of
from recsys.datasets.dataset import Dataset, Modality
from recsys.datasets.files import load_npy, load_npz, read_delimited, read_parquet
from recsys.datasets.frames import observed
from recsys.datasets.joins import check_join, examples
from recsys.errors import DataError


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Columns(Strict):
    """The file's name for each of our columns; files of new items and users have the same."""

    user: str = "user"
    item: str = "item"
    rating: str | None = None
    timestamp: str | None = None
    label: str | None = None


class Entities(Strict):
    """An attribute file: its id column, and new names for its other columns."""

    file: File
    id: str
    rename: dict[str, str] = {}


class Features(Strict):
    """A feature file. `id`: the id column of a CSV or Parquet file, whose other columns are all numbers.
    `mask`: an .npy of bool, a row for each row of the features, False where an item has none. `made_of`: as in
    `Modality`."""

    file: File
    id: str | None = None
    mask: File | None = None
    made_of: str = ""


class TableOptions(Strict):
    """The card's `options`.

    Attributes:
        interactions: the file of interactions, `.csv`, `.tsv` or `.parquet`.
        columns: its columns.
        sep: separator of `.csv` files.
        positive_from: keep interactions rated at least this; all where None.
        users, items: attribute files; items that only they name stay in the catalogue.
        features: modality -> file.
        content: modality -> the content encoder that makes it of the items file's column of the same name, or that made
            its file; new items may come with that column.
        min_joined: share of the interactions' users and items that the users and items files must have.
        numbering: "sorted": ids in numeric (else lexicographic) order; "file": in the order of the users and
            items files, which must then name every id.
    """

    interactions: File
    columns: Columns = Columns()
    sep: str = ","
    positive_from: float | None = None
    users: Entities | None = None
    items: Entities | None = None
    features: dict[str, Features] = {}
    content: dict[str, ContentEncoder] = {}
    min_joined: Annotated[float, Field(ge=0, le=1)] = 1.0
    numbering: Literal["sorted", "file"] = "sorted"


def read_any(path: Path, sep: str, ids: tuple[str, ...] = (), columns: Iterable[str] = ()) -> pd.DataFrame:
    """A CSV, TSV or Parquet file; the columns `ids` stay as they are written. Of Parquet only `columns` are read, where
    given and there."""
    if path.suffix == ".parquet":
        return read_parquet(path, columns)
    if path.suffix not in (".csv", ".tsv"):
        raise DataError(f"{path}: expected a .csv, .tsv or .parquet file")
    sep = "\t" if path.suffix == ".tsv" else sep
    return read_delimited(path, sep, text=ids, quoted=True)


def without_index(table: pd.DataFrame, source: str) -> tuple[pd.DataFrame, list[str]]:
    """The table without columns that a saved index leaves, and a note of them."""
    left = [
        c for c in map(str, table.columns) if c.startswith(("Unnamed: ", "__index_level_")) or not c.strip()
    ]
    notes = [f"{Path(source).name}: column '{column}', a saved index, is not read" for column in left]
    return table.drop(columns=left), notes


class _Side:
    """Users or items: raw ids in order, attributes, and the order of the attribute file."""

    def __init__(self, folder: Path, entities: Entities | None, tokens: np.ndarray, options: TableOptions):
        self.notes: list[str] = []
        if entities is None:
            if options.numbering == "file":
                raise DataError(f"{folder}: numbering 'file' needs a users and an items file")
            self.ids, self.file_order, self.attributes = number_ids(tokens), None, None
            return
        path = folder / entities.file
        table, self.notes = without_index(read_any(path, options.sep, (entities.id,)), str(path))
        need_columns(table.columns, [entities.id], str(path))
        self.file_order = to_tokens(table[entities.id], str(path))
        if options.numbering == "file":
            self.ids = self.file_order.astype(str)
        else:
            self.ids = number_ids(self.file_order, tokens)
        self.attributes = align(table, entities.id, self.ids, str(path)).rename(columns=entities.rename)


def _feature_matrix(
    folder: Path, features: Features, items: _Side, sep: str
) -> tuple[np.ndarray | sp.csr_array, np.ndarray]:
    """Rows as they are in the file, and the raw id of each."""
    path = folder / features.file
    if path.suffix in (".npy", ".npz"):
        if items.file_order is None:
            raise DataError(f"{path}: rows of an array need an items file, whose order they follow")
        matrix = load_npy(path) if path.suffix == ".npy" else load_npz(path)
        if matrix.shape[:1] != (len(items.file_order),):
            n = matrix.shape[0] if matrix.ndim else 0
            raise DataError(
                f"{path} has {n:,} rows for the {len(items.file_order):,} of the items file; expected one for each"
            )
        return matrix, items.file_order
    if features.id is None:
        raise DataError(f"{path}: the card must name its id column (features: id)")
    table, _ = without_index(read_any(path, sep, (features.id,)), str(path))
    need_columns(table.columns, [features.id], str(path))
    tokens = to_tokens(table[features.id], str(path))
    columns = [to_numbers(table[c], str(path)) for c in table.columns if c != features.id]
    return np.stack(columns, axis=1) if columns else np.empty((len(table), 0)), tokens


def _modality(folder: Path, features: Features, items: _Side, sep: str) -> tuple[Modality, list[str]]:
    """The features in the order of our item numbers; items without a row are masked."""
    source = str(folder / features.file)
    values, tokens = _feature_matrix(folder, features, items, sep)
    given = np.ones(len(tokens), dtype=bool)
    if features.mask:
        given = load_npy(folder / features.mask)
        if given.dtype != bool or given.shape != (len(tokens),):
            raise DataError(f"{folder / features.mask}: expected {len(tokens):,} values of type bool")
    checked, notes = make_modality(values, source, given)
    at = positions(items.ids, tokens)
    if (bad := at < 0).any():
        if bad.all():
            said = examples(items.ids, tokens, source)
            raise DataError(f"{source}: none of its rows is of an item that there is, such as {said}")
        if items.file_order is not None:
            raise DataError(
                f"{source}: row {np.argmax(bad)}: item '{tokens[np.argmax(bad)]}' is not in the items file; give it a "
                "row there, or take it out here"
            )
        notes = [
            *notes,
            f"{features.file}: {bad.sum():,} of {len(bad):,} rows are of items that no interaction has, and are not "
            "read; an items file that names them would keep them in the catalogue",
        ]
        at, checked = at[~bad], Modality(checked.features[~bad], checked.mask[~bad])
    if len(np.unique(at)) < len(at):
        raise DataError(f"{source}: an item has two rows of features; expected one")
    if len(at) == len(items.ids) and (at == np.arange(len(at))).all():
        return replace(checked, made_of=features.made_of), notes
    where = np.full(len(items.ids), -1)
    where[at] = np.arange(len(at))
    given_row = where >= 0
    rows = checked.features[np.where(where >= 0, where, 0)]
    return replace(make_modality(rows, source, given_row)[0], made_of=features.made_of), notes


def _names(column: str, entities: Entities | None) -> tuple[str, ...]:
    return (column,) if entities is None or entities.id == column else (column, entities.id)


def read(folder: Path, card: Card) -> Dataset:
    """The folder as a Dataset. DataError where anything is amiss."""
    options = card.options_as(TableOptions)
    path, columns = folder / options.interactions, options.columns
    source = str(path)
    mapped = {ours: theirs for ours, theirs in columns if theirs is not None}
    raw = read_any(path, options.sep, (columns.user, columns.item), dict.fromkeys(mapped.values()))
    need_columns(raw.columns, mapped.values(), source)
    frame, sides, notes = pd.DataFrame(index=raw.index), {}, list[str]()
    given: dict[str, np.ndarray] = {}
    for key, entities in (("user", options.users), ("item", options.items)):
        codes = to_codes(raw[mapped[key]], source)
        given[key] = codes.distinct
        sides[key] = _Side(folder, entities, codes.distinct, options)
        notes += sides[key].notes
        frame[key] = codes.places(sides[key].ids)
        if (bad := (frame[key] < 0).to_numpy()).any():
            unknown = codes.distinct[codes.numbers[np.argmax(bad)]]
            raise DataError(f"{source}: {key} '{unknown}' is not in {entities and entities.file}")
    if options.positive_from is not None:
        need_columns(mapped, ["rating"], f"options of card {card.name}: columns")
    frame, read = observed(frame, raw, mapped, options.positive_from, source)
    notes += read
    del raw, codes  # as large as the data set itself
    modalities = {}
    for name, features in options.features.items():
        modalities[name], more = _modality(folder, features, sides["item"], options.sep)
        notes += more
    for key, entities in (("user", options.users), ("item", options.items)):
        known = sides[key].file_order
        if entities is not None and known is not None:
            notes += check_join(
                given[key], known, key, source, str(folder / entities.file), options.min_joined
            )
    for name, encoder in options.content.items():
        if name not in modalities:
            modalities[name] = made_of(sides["item"].attributes, name, encoder, str(folder))
    return assemble(
        card.name,
        frame,
        source=source,
        ids=(sides["user"].ids, sides["item"].ids),
        modalities=modalities,
        attributes=Attributes(sides["user"].attributes, sides["item"].attributes),
        notes=notes,
        encoders=options.content,
        id_columns={"user": _names(columns.user, options.users), "item": _names(columns.item, options.items)},
    )
