"""A card for a folder that has none, from what its files look like: a proposal with reasons, to be corrected."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from recsys.datasets.cards import CARD_FILE, Card, is_plain
from recsys.datasets.files import read_table, without_index
from recsys.datasets.readers import guess_reader
from recsys.errors import DataError

TABLES = (".csv", ".tsv", ".parquet")
NAMES = {
    "user": r"user|customer|client|member|visitor|buyer|account|reader|viewer|listener|uid",
    "item": r"item|product|article|sku|asin|movie|film|song|track|book|video|recipe|news|offer|iid",
    "timestamp": r"time|date|stamp|\bat\b|when",
    "rating": r"rating|stars|score",
    "label": r"x?_?label|split|part",
}
"""What the columns of interactions are usually called."""
JOINED = 0.5
"""Share of the interactions' ids that a table of users or items must have."""
FEW_VALUES = 0.2
"""A column of text with fewer different values than this share of its rows is a category."""


@dataclass
class Guess:
    """A proposal.

    Attributes:
        card: the card.
        reasons: one line for each decision.
    """

    card: Card
    reasons: list[str] = field(default_factory=list)


def guess_card(folder: Path) -> Guess:
    """What a card of `folder` could say: the table of interactions and its columns, those of users and items, feature
    files, and the items' columns that can become modalities.

    Raises:
        DataError: the folder is not there, has a card, is in a format that needs none, or has no table of
            interactions (names each file's header).
    """
    if not folder.is_dir():
        raise DataError(f"there is no folder {folder}")
    if (folder / CARD_FILE).exists():
        raise DataError(f"{folder} has a {CARD_FILE} already; correct that one")
    if not is_plain(folder.resolve().name):
        raise DataError(f"{folder}: its name must be letters, digits, '.', '_' or '-'; rename it")
    if reader := guess_reader(folder):
        raise DataError(f"{folder} needs no card: the reader '{reader}' knows its form")
    paths = sorted(path for path in folder.iterdir() if path.suffix in TABLES and path.is_file())
    tables = {path.name: without_index(read_table(path), str(path))[0] for path in paths}
    reasons: list[str] = []
    file, columns = _interactions(folder, tables, reasons)
    options: dict[str, Any] = {"interactions": file, "columns": columns}
    for key in ("user", "item"):
        ids = set(tables[file][columns[key]].astype(str))
        rest = {name: table for name, table in tables.items() if name != file}
        if found := _entities(rest, ids, key, reasons):
            options[f"{key}s"] = {"file": found[0], "id": found[1]}
    modalities: list[str] = []
    if items := options.get("items"):
        table = tables[items["file"]]
        options["features"] = _features(folder, len(table), reasons)
        options["content"] = _content(table.drop(columns=items["id"]), reasons)
        modalities = [*options["features"], *options["content"]]
    used = [file, *(options[key]["file"] for key in ("users", "items") if key in options)]
    used += [one["file"] for one in options.get("features", {}).values()]
    left = sorted(p.name for p in folder.iterdir() if p.is_file() and p.name not in used)
    reasons += [f"not used: {', '.join(left)}"] if left else []
    name = folder.resolve().name
    card = Card(
        name=name,
        reader="table",
        title=name,
        options={key: value for key, value in options.items() if value},
        files=dict.fromkeys(used),
        modalities=tuple(modalities),
    )
    return Guess(card, reasons)


def _interactions(
    folder: Path, tables: dict[str, pd.DataFrame], reasons: list[str]
) -> tuple[str, dict[str, str]]:
    """The file of interactions, and its columns by what they mean."""
    found = {}
    for name, table in tables.items():
        columns: dict[str, str] = {}
        for meaning, pattern in NAMES.items():
            free = [str(c) for c in table.columns if str(c) not in columns.values()]
            if named := next((c for c in free if re.search(pattern, _words(c))), None):
                columns[meaning] = named
        if {"user", "item"} <= columns.keys():
            found[name] = columns
    if not found:
        headers = "; ".join(f"{name}: {', '.join(map(str, t.columns[:6]))}" for name, t in tables.items())
        raise DataError(
            f"{folder}: no table has a column of users and one of items ({headers or 'there is no table'}); write the "
            f"{CARD_FILE} by hand (docs/add-a-data-set.md)"
        )
    file = max(found, key=lambda name: len(tables[name]))
    said = ", ".join(f"{meaning} is '{column}'" for meaning, column in found[file].items())
    reasons.append(f"{file} holds the interactions: {said}, by their names")
    return file, found[file]


def _words(column: str) -> str:
    """A column's name in small letters, its words apart."""
    return re.sub(r"[^a-z0-9]+", " ", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", column).lower()).strip()


def _entities(
    tables: dict[str, pd.DataFrame], ids: set[str], key: str, reasons: list[str]
) -> tuple[str, str] | None:
    """The file and id column that have most of the interactions' users or items, each once."""
    best: tuple[float, str, str] = (JOINED, "", "")
    for name, table in tables.items():
        for column in map(str, table.columns):
            values = table[column].astype(str)
            if values.is_unique and (share := len(ids & set(values)) / len(ids)) > best[0]:
                best = share, name, column
    if not best[1]:
        return None
    reasons.append(f"{best[1]} holds the {key}s: its column '{best[2]}' has {best[0]:.1%} of the {key}s' ids")
    return best[1], best[2]


def _features(folder: Path, rows: int, reasons: list[str]) -> dict[str, dict[str, str]]:
    """Arrays with a row for each row of the items' table."""
    features = {}
    for path in sorted(folder.glob("*.npy")):
        shape = _shape(path)
        if len(shape) == 2 and shape[0] == rows:
            features[path.stem.removesuffix("_feat")] = {"file": path.name}
            reasons.append(f"{path.name} is a modality: {shape[0]:,} rows, as the items have")
    return features


def _shape(path: Path) -> tuple[int, ...]:
    try:
        return tuple(np.load(path, mmap_mode="r", allow_pickle=False).shape)
    except (ValueError, OSError, EOFError):
        return ()


def _content(table: pd.DataFrame, reasons: list[str]) -> dict[str, str]:
    """Columns of items that can become a modality, with the encoder that makes it."""
    content = {}
    for column in map(str, table.columns):
        if _file_names(table[column].dropna()):
            reasons.append(f"'{column}' names files; to make it a modality give it an encoder, such as image")
            continue
        for encoder, fits, why in _KINDS:
            if fits(table[column].dropna()):
                content[column] = encoder
                reasons.append(f"'{column}' becomes a modality by the encoder {encoder}: {why}")
                break
    return {name: encoder for name, encoder in content.items() if is_plain(name)}


def _number(values: pd.Series) -> bool:
    return len(values) > 0 and pd.api.types.is_numeric_dtype(values) and values.nunique() > 2


def _category(values: pd.Series) -> bool:
    texts = values.astype(str)
    return bool(texts.str.contains("|", regex=False).any() or 1 < texts.nunique() <= FEW_VALUES * len(texts))


def _text(values: pd.Series) -> bool:
    return bool(values.astype(str).str.contains(" ").mean() > JOINED)


def _file_names(values: pd.Series) -> bool:
    return bool(values.astype(str).str.fullmatch(r"\S+\.[A-Za-z]\w{1,3}").mean() > JOINED)


_KINDS: tuple[tuple[str, Callable[[pd.Series], bool], str], ...] = (
    ("number", _number, "its values are numbers"),
    ("category", _category, "few different values, or several in a cell"),
    ("text", _text, "words"),
)
