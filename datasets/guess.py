"""A card for a folder that has none, from what its files look like: a proposal with reasons, to be corrected."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Container
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from recsys.datasets.cards import CARD_FILE, Card, is_plain
from recsys.datasets.compressed import plain_suffix
from recsys.datasets.content.columns import AMOUNT
from recsys.datasets.content.files import Files, is_archive
from recsys.datasets.content.spec import ContentSpec
from recsys.datasets.files import TABLES, read_table, without_index
from recsys.datasets.readers import guess_reader
from recsys.errors import DataError

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
SEPARATORS = ("|", ";", ",", " > ", "/")
"""That may stand between the values of one cell."""
PICTURES = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp")
SOUNDS = (".wav", ".flac", ".mp3", ".ogg")
MAYBE = (".txt", ".dat", ".json")
"""Kinds of files that may be tables."""
LINK = re.compile(r"(?:https?|ftp)://\S+|www\.\S+")


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
    reasons: list[str] = []
    tables = _tables(folder, reasons)
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
        found_content, drop = _content(folder, table.drop(columns=items["id"]), reasons)
        named = [spec for spec in found_content.values() if isinstance(spec, dict)]
        if not any("names" in s or "folder" in s or "archive" in s for s in named):
            found_content |= _files_by_id(folder, table[items["id"]].astype(str), found_content, reasons)
        options["content"] = found_content
        if drop:
            items["drop"] = drop
        modalities = [*options["features"], *options["content"]]
    used = [file, *(options[key]["file"] for key in ("users", "items") if key in options)]
    used += [one["file"] for one in options.get("features", {}).values()]
    contents = [ContentSpec.of(spec) for spec in options.get("content", {}).values()]
    used += [spec.archive for spec in contents if spec.archive]
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
    columns_of = {}
    for name, table in tables.items():
        columns: dict[str, str] = {}
        for meaning, pattern in NAMES.items():
            free = [str(c) for c in table.columns if str(c) not in columns.values()]
            if named := next((c for c in free if re.search(pattern, _words(c))), None):
                columns[meaning] = named
        if {"user", "item"} <= columns.keys():
            columns_of[name] = columns
    if not columns_of:
        headers = "; ".join(f"{name}: {', '.join(map(str, t.columns[:6]))}" for name, t in tables.items())
        raise DataError(
            f"{folder}: no table has a column of users and one of items ({headers or 'there is no table'}); write the "
            f"{CARD_FILE} by hand (docs/add-a-data-set.md)"
        )
    file = max(columns_of, key=lambda name: len(tables[name]))
    said = ", ".join(f"{meaning} is '{column}'" for meaning, column in columns_of[file].items())
    reasons.append(f"{file} holds the interactions: {said}, by their names")
    return file, columns_of[file]


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


def _tables(folder: Path, reasons: list[str]) -> dict[str, pd.DataFrame]:
    """The folder's tables by name; a file of a kind that may be something else is left out where it is no table."""
    tables = {}
    for path in sorted(folder.iterdir()):
        if not path.is_file() or plain_suffix(path) not in TABLES:
            continue
        try:
            table = without_index(read_table(path), str(path))[0]
        except DataError as error:
            if plain_suffix(path) not in MAYBE:
                raise
            reasons.append(f"{path.name} is no table: {error}")
            continue
        if len(table.columns) > 1:
            tables[path.name] = table
    return tables


def _content(
    folder: Path, table: pd.DataFrame, reasons: list[str]
) -> tuple[dict[str, str | dict[str, Any]], list[str]]:
    """Columns of items that can become a modality, with how; and columns that are no use as attributes."""
    content: dict[str, str | dict[str, Any]] = {}
    drop: list[str] = []
    for column in map(str, table.columns):
        values = table[column].dropna()
        texts = values.astype(str)
        if len(texts) and texts.str.fullmatch(LINK.pattern).mean() > JOINED:
            reasons.append(f"'{column}' holds links, and is not read")
            drop.append(column)
            continue
        if _file_names(values):
            spec = _files_of(folder, column, texts, reasons)
            if spec and is_plain(column):
                content[column] = spec
            elif not spec:
                drop.append(column)
            continue
        if not is_plain(column):
            reasons.append(f"'{column}' cannot name a modality; rename it under items to make it one")
            continue
        if separator := _separator(texts):
            content[column] = (
                "category" if separator == "|" else {"encoder": "category", "separator": separator}
            )
            reasons.append(
                f"'{column}' becomes a modality by the encoder category: several values in a cell, separated by "
                f"'{separator}'"
            )
            continue
        for encoder, fits, why in _KINDS:
            if fits(values):
                content[column] = encoder
                reasons.append(f"'{column}' becomes a modality by the encoder {encoder}: {why}")
                break
        else:
            reasons.append(f"'{column}' stays an attribute: neither numbers, words nor categories")
    return content, drop


def _files_of(folder: Path, column: str, texts: pd.Series, reasons: list[str]) -> dict[str, Any] | None:
    """How a column of file names becomes a modality: where the files are, and the encoder; None where they are not."""
    encoder = "audio" if texts.str.lower().str.endswith(SOUNDS).mean() > JOINED else "image"
    for place in [folder, *_places(folder)]:
        held = Files([place])
        share = np.mean([bool(held.read(name)) for name in texts[:200]])
        if share > JOINED:
            where = {} if place == folder else {"archive" if is_archive(place) else "folder": place.name}
            reasons.append(
                _told(f"'{column}' names files, {share:.0%} of which are in {place.name}", encoder)
            )
            return {"encoder": encoder} | where
    reasons.append(
        f"'{column}' names files that are not in this folder, and is not read; put them in a folder or archive here, "
        f"and give content an entry such as {column}: {{encoder: {encoder}, folder: pictures}}"
    )
    return None


def _told(found: str, encoder: str) -> str:
    better = {"image": "efficientnet-lite0 or timm", "audio": "transformers-audio"}[encoder]
    return (
        f"{found}: a modality by the encoder {encoder}, which has no trained weights; {better} sees more, where "
        "installed (recsys list content)"
    )


def _places(folder: Path) -> list[Path]:
    """Folders and archives that may hold pictures or sounds."""
    inside = sorted(folder.iterdir())
    return [
        path for path in inside if (path.is_dir() and not path.name.startswith(".")) or _holds_files(path)
    ]


def _holds_files(path: Path) -> bool:
    """Whether an archive is more than a compressed table."""
    return path.is_file() and is_archive(path) and plain_suffix(path) not in TABLES


def _files_by_id(
    folder: Path, ids: pd.Series, taken: Container[str], reasons: list[str]
) -> dict[str, str | dict[str, Any]]:
    """Pictures or sounds that are named by the items' ids, in a folder or archive."""
    for place in _places(folder):
        stems = dict(Files([place]).stems())
        joined = [item for item in ids if item in stems]
        if len(joined) <= JOINED * len(ids):
            continue
        endings = Counter(Path(stems[item]).suffix for item in joined)
        ending = endings.most_common(1)[0][0]
        encoder = "audio" if ending.lower() in SOUNDS else "image"
        if ending.lower() not in (*PICTURES, *SOUNDS):
            continue
        name = "photo" if encoder == "image" else "sound"
        name = name if name not in taken else f"{name}_file"
        share = len(joined) / len(ids)
        reasons.append(
            _told(f"{place.name} holds a file named by its id for {share:.0%} of the items", encoder)
        )
        where = "archive" if is_archive(place) else "folder"
        return {name: {"encoder": encoder, where: place.name, "names": "{id}" + ending}}
    return {}


def _separator(texts: pd.Series) -> str | None:
    """What stands between the values of a column's cells, where its values come again and again."""
    for separator in SEPARATORS:
        several = texts.str.contains(separator, regex=False)
        if not several.any():
            continue
        values = [value.strip() for text in texts for value in text.split(separator) if value.strip()]
        short = np.mean([len(value.split()) <= 3 for value in values]) > 0.9
        again = len(set(values)) <= max(3, FEW_VALUES * len(values))
        if several.mean() > 0.1 and short and again and not texts.map(_is_amount).all():
            return separator
    return None


def _is_amount(text: str) -> bool:
    return AMOUNT.fullmatch(text.strip()) is not None


def _number(values: pd.Series) -> bool:
    return len(values) > 0 and pd.api.types.is_numeric_dtype(values) and values.nunique() > 2


def _price(values: pd.Series) -> bool:
    """Amounts with a currency, such as "$9.50"."""
    return len(values) > 0 and bool(values.astype(str).map(_is_amount).all()) and values.nunique() > 2


def _category(values: pd.Series) -> bool:
    texts = values.astype(str)
    return bool(texts.str.contains("|", regex=False).any() or 1 < texts.nunique() <= FEW_VALUES * len(texts))


def _text(values: pd.Series) -> bool:
    return bool(values.astype(str).str.contains(" ").mean() > JOINED)


def _file_names(values: pd.Series) -> bool:
    return bool(values.astype(str).str.fullmatch(r"\S+\.[A-Za-z]\w{1,3}").mean() > JOINED)


_KINDS: tuple[tuple[str, Callable[[pd.Series], bool], str], ...] = (
    ("number", _number, "its values are numbers"),
    ("number", _price, "its values are amounts of money"),
    ("category", _category, "few different values, or several in a cell"),
    ("text", _text, "words"),
)
