"""RecBole's atomic files: `NAME.inter .item .user .kg .link`, tab-separated, headers `name:type` with the types
token, token_seq, float and float_seq. In place of `NAME.inter` a split may be given: `NAME.train.inter`,
`NAME.test.inter` and perhaps `NAME.valid.inter`.

Item columns of type float_seq become modalities; texts and knowledge-graph facts do where the card asks for
them, reduced by truncated SVD fitted without looking at the interactions. Users and items of `.user` and
`.item` stay in the catalogue though no interaction of theirs is positive.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict, Field, PositiveInt

from recsys.datasets.assembly import Attributes, align, assemble, make_modality
from recsys.datasets.cards import Card, Seed
from recsys.datasets.checks import (
    PARTS,
    need_columns,
    number_ids,
    one_table,
    positions,
    taken,
    to_codes,
    to_numbers,
    to_tokens,
)
from recsys.datasets.content.encode import ContentEncoder, run_encoder
from recsys.datasets.content.features import facts_modality
from recsys.datasets.dataset import Dataset, Modality
from recsys.datasets.files import is_there, read_delimited
from recsys.datasets.joins import check_join
from recsys.datasets.readers import recognised_by
from recsys.datasets.readers.mmrec import inter_file, inter_header
from recsys.datasets.times import to_timestamps
from recsys.errors import DataError

TYPES = ("token", "token_seq", "float", "float_seq")


class AtomicOptions(BaseModel):
    """The card's `options`.

    Attributes:
        positive_from: keep interactions rated at least this; all where None.
        min_joined: share of the interactions' users and items that the `.user` and `.item` files must have.
        rename: attribute columns, file's name -> ours (`title` is what is printed of an item).
        text: item columns (our names) whose words make the modality `text`.
        text_encoder: name of the content encoder of `text`.
        knowledge: make the modality `knowledge` of `.kg` and `.link`.
        width, seed: of the truncated SVD.
    """

    model_config = ConfigDict(extra="forbid")

    positive_from: float | None = None
    min_joined: Annotated[float, Field(ge=0, le=1)] = 1.0
    rename: dict[str, str] = {}
    text: tuple[str, ...] = ()
    text_encoder: ContentEncoder = "tfidf"
    knowledge: bool = False
    width: PositiveInt = 64
    seed: Seed = 0


def read_typed(path: Path, types: dict[str, str] | None = None) -> pd.DataFrame:
    """One atomic file: token columns as str, float columns as float64, sequences as they are written.

    Args:
        types: filled with column -> type where given.
    """
    raw = read_delimited(path, text=True)
    columns = {}
    for header in raw.columns:
        name, _, kind = header.partition(":")
        if kind not in TYPES:
            raise DataError(f"{path}: column '{header}': expected name:type, type one of {', '.join(TYPES)}")
        column = raw[header].rename(name)
        if kind == "float":
            # An empty entry of an attribute is a missing value, not a fault.
            filled = column.where(column != "", "0")
            column = pd.Series(to_numbers(filled, str(path)), index=raw.index, name=name).where(column != "")
        columns[name] = column
        if types is not None:
            types[name] = kind
    return pd.DataFrame(columns, index=raw.index)


def _vectors(column: pd.Series, source: str) -> np.ndarray:
    """A float_seq column as a matrix; rows of zeros where an entry is empty."""
    parts = column.str.split()
    lengths = parts.str.len().to_numpy()
    width = int(lengths.max(initial=0))
    if (bad := (lengths != width) & (lengths != 0)).any():
        raise DataError(
            f"{source}: row {np.argmax(bad)} of {column.name} has {lengths[np.argmax(bad)]} numbers for {width}"
        )
    matrix = np.zeros((len(column), width))
    try:
        matrix[lengths > 0] = np.array(parts[lengths > 0].tolist(), dtype=np.float64).reshape(-1, width)
    except ValueError as error:
        raise DataError(f"{source}: {column.name}: {error}") from None
    return matrix


def _entities(path: Path, key: str, rename: dict[str, str]) -> tuple[pd.DataFrame | None, dict[str, str]]:
    """An attribute file (None where there is none) with our column names, and the columns' types."""
    if not is_there(path):
        return None, {}
    types: dict[str, str] = {}
    frame = read_typed(path, types)
    need_columns(frame.columns, [key], str(path))
    return frame.rename(columns=rename), {rename.get(c, c): kind for c, kind in types.items()}


def _knowledge(stem: Path, item_ids: np.ndarray, options: AtomicOptions) -> Modality:
    link_path, kg_path = stem.with_name(stem.name + ".link"), stem.with_name(stem.name + ".kg")
    link, kg = read_typed(link_path), read_typed(kg_path)
    need_columns(link.columns, ("item_id", "entity_id"), str(link_path))
    need_columns(kg.columns, ("head_id", "relation_id", "tail_id"), str(kg_path))
    link = link.assign(item=positions(item_ids, to_tokens(link["item_id"], str(link_path))))
    facts = kg.merge(link[link["item"] >= 0], left_on="head_id", right_on="entity_id")
    if facts.empty:
        raise DataError(f"{kg_path}: no head is an entity of {link_path}; expected facts about the items")
    # Sorted keys, so that neither file's row order shows in the features.
    number = facts.groupby(["relation_id", "tail_id"], sort=True).ngroup().to_numpy()
    return facts_modality(facts["item"].to_numpy(), number, len(item_ids), options.width, options.seed)


def _modalities(stem: Path, item_ids: np.ndarray, items: pd.DataFrame, types: dict, options: AtomicOptions):
    """Item modalities and what was noted on the way; takes the vector columns out of the attributes."""
    source, modalities, notes = f"{stem}.item", {}, []
    for column in [c for c, kind in types.items() if kind == "float_seq"]:
        modalities[column], more = make_modality(_vectors(items.pop(column), source), f"{source}: {column}")
        notes += more
    if options.text:
        need_columns(items.columns, options.text, source)
        columns = (items[column].astype(str) for column in options.text)
        texts = [" ".join(cells) for cells in zip(*columns, strict=True)]
        modalities["text"] = run_encoder(
            options.text_encoder, texts, source, width=options.width, seed=options.seed
        )
    if options.knowledge:
        modalities["knowledge"] = _knowledge(stem, item_ids, options)
    return modalities, notes


def recognises(folder: Path) -> bool:
    """A `.inter` file whose header has RecBole's types."""
    columns = inter_header(folder)
    return bool(columns) and "userID" not in columns


def _interactions(folder: Path, name: str) -> tuple[pd.DataFrame, str, Path]:
    """The rows, with a column `part` where they are those of a split; what messages call their file; and its name
    without an ending."""
    parts = {part: path for part in PARTS for path in folder.glob(f"*.{part}.inter")}
    if {"train", "test"} <= parts.keys() and not (folder / f"{name}.inter").is_file():
        stem = folder / parts["train"].name.removesuffix(".train.inter")
        files = {part: stem.with_name(f"{stem.name}.{part}.inter") for part in parts}
        rows = {part: (path.name, read_typed(path)) for part, path in files.items()}
        return one_table(rows, "part"), f"{folder} ({', '.join(p.name for p in files.values())})", stem
    path = inter_file(folder, name)
    return read_typed(path), str(path), path.with_suffix("")


@recognised_by(recognises)
def read(folder: Path, card: Card) -> Dataset:
    """The folder as a Dataset, ids in sorted order. DataError where anything is amiss."""
    options = card.options_as(AtomicOptions)
    raw, source, stem = _interactions(folder, card.name)
    need_columns(raw.columns, ("user_id", "item_id"), source)
    users, _ = _entities(stem.with_name(stem.name + ".user"), "user_id", options.rename)
    items, item_types = _entities(stem.with_name(stem.name + ".item"), "item_id", options.rename)
    ids, codes, tables, joins = [], [], [], []
    for key, table, kind in (("user_id", users, ".user"), ("item_id", items, ".item")):
        file = str(stem) + kind
        codes.append(to_codes(raw[key], source))
        distinct = codes[-1].distinct
        known = [] if table is None else [to_tokens(table[key], file)]
        ids.append(number_ids(distinct, *known))
        joins += [(distinct, known[0], key.removesuffix("_id"), source, file)] if known else []
        empty = pd.DataFrame(index=range(len(ids[-1])))
        tables.append(empty if table is None else align(table, key, ids[-1], file))
    frame = pd.DataFrame({"user": codes[0].places(ids[0]), "item": codes[1].places(ids[1])}, index=raw.index)
    if "part" in raw:
        frame["label"] = raw["part"]
    if "rating" in raw:
        frame["rating"] = to_numbers(raw["rating"], source)
    times: list[str] = []
    if "timestamp" in raw:
        frame["timestamp"], times = to_timestamps(raw["timestamp"], source)
    if "label" in raw:
        observed = to_numbers(raw["label"], source) > 0
        if not observed.all():
            times = [
                *times,
                f"{stem.name}.inter: {(~observed).sum():,} rows with label 0 are no interactions",
            ]
        frame = frame[observed]
    frame, left_out = taken(frame, options.positive_from, source)
    modalities, notes = _modalities(stem, ids[1], tables[1], item_types, options)
    for join in joins:
        notes += check_join(*join, options.min_joined)
    return assemble(
        card.name,
        frame,
        source=source,
        ids=(ids[0], ids[1]),
        modalities=modalities,
        attributes=Attributes(*tables),
        notes=[*times, *left_out, *notes],
    )
