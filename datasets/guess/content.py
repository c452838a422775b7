"""What becomes a modality: arrays beside the items' table, its columns, and files that are named by an item's id."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Container, Sequence
from pathlib import Path
from typing import Any
from unicodedata import category

import numpy as np
import pandas as pd

from recsys.datasets.cards import is_plain
from recsys.datasets.compressed import plain_suffix
from recsys.datasets.content.columns import AMOUNT, SEPARATOR, as_list, cells, flat
from recsys.datasets.content.files import Files, is_archive
from recsys.datasets.files import TABLES
from recsys.datasets.guess.roles import JOINED, holds_ids, means, words_of
from recsys.datasets.guess.tables import Table, typed_column

FEW_VALUES = 0.2
"""A column of text with fewer different values than this share of its rows is a category."""
SEPARATORS = (SEPARATOR, ";", ",", " > ", "/")
"""That may stand between the values of one cell."""
PICTURES = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp")
SOUNDS = (".wav", ".flac", ".mp3", ".ogg")
CURRENCIES = r"AUD|BRL|CAD|CHF|CNY|CZK|DKK|EUR|GBP|HKD|HUF|INR|JPY|KRW|MXN|NOK|NZD|PLN|RMB|RUB|Rs|SEK|SGD|TRY|USD|kr|zł"
OF_USERS = (
    r"ratings?|stars|scores?|reviews?|votes?|likes?|views?|plays|popularity|downloads?|sold|sales|"
    r"members|favou?rites"
)
"""Words in names of columns of numbers that sum up interactions."""
LINK = re.compile(r"(?:https?|ftp)://\S+|www\.\S+")
Specs = dict[str, str | dict[str, Any]]
"""Modality -> its entry in a card's content."""


def guess_features(folder: Path, rows: int, reasons: list[str]) -> dict[str, dict[str, str]]:
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


def guess_content(
    folder: Path,
    table: pd.DataFrame,
    id_column: str,
    ids: pd.Series,
    taken: Container[str],
    reasons: list[str],
) -> tuple[Specs, list[str]]:
    """Columns of items that can become a modality, with how, or files named by the items' ids; and columns that are no
    use as attributes.

    Args:
        folder: of the data set.
        table: the items', numbers as numbers.
        id_column: its column of ids.
        ids: the ids as they are written.
        taken: names of modalities that there are.
    """
    content: Specs = {}
    drop: list[str] = []
    for column in map(str, table.columns):
        if column == id_column:
            continue
        values = table[column].dropna()
        name = column if is_plain(column) else re.sub(r"[^\w.-]+", "_", column).strip("_.-")
        spec, read = _entry(folder, column, values, reasons)
        if not read:
            drop.append(column)
        if spec is None:
            continue
        if name in content or name in taken or not is_plain(name):
            reasons.append(f"'{column}' cannot name a modality; rename it under items to make it one")
            continue
        if name != column:
            spec = ({"encoder": spec} if isinstance(spec, str) else spec) | {"columns": [column]}
        content[name] = spec
    if not any(isinstance(s, dict) and {"names", "folder", "archive"} & set(s) for s in content.values()):
        content |= _files_by_id(folder, ids.astype(str), {*content, *drop}, reasons)
    return content, drop


def _entry(
    folder: Path, column: str, values: pd.Series, reasons: list[str]
) -> tuple[str | dict[str, Any] | None, bool]:
    """What a column becomes in a card's content, and whether it is of use as an attribute at least."""
    if why := _useless(column, values):
        reasons.append(f"'{column}' {why}")
        return None, False
    texts = _texts(values)
    if texts.nunique() < 2:
        reasons.append(f"'{column}' stays an attribute: {'the same for all' if len(texts) else 'empty'}")
        return None, True
    if _file_names(texts):
        spec = _files_of(folder, column, texts, reasons)
        return spec, spec is not None
    if pd.api.types.is_numeric_dtype(values) and holds_ids(column):
        reasons.append(f"'{column}' stays an attribute: its numbers are codes by their name")
        return None, True
    if (lists := texts.map(as_list)).notna().mean() > JOINED:
        encoder, why = _of_lists(lists.dropna())
        reasons.append(f"'{column}' becomes a modality by the encoder {encoder}: {why}")
        return encoder, True
    if separator := _separator(texts):
        reasons.append(
            f"'{column}' becomes a modality by the encoder category: several values in a cell, separated by "
            f"'{separator}'"
        )
        return "category" if separator == SEPARATOR else {"encoder": "category", "separator": separator}, True
    for encoder, fits, why in _KINDS:
        if fits(values if encoder == "number" else texts):
            reasons.append(f"'{column}' becomes a modality by the encoder {encoder}: {why}")
            return encoder, True
    reasons.append(f"'{column}' stays an attribute: neither numbers, words nor categories")
    return None, True


def guess_beside(
    tables: Sequence[Table],
    id_column: str,
    ids: set[str],
    sep: str,
    taken: Container[str],
    reasons: list[str],
) -> Specs:
    """Columns of further tables, such as one with a row for each genre of an item. What users did, and what was so at
    some time, is no content: a table that has a column of users or of times is left out.

    Args:
        tables: those that hold neither interactions nor users nor items.
        id_column: what the items' ids are called.
        ids: the items'.
        sep: between the columns of a table that says nothing of it, as the card's reader takes it.
        taken: names of modalities and attributes that there are.
    """
    specs: Specs = {}
    for table in tables:
        names = [str(column) for column in table.frame]
        if table.how(sep) or any(means(key, column) for key in ("user", "timestamp") for column in names):
            continue
        called = [c for c in names if words_of(c) == words_of(id_column) or means("item", c)]
        joined = (c for c in called if len(ids & set(table.frame[c].astype(str))) > JOINED * len(ids))
        if (own := next(joined, None)) is None:
            continue
        for column in _values_of(table, own, called):
            possible = (n for n in (column, Path(table.file).stem) if is_plain(n) and n not in taken)
            if name := next((n for n in possible if n not in specs), None):
                specs[name] = {"encoder": "category", "file": table.file, "id": own, "columns": [column]}
                reasons.append(
                    f"'{column}' of {table.file} becomes a modality by the encoder category: few different values, "
                    f"joined by '{own}'"
                )
    return specs


def _values_of(table: Table, own: str, called: Container[str]) -> list[str]:
    """Columns whose words or codes come again and again, though not with every item; of two that say the same, words
    rather than codes.

    Args:
        own, called: the column of items' ids, and all that are called so.
    """
    kept: list[str] = []
    texts = pd.DataFrame({str(column): cells(values) for column, values in table.frame.items()})
    different = texts.nunique()

    def pairs(one: str, other: str) -> int:
        return len(texts[[one, other]].drop_duplicates())

    for column in sorted(texts, key=holds_ids):
        numbers = pd.api.types.is_numeric_dtype(typed_column(table.frame[column])) and not holds_ids(column)
        if column in called or numbers or not _category(texts[column]):
            continue
        everywhere = pairs(own, column) > 0.9 * different[own] * different[column]
        if not everywhere and all(pairs(one, column) > different[column] for one in kept):
            kept.append(column)
    return kept


def guess_dropped(table: pd.DataFrame, id_column: str, reasons: list[str]) -> list[str]:
    """Columns of users that are no use as attributes."""
    drop = []
    for column in map(str, table.columns):
        if column != id_column and (why := _useless(column, table[column].dropna())):
            reasons.append(f"'{column}' {why}")
            drop.append(column)
    return drop


def _texts(values: pd.Series) -> pd.Series:
    """The cells that are not empty, as encoders take them."""
    texts = pd.Series(cells(values.reset_index(drop=True)), dtype=str)
    return texts[texts.str.strip() != ""]


def _useless(column: str, values: pd.Series) -> str:
    """Why a column is not even an attribute; "" where it may be one."""
    if values.map(_is_record).any():
        return "holds records inside its cells, and is not read"
    if pd.api.types.is_numeric_dtype(values):
        if re.search(rf"\b(?:{OF_USERS})\b", words_of(column)):
            return (
                "is not read: by its name it sums up what users did, which is to be predicted; take it out of drop "
                "if it does not"
            )
        return ""
    texts = _texts(values)
    links = len(texts) > 0 and texts.str.fullmatch(LINK.pattern).mean() > JOINED
    return "holds links, and is not read" if links else ""


def _of_lists(lists: pd.Series) -> tuple[str, str]:
    """The encoder of lists, and why."""
    numbers = lists.map(lambda values: all(isinstance(v, (int, float)) for v in values)).all()
    if (
        numbers
        and lists.map(len).nunique() == 1
        and lists.map(lambda v: any(isinstance(x, float) for x in v)).any()
    ):
        return "vector", "lists of numbers, all of one length"
    return "category", "a list in each cell"


def _is_record(value: object) -> bool:
    """A JSON object, or a list that holds one."""
    return isinstance(value, dict) or (
        isinstance(value, list) and any(isinstance(v, (dict, list)) for v in flat(value))
    )


def _files_of(folder: Path, column: str, texts: pd.Series, reasons: list[str]) -> dict[str, Any] | None:
    """How a column of file names becomes a modality: where the files are, and the encoder; None where they are not."""
    encoder = "audio" if texts.str.lower().str.endswith(SOUNDS).mean() > JOINED else "image"
    for place in [folder, *_places(folder)]:
        held = Files([place], deep=[] if place == folder else [place])
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


def _files_by_id(folder: Path, ids: pd.Series, taken: Container[str], reasons: list[str]) -> Specs:
    """Pictures or sounds that are named by the items' ids, in a folder or archive."""
    for place in _places(folder):
        stems = dict(Files([place], deep=[place]).stems())
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
    """Amounts, with a currency such as "$9.50" or without."""
    texts = values.astype(str)
    beside = set(texts.str.replace(r"[\d.,\s+-]", "", regex=True))
    known = all(
        not text or re.fullmatch(CURRENCIES, text) or any(category(c) == "Sc" for c in text)
        for text in beside
    )
    return known and bool(texts.map(_is_amount).all()) and texts.nunique() > 2


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
