"""Plain delimited text by pyarrow, several times as fast as pandas: ids and whole numbers, nothing quoted, nothing
missing.

What this reader gives is what the careful one of `recsys.datasets.files` gives, to the type of each column. It gives up
on whatever the two might read otherwise, or might be wrong, and leaves it, and every message, to that one.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv

from recsys.datasets.compressed import opened

ODD = (b"\r", b"0x", b"0X", b"\xef\xbb")
"""Line ends that pandas may read otherwise, whole numbers that it does not take for numbers, and the mark of UTF-8."""
BLOCK = 2**23


def read_plain(
    path: Path, sep: str, columns: Sequence[str], text: Collection[str], *, quoted: bool, named: bool
) -> pd.DataFrame | None:
    """The table, its rows not yet numbered; None where the careful reader is to read it.

    Args:
        sep: one character.
        columns: their names.
        text: columns that stay as they are written; the others must be whole numbers.
        quoted: a double quote has a meaning.
        named: the first line is a row, and not the names.
    """
    odd = [mark for mark in (*ODD, *([b'"'] if quoted else [])) if mark != sep.encode()]
    if len(set(columns)) < len(columns) or not columns or _holds(path, odd):
        return None
    types = {column: pa.large_string() if column in text else pa.int64() for column in columns}
    try:
        with opened(path) as file:
            table = csv.read_csv(
                file,
                csv.ReadOptions(column_names=list(columns), skip_rows=0 if named else 1, block_size=BLOCK),
                csv.ParseOptions(delimiter=sep, quote_char=False, ignore_empty_lines=False),
                csv.ConvertOptions(column_types=types, null_values=[], strings_can_be_null=False),
            )
    except (pa.ArrowException, UnicodeError, ValueError):
        return None
    for name, column in zip(columns, table.columns, strict=True):
        if column.null_count or (
            name in text and pc.any(pc.is_in(column, pa.array(["", columns[0]]))).as_py()
        ):
            return None
    return table.to_pandas(split_blocks=True, self_destruct=True) if len(table) else None


def _holds(path: Path, marks: Sequence[bytes]) -> bool:
    """Whether any of the marks, of at most two bytes, is in a file."""
    last = b""
    with opened(path) as file:
        while block := file.read(2**20):
            if any(mark in last + block for mark in marks):
                return True
            last = block[-1:]
    return False
