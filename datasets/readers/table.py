"""Tables with a card that maps their columns: CSV, TSV, Parquet and JSON lines, plain or compressed.

Interactions in one file; optionally attributes of users and items, features (see `recsys.datasets.readers.features`),
and raw content that encoders make into features.
"""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict, Field

from recsys.datasets.assembly import Attributes, align, assemble
from recsys.datasets.cards import Card, File
from recsys.datasets.checks import PARTS, need_columns, number_ids, one_table, positions, to_codes, to_tokens
from recsys.datasets.content import CONTENT
from recsys.datasets.content.encode import gather
from recsys.datasets.content.encoder import encoder_options
from recsys.datasets.content.make import make_modalities, without_raw
from recsys.datasets.content.spec import Content, ContentSpec
from recsys.datasets.dataset import Dataset, Modality
from recsys.datasets.files import read_table, without_index
from recsys.datasets.frames import observed
from recsys.datasets.joins import check_join
from recsys.datasets.readers.features import Features, read_features
from recsys.errors import DataError, nearest


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
    """A file of users or items.

    Attributes:
        file, id: the file, and its id column.
        rename: new names for its other columns.
        drop: columns that are not read.
        sep: between the columns of `.csv`, `.dat` and `.txt`; the interactions' where not given.
        header: names of its columns, where its first line is none.
        encoding: of its text.
    """

    file: File
    id: str
    rename: dict[str, str] = {}
    drop: tuple[str, ...] = ()
    sep: str = ""
    header: tuple[str, ...] = ()
    encoding: Literal["utf-8", "latin-1"] = "utf-8"


class TableOptions(Strict):
    """The card's `options`.

    Attributes:
        interactions: the file of interactions: `.csv`, `.tsv`, `.parquet`, `.jsonl`, ..., perhaps compressed; or the
            files of a split's parts: train, test, and perhaps valid.
        columns: its columns.
        sep: between the columns of `.csv`, `.dat` and `.txt` files.
        header: names of the interactions' columns, where the file's first line is none.
        encoding: of the interactions' text.
        positive_from: keep interactions rated at least this; all where None.
        users, items: attribute files; items that only they name stay in the catalogue.
        features: modality -> file.
        content: modality -> the content encoder that makes it of the items file's column of the same name, or a mapping
            that says more: see `ContentSpec`. New items may come with the same columns. Where `features` names a file
            for the modality too, that was made so.
        aliases: "user", "item" -> what other columns of files of new users and items may be called -> what the
            columns are called here; "" for those that are not read.
        min_joined: share of the interactions' users and items that the users and items files must have.
        numbering: "sorted": ids in numeric (else lexicographic) order; "file": in the order of the users and
            items files, which must then name every id.
    """

    interactions: File | dict[Literal["train", "valid", "test"], File]
    columns: Columns = Columns()
    sep: Annotated[str, Field(min_length=1)] = ","
    header: tuple[str, ...] = ()
    encoding: Literal["utf-8", "latin-1"] = "utf-8"
    positive_from: float | None = None
    users: Entities | None = None
    items: Entities | None = None
    features: dict[str, Features] = {}
    content: dict[str, Content] = {}
    aliases: dict[Literal["user", "item"], dict[str, str]] = {}
    min_joined: Annotated[float, Field(ge=0, le=1)] = 1.0
    numbering: Literal["sorted", "file"] = "sorted"


class _Side:
    """Users or items: raw ids in order, attributes, and the order of the attribute file."""

    def __init__(self, folder: Path, entities: Entities | None, tokens: np.ndarray, options: TableOptions):
        self.notes: list[str] = []
        if entities is None:
            if options.numbering == "file":
                raise DataError(f"{folder}: numbering 'file' needs a users and an items file")
            self.ids, self.file_order, self.attributes = number_ids(tokens), None, None
            self.renames: dict[str, str] = {}
            return
        path = folder / entities.file
        table, self.notes = without_index(
            read_table(
                path,
                entities.sep or options.sep,
                ids=(entities.id,),
                header=entities.header,
                encoding=entities.encoding,
            ),
            str(path),
        )
        for column in (*entities.drop, *entities.rename):
            if column not in table:
                raise DataError(f"{path}: has no column '{column}'{nearest(column, map(str, table))}")
        need_columns(table.columns, [entities.id], str(path))
        self.file_order = to_tokens(table[entities.id], str(path))
        if options.numbering == "file":
            self.ids = self.file_order.astype(str)
        else:
            self.ids = number_ids(self.file_order, tokens)
        self.attributes = align(table, entities.id, self.ids, str(path)).rename(columns=entities.rename)
        self.renames = entities.rename | dict.fromkeys(entities.drop, "")


def _is_matrix(spec: ContentSpec) -> bool:
    """Whether a file holds the features themselves, and not raw content."""
    return spec.encoder == "vector" and spec.file is not None and not spec.columns


def _from_file(folder: Path, name: str, spec: ContentSpec, items: _Side, sep: str) -> pd.Series:
    """The cells of content that lies in a file of its own, one an item; several rows of one item are put together
    where the encoder knows cells of several values."""
    path = folder / str(spec.file)
    table = read_table(path, sep, ids=(spec.id,))
    need_columns(table.columns, [spec.id], str(path))
    tokens = to_tokens(table[spec.id], str(path))
    rest = [str(column) for column in table if column != spec.id]
    columns = spec.columns or ((name,) if name in rest else tuple(rest))
    separated = "separator" in encoder_options(CONTENT.get(spec.encoder))
    template = spec.template
    if not template and len(columns) > 1:
        template = ("=" if separated else " ").join("{" + column + "}" for column in columns)
    read = spec.model_copy(update={"columns": columns, "template": template})
    cells = pd.Series(gather(read, name, table.reset_index(drop=True), tokens), dtype=object)
    if not (positions(items.ids, tokens) >= 0).any():
        raise DataError(
            f"{path}: none of its rows is of an item that there is; is '{spec.id}' its column of ids?"
        )
    if separated:
        cells = cells.groupby(tokens, sort=False).agg(str(spec.options.get("separator", "|")).join)
    elif len(set(tokens)) < len(tokens):
        twice = pd.Series(tokens)[pd.Series(tokens).duplicated()].iloc[0]
        raise DataError(f"{path}: item '{twice}' occurs twice; expected a row for each item")
    else:
        cells = cells.set_axis(pd.Index(tokens))
    return cells.reindex(items.ids.astype(object)).fillna("").reset_index(drop=True)


def _content(folder: Path, options: TableOptions, items: _Side, made: Mapping[str, Modality]):
    """What the encoders make of the items' raw content, and what new items can be encoded by; content of a file of its
    own becomes an attribute."""
    specs = {name: spec for name, spec in options.content.items() if not _is_matrix(spec)}
    todo = {name: spec for name, spec in specs.items() if name not in made}
    for name, spec in todo.items():
        if spec.file is None:
            continue
        column = _from_file(folder, name, spec, items, options.sep)
        own = pd.DataFrame(index=range(len(items.ids))) if items.attributes is None else items.attributes
        if name in own:
            raise DataError(
                f"{folder / spec.file}: the items have a column '{name}' already; rename the modality"
            )
        items.attributes = own.assign(**{name: column})
        specs[name] = spec.model_copy(update={"file": None, "columns": (), "template": ""})
    done = make_modalities(
        {name: specs[name] for name in todo}, items.attributes, items.ids, str(folder), folder
    )
    for name, spec in todo.items():
        if spec.file:
            origin = f"{', '.join(spec.columns) or 'the texts'} of {spec.file}"
            done.provenance[name] = replace(done.provenance[name], made_of=origin)
    if items.attributes is not None:
        drop = options.items.drop if options.items else ()
        items.attributes = without_raw(items.attributes, specs, drop)
    return done, specs


def _names(column: str, entities: Entities | None) -> tuple[str, ...]:
    return (column,) if entities is None or entities.id == column else (column, entities.id)


def _placed(
    column: pd.Series, folder: Path, entities: Entities | None, options: TableOptions, source: str
) -> tuple[np.ndarray, _Side, np.ndarray]:
    """The distinct ids of a column of users or items, what is known of these, and each row's place among them."""
    codes = to_codes(column, source)
    side = _Side(folder, entities, codes.distinct, options)
    places = codes.places(side.ids)
    if (bad := places < 0).any():
        unknown = codes.distinct[codes.numbers[np.argmax(bad)]]
        raise DataError(f"{source}: {column.name} '{unknown}' is not in {entities and entities.file}")
    return codes.distinct, side, places


def _interactions(
    folder: Path, options: TableOptions, mapped: dict[str, str], where: str
) -> tuple[pd.DataFrame, str]:
    """The rows of the file of interactions, or of the parts' files, whose labels `mapped` then has; and what messages
    call it."""
    parts = options.interactions
    files = {"": parts} if isinstance(parts, str) else dict(parts)
    if isinstance(parts, dict):
        if not {"train", "test"} <= parts.keys():
            raise DataError(f"{where}: interactions: expected files of train and test, and perhaps of valid")
        if "label" in mapped:
            raise DataError(f"{where}: columns: label: the files say the parts; leave it out")
    raw: dict[str, tuple[str, pd.DataFrame]] = {}
    for part, file in files.items():
        frame = read_table(
            folder / file,
            options.sep,
            ids=(options.columns.user, options.columns.item),
            columns=dict.fromkeys(mapped.values()),
            header=options.header,
            encoding=options.encoding,
        )
        need_columns(frame.columns, mapped.values(), str(folder / file))
        raw[part] = file, frame
    if isinstance(parts, str):
        return raw[""][1], str(folder / parts)
    if "label" in raw["train"][1]:
        raise DataError(f"{folder / files['train']}: a column 'label' beside files of parts; use one of them")
    mapped["label"] = "label"
    return one_table(
        {part: raw[part] for part in PARTS if part in raw}
    ), f"{folder} ({', '.join(files.values())})"


def read(folder: Path, card: Card) -> Dataset:
    """The folder as a Dataset. DataError where anything is amiss."""
    options = card.options_as(TableOptions)
    columns = options.columns
    mapped = {ours: theirs for ours, theirs in columns if theirs is not None}
    raw, source = _interactions(folder, options, mapped, f"options of card {card.name}")
    entities_of = {"user": options.users, "item": options.items}
    given, sides, places = dict[str, np.ndarray](), dict[str, _Side](), dict[str, np.ndarray]()
    # NumPy numbers users and items at the same time; of two errors the users' is raised.
    with ThreadPoolExecutor(2) as pool:
        tasks = {
            key: pool.submit(_placed, raw[mapped[key]], folder, of, options, source)
            for key, of in entities_of.items()
        }
    for key, task in tasks.items():
        given[key], sides[key], places[key] = task.result()
    notes = [note for side in sides.values() for note in side.notes]
    if options.positive_from is not None:
        need_columns(mapped, ["rating"], f"options of card {card.name}: columns")
    frame = pd.DataFrame(places, index=raw.index, copy=False)
    frame, read = observed(frame, raw, mapped, options.positive_from, source)
    notes += read
    beside = [str(column) for column in raw if column not in (columns.user, columns.item)]
    del raw, places, tasks, task  # as large as the data set itself
    items, modalities = sides["item"], {}
    matrices = {name: _as_features(spec) for name, spec in options.content.items() if _is_matrix(spec)}
    for name, features in {**matrices, **options.features}.items():
        modalities[name], more = read_features(folder, features, items.ids, items.file_order, options.sep)
        notes += more
    for key, entities in entities_of.items():
        known = sides[key].file_order
        # The ids are those of both; where they are no more than the file's there is nothing to join.
        if entities is not None and known is not None and len(sides[key].ids) > len(known):
            notes += check_join(
                given[key], known, key, source, str(folder / entities.file), options.min_joined
            )
    made, specs = _content(folder, options, items, modalities)
    users = sides["user"]
    if users.attributes is not None and options.users:
        users.attributes = users.attributes.drop(columns=list(options.users.drop))
    shown = set() if users.attributes is None else set(users.attributes)
    return assemble(
        card.name,
        frame,
        source=source,
        ids=(users.ids, items.ids),
        modalities=_in_order(modalities | made.modalities, options),
        attributes=Attributes(users.attributes, items.attributes),
        notes=[*notes, *made.notes],
        encoders=specs,
        declared=made.provenance,
        id_columns={"user": _names(columns.user, options.users), "item": _names(columns.item, options.items)},
        renames={
            "user": dict.fromkeys((c for c in beside if c not in shown), "")
            | users.renames
            | options.aliases.get("user", {}),
            "item": items.renames | options.aliases.get("item", {}),
        },
        folder=folder,
    )


def _as_features(spec: ContentSpec) -> Features:
    return Features(file=str(spec.file), id=spec.id, ids=spec.ids, key=spec.key)


def _in_order(modalities: Mapping[str, Modality], options: TableOptions) -> dict[str, Modality]:
    """As the card names them: features first, then content."""
    names = dict.fromkeys([*options.features, *options.content])
    return {name: modalities[name] for name in names}
