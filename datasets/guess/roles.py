"""Which table holds the interactions, which those of users and items, and what their columns mean."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from recsys.datasets.checks import floats, to_labels
from recsys.datasets.guess.tables import Table, typed_column
from recsys.datasets.times import to_timestamps
from recsys.errors import DataError

NAMES = {
    "user": r"users?|customer|client|member|visitor|buyer|account|reader|viewer|listener|reviewer|shopper|consumer|"
    r"subscriber|student|learner|player|person|uid",
    "item": r"items?|product|article|sku|asin|isbn|movie|film|song|track|artist|album|book|video|recipe|news|offer|"
    r"game|app|anime|course|business|venue|poi|restaurant|hotel|beer|wine|paper|document|podcast|iid|location|place|content|"
    r"post|show|ad",
    "timestamp": r"time|timestamp|date|datetime|dt|dat|stamp|at|when|unix|position",
    "rating": r"rating|ratings|stars|score|overall",
    "label": r"label|split|part",
}
"""What the columns of interactions are usually called: words, any of which may stand in a name."""
NUMBERED = r"id|ids|no|nr|number|num|code|key|index|idx|sku|asin|isbn|uid|iid"
"""Words that say that a column holds ids."""
JOINED = 0.5
"""Share of the interactions' ids that a table of users or items must have."""
FIRST = 1000
"""Rows that show what a column holds."""
PART_NAMES = {"train": "train|training", "valid": "valid|validation|val|dev", "test": "test|testing"}
"""Words in names of files that hold a part of a split."""
KIND = r"event|action|behaviou?r|type|kind"
"""Words in names of columns that say what a user did."""
DATE = r"\d{4}-\d\d-\d\d(?:[T ].*)?"


class Interactions(NamedTuple):
    """The table of interactions.

    Attributes:
        table: the table.
        columns: its columns by what they mean.
        positive_from: the lowest rating that counts; None: all.
        parts: part of a split -> its table, where there are several; else empty.
    """

    table: Table
    columns: dict[str, str]
    positive_from: float | None
    parts: dict[str, Table]

    def ids(self, key: str) -> set[str]:
        """All users or items, of all parts."""
        place = list(self.table.frame.columns).index(self.columns[key])
        tables = [self.table, *(table for table in self.parts.values() if table.file != self.table.file)]
        return set().union(*(_ids(table, table.frame.columns[place]) for table in tables))


class Entities(NamedTuple):
    """A table of users or items, its column of ids, and the share of the interactions' ids that it has."""

    table: Table
    column: str
    share: float


def words_of(column: str) -> str:
    """A column's name in small letters, its words apart.

    Example:
        >>> words_of("productCode"), words_of("USER_ID")
        ('product code', 'user id')
    """
    return re.sub(r"[^a-z0-9]+", " ", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", column).lower()).strip()


def means(key: str, column: str) -> bool:
    """Whether a column, or a file, is called as those of `key` are: by a word, or by one with "id" behind it."""
    return re.search(rf"\b(?:{NAMES[key]})(?:s|id|ids|no|code)?\b", words_of(column)) is not None


def holds_ids(column: str) -> bool:
    """Whether a column's name says that it holds ids, such as "productCode" and "userid"."""
    words = words_of(column)
    return re.search(rf"(?:^|\b)(?:{NUMBERED})$|id$", words) is not None


def _named(key: str, columns: Iterable[str]) -> list[str]:
    """The columns that are called as those of `key` are, the likeliest first: ids, then the bare word."""
    found = [column for column in columns if means(key, column)]
    bare = rf"(?:{NAMES[key]})s?"
    return sorted(found, key=lambda c: (not holds_ids(c), re.fullmatch(bare, words_of(c)) is None))


def guess_interactions(folder: Path, tables: Sequence[Table], reasons: list[str]) -> Interactions:
    """The table of interactions: the longest that has a column of users and one of items by their names; else the
    longest without a header, its columns by their places.

    Raises:
        DataError: there is none; names each table's header, or why a file is no table.
    """
    found: list[tuple[Table, str, str]] = []
    for table in tables:
        names = [str(c) for c in table.frame.columns]
        users = _named("user", names)
        items = [name for name in _named("item", names) if name not in users]
        if not table.header and users and items:
            found.append((table, users[0], _shared(items, tables, table)))
    by = "by their names"
    if not found:
        for table in tables:
            places = [column for column in table.header if not _dates(table.frame[column])][:2]
            if len(places) == 2 and _repeat(table, places[0]):
                found.append((table, *places))  # type: ignore[arg-type]
        by = f"by their places, for it has no header: correct {'{columns: ...}'} where they are others"
    if not found:
        headers = "; ".join(f"{t.file}: {', '.join(map(str, t.frame.columns[:6]))}" for t in tables)
        below = ", ".join(sorted(path.name for path in folder.iterdir() if path.is_dir())[:5])
        seen = headers or "; ".join(reasons) or f"there is no table{below and f'; its folders are {below}'}"
        raise DataError(
            f"{folder}: no table has a column of users and one of items ({seen}); write the card.yaml by hand "
            "(docs/add-a-data-set.md)"
        )
    table, user, item = max(found, key=lambda one: (_repeat(one[0], one[1]), len(one[0].frame)))
    given = _columns(table, {"user": user, "item": item}, by, reasons)
    if parts := _parts(given, tables):
        given = given._replace(parts=parts)
        files = ", ".join(table.file for table in parts.values())
        reasons.append(f"{files} are the parts {', '.join(parts)} of a split, by their names")
    taken = (table.file, *(part.file for part in parts.values()))
    if others := [one.file for one, its_user, _ in found if one.file not in taken and _repeat(one, its_user)]:
        reasons.append(f"users and items are also in {', '.join(others)}, which is shorter and not read")
    return given


def _repeat(table: Table, user: str) -> bool:
    """Whether a user has several rows: else the rows are of users or items themselves."""
    return bool(table.frame[user].astype(str).duplicated().any())


def _parts(given: Interactions, tables: Sequence[Table]) -> dict[str, Table]:
    """The tables of a split's parts, of which the table is one: all have its columns."""
    if "label" in given.columns:
        return {}
    width = len(given.table.frame.columns)
    names = list(given.table.frame.columns)
    alike = [
        t
        for t in tables
        if (t.header and given.table.header and len(t.header) == width) or list(t.frame.columns) == names
    ]
    found = {part: t for part, pattern in PART_NAMES.items() for t in alike if _is_part(t.file, pattern)}
    whole = {"train", "test"} <= found.keys() and given.table.file in [t.file for t in found.values()]
    return found if whole else {}


def _is_part(file: str, pattern: str) -> bool:
    return re.search(rf"\b(?:{pattern})\b", words_of(file)) is not None


def _shared(items: Sequence[str], tables: Sequence[Table], interactions: Table) -> str:
    """Of several columns of items the one whose name, then whose values, another table has as its ids."""
    rest = [table for table in tables if table is not interactions]
    if len(items) == 1 or not rest:
        return items[0]

    def known(column: str) -> tuple[float, bool]:
        ids = _ids(interactions, column)
        best = (0.0, False)
        for table in rest:
            for theirs in map(str, table.frame.columns):
                values = table.frame[theirs].astype(str)
                if values.is_unique and not means("user", theirs):
                    best = max(
                        best, (len(ids & set(values)) / len(ids), words_of(theirs) == words_of(column))
                    )
        return best

    return max(items, key=known)


def _ids(table: Table, column: str) -> set[str]:
    return set(table.frame[column].drop_duplicates().astype(str))


def _columns(table: Table, columns: dict[str, str], by: str, reasons: list[str]) -> Interactions:
    """What the columns beside the users' and the items' mean."""
    rest = [str(c) for c in table.frame.columns if str(c) not in columns.values()]
    notes: list[str] = []
    positive_from = None
    if table.header:
        header = {column: meaning for meaning, column in columns.items()}
        typed = {column: typed_column(table.frame[column]) for column in rest}
        for meaning, fits in (("timestamp", _times), ("rating", _ratings)):
            if column := next((c for c in rest if c not in header and fits(typed[c])), None):
                header[column] = meaning
        names = [header.get(column, column) for column in table.header]
        table = table.named(names)
        columns = {name: name for name in names if name in NAMES}
    else:
        for meaning in ("timestamp", "rating", "label"):
            named = [c for c in _named(meaning, rest) if c not in columns.values()]
            for column in named:
                if why := _unfit(meaning, table.frame[column]):
                    notes.append(f"'{column}' is not read as {meaning}: {why}")
                else:
                    columns[meaning] = column
                    break
        if "timestamp" not in columns:
            dated = (c for c in rest if c not in columns.values() and _dates(table.frame[c]))
            if column := next(dated, None):
                columns["timestamp"] = column
    if "label" in columns and _is_yes_or_no(table.frame[columns["label"]]):
        column = columns.pop("label")
        columns = {"rating": column} | columns
    if "rating" in columns and _is_yes_or_no(table.frame[columns["rating"]]):
        positive_from = 1.0
        notes.append(f"'{columns['rating']}' is 0 or 1: rows of 1 count as interactions (positive_from: 1)")
    said = ", ".join(f"{meaning} is '{column}'" for meaning, column in columns.items())
    reasons += [f"{table.file} holds the interactions: {said}, {by}", *notes]
    if unread := [c for c in map(str, table.frame.columns) if c not in columns.values()]:
        several = [c for c in unread if re.search(rf"\b(?:{KIND})\b", words_of(c))]
        reasons.append(
            f"not read of its columns: {', '.join(unread)}"
            + (f"; rows of every {several[0]} count alike" if several else "")
        )
    if "rating" in columns and positive_from is None:
        values = floats(table.frame[columns["rating"]])
        reasons.append(
            f"'{columns['rating']}' goes from {values.min():g} to {values.max():g}, and every row counts, also of the "
            f"lowest: positive_from: {np.median(values):g} would keep rows that have at least this"
        )
    return Interactions(table, columns, positive_from, {})


def _is_yes_or_no(column: pd.Series) -> bool:
    return set(_distinct(column)) <= {0, 1}


def _distinct(column: pd.Series) -> pd.Series:
    """A column's different values, numbers as numbers."""
    return typed_column(column.drop_duplicates())


def _unfit(meaning: str, column: pd.Series) -> str:
    """Why a column cannot be read as what its name says; "" where it can."""
    try:
        if meaning == "timestamp":
            to_timestamps(typed_column(column.iloc[:FIRST]), str(column.name))
        elif meaning == "label":
            to_labels(_distinct(column), str(column.name))
        elif not _ratings(_distinct(column)):
            return "its values are not all numbers, or all the same"
    except DataError as error:
        return str(error).partition(": ")[2] or str(error)
    return ""


def _times(column: pd.Series) -> bool:
    """Numbers that lie between 2001 and 2100 as seconds or milliseconds, or dates."""
    if not pd.api.types.is_numeric_dtype(column):
        return _dates(column)
    return any(bool(((column / unit > 1e9 * 0.9) & (column / unit < 4.2e9)).all()) for unit in (1, 1e3))


def _dates(column: pd.Series) -> bool:
    texts = column.iloc[:FIRST].astype(str)
    return len(texts) > 0 and bool(texts.str.fullmatch(DATE).all())


def _ratings(column: pd.Series) -> bool:
    """Numbers, not the same in every row."""
    return bool(pd.api.types.is_numeric_dtype(column) and column.notna().all() and column.nunique() > 1)


def guess_entities(given: Interactions, tables: Sequence[Table], reasons: list[str]) -> dict[str, Entities]:
    """The table of users and that of items, where there are such."""
    found: dict[str, Entities] = {}
    for key, other in (("item", "user"), ("user", "item")):
        ids = given.ids(key)
        best: tuple[tuple, Entities] | None = None
        for table in tables:
            if any(table is taken.table for taken in found.values()):
                continue
            for column in map(str, table.frame.columns):
                if not _may_hold(key, other, column, table, given, ids):
                    continue
                values = table.frame[column].astype(str)
                share = len(ids & set(values)) / len(ids) if values.is_unique else 0.0
                if share <= JOINED:
                    continue
                rank = (
                    round(share, 2),
                    means(key, Path(table.file).stem),
                    re.fullmatch(rf"(?:{NAMES[key]})s?", words_of(Path(table.file).stem)) is not None,
                    _worded(table),
                    words_of(column) == words_of(given.columns[key]),
                    len(table.frame.columns),
                )
                if best is None or rank > best[0]:
                    best = rank, Entities(table, column, share)
        if best:
            found[key] = one = best[1]
            rest = "" if one.share == 1 else f"; min_joined lets the other {key}s be without a row there"
            reasons.append(
                f"{one.table.file} holds the {key}s: its column '{one.column}' has {one.share:.1%} of the {key}s' ids"
                + rest
            )
    return {key: found[key] for key in ("user", "item") if key in found}


def _may_hold(key: str, other: str, column: str, table: Table, given: Interactions, ids: set[str]) -> bool:
    """Whether a column may hold the ids of `key`. Numbers may be anything's, so that they need a name that fits."""
    same = words_of(column) == words_of(given.columns[key])
    if same or (means(key, column) and not means(other, column)):
        return True
    if means(other, column) or words_of(column) == words_of(given.columns[other]):
        return False
    if not all(one.isdigit() for one in list(ids)[:FIRST]):
        return True
    file = Path(table.file).stem
    if table.header:
        return means(key, file)
    return re.fullmatch(NUMBERED, words_of(column)) is not None and (
        means(key, file) or not means(other, file)
    )


def _worded(table: Table) -> int:
    """How many of the columns hold words."""
    return sum(
        not pd.api.types.is_numeric_dtype(typed_column(table.frame[column].iloc[:FIRST]))
        for column in table.frame.columns
    )
