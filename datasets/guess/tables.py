"""The tables of a folder, whatever stands between their columns, with or without a header."""

from __future__ import annotations

import codecs
import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from recsys.datasets.compressed import opened, plain_suffix
from recsys.datasets.files import MISSING, SEPARATORS, TABLES, read_delimited, read_table, without_index
from recsys.errors import DataError

MAYBE = (".txt", ".dat", ".json")
"""Kinds of files that may be tables."""
BETWEEN = {
    ".csv": (",", ";", "\t", "|"),
    ".dat": ("\t", "::", ",", ";", "|", " "),
    ".txt": ("\t", "::", ",", ";", "|", " "),
}
"""What may stand between the columns, the likeliest first, by the kind of file."""
SAMPLE = 2**16
"""Bytes that show a file's separator and header."""


@dataclass(frozen=True)
class Table:
    """A file's table.

    Attributes:
        file: its name.
        frame: its cells; those of delimited text as they are written ("" where empty), so that an id keeps its zeros.
        sep: what stands between its columns; "" where its kind says it.
        header: names that the columns got here, where its first line is none; () where it is.
        encoding: of its text.
    """

    file: str
    frame: pd.DataFrame
    sep: str = ""
    header: tuple[str, ...] = ()
    encoding: str = "utf-8"

    def how(self, sep: str = ",") -> dict[str, Any]:
        """The options of a card by which it is read, where they are not the defaults, of which `sep` is one."""
        told: dict[str, Any] = {"sep": self.sep} if self.sep not in ("", sep) else {}
        if self.header:
            told["header"] = list(self.header)
        return told | ({"encoding": self.encoding} if self.encoding != "utf-8" else {})

    def typed(self) -> pd.DataFrame:
        """The table with numbers as numbers and empty cells as missing."""
        return pd.DataFrame(
            {name: typed_column(column) for name, column in self.frame.items()}, self.frame.index
        )

    def named(self, header: Sequence[str]) -> Table:
        """The same table, its columns called otherwise."""
        return Table(
            self.file, self.frame.set_axis(list(header), axis=1), self.sep, tuple(header), self.encoding
        )


def typed_column(column: pd.Series) -> pd.Series:
    """A column of text as numbers, where all of its entries are; its empty cells as missing."""
    texts = isinstance(column.dtype, pd.StringDtype) or (
        column.dtype == object and column.map(lambda value: isinstance(value, str)).all()
    )
    if not texts:
        return column
    filled = column.where(~column.isin(MISSING))
    try:
        return pd.to_numeric(filled)
    except (ValueError, TypeError):
        return filled


def read_tables(folder: Path, reasons: list[str]) -> list[Table]:
    """The folder's tables by name; a file of a kind that may be something else is left out where it is no table."""
    tables = []
    for path in sorted(folder.iterdir()):
        if not path.is_file() or plain_suffix(path) not in TABLES:
            continue
        try:
            table = _read(path)
        except DataError as error:
            if plain_suffix(path) not in MAYBE:
                raise
            reasons.append(f"{path.name} is no table: {error}")
            continue
        if len(table.frame.columns) > 1:
            tables.append(table)
    return tables


def _read(path: Path) -> Table:
    kind = plain_suffix(path)
    if kind not in (*SEPARATORS, *BETWEEN):
        return Table(path.name, without_index(read_table(path), str(path))[0])
    encoding, lines = _beginning(path)
    sep, rows = _separated(lines, [SEPARATORS[kind]] if kind in SEPARATORS else BETWEEN[kind])
    if not sep and kind != ".csv":
        raise DataError("its lines do not have the same number of columns, whatever stands between them")
    sep = sep or ","
    header = () if _has_header(rows) else tuple(f"column{n}" for n in range(1, len(rows[0]) + 1))
    frame = read_delimited(path, sep, text=True, quoted=len(sep) == 1, header=header, encoding=encoding)
    frame = without_index(frame, str(path))[0]
    return Table(path.name, frame, "" if kind in SEPARATORS else sep, header, encoding)


def _beginning(path: Path) -> tuple[str, list[str]]:
    """The encoding of a text file, and its first lines."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    encoding = "utf-8"
    with opened(path) as file:
        first = block = file.read(SAMPLE)
        try:
            while block:
                decoder.decode(block)
                block = file.read(SAMPLE)
            decoder.decode(b"", final=True)
        except UnicodeDecodeError:
            encoding = "latin-1"
    lines = first.decode(encoding, errors="ignore").removeprefix("\ufeff").splitlines()
    return encoding, lines[:-1] if len(first) == SAMPLE and len(lines) > 1 else lines


def _separated(lines: Sequence[str], between: Sequence[str]) -> tuple[str, list[list[str]]]:
    """What parts all lines into the same number of cells, two at least, and the cells; "" where nothing does."""
    written = [line for line in lines if line.strip()]
    for sep in between:
        try:
            rows = (
                [r for r in csv.reader(written, delimiter=sep)]
                if len(sep) == 1
                else [w.split(sep) for w in written]
            )
        except csv.Error:
            continue
        if len(rows) > 1 and len(rows[0]) > 1 and len({len(row) for row in rows}) == 1:
            return sep, rows
    return "", [[]]


def _has_header(rows: Sequence[Sequence[str]]) -> bool:
    """Whether the first line names the columns: none of its cells is a number, or occurs in its column again."""
    if any(_is_number(cell) for cell in rows[0]):
        return False
    return not any(
        cell and cell in column for cell, column in zip(rows[0], zip(*rows[1:], strict=True), strict=True)
    )


def _is_number(cell: str) -> bool:
    try:
        return math.isfinite(float(cell))
    except ValueError:
        return False
