"""Reading files: each failure ends in one DataError that names the file."""

from __future__ import annotations

import ast
import codecs
import contextlib
import csv
import io
import json
import os
import re
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import scipy.sparse as sp
from pyarrow.parquet import read_schema

from recsys.datasets.compressed import opened, plain_suffix
from recsys.datasets.quick_csv import read_plain
from recsys.errors import DataError
from recsys.files import json_of

MISSING = ["", "NA", "N/A", "NaN", "nan", "NULL", "null", "None"]
"""Entries of columns with an inferred type that stand for no value."""

UNIT = "\x1f"
"""A character that no text holds: the separator of fields of ASCII."""


def one_line(error: BaseException) -> str:
    """An exception's message without line breaks."""
    return " ".join(str(error).split()) or type(error).__name__


def need_file(path: Path) -> Path:
    """The path itself; DataError where there is no such file."""
    if not path.is_file():
        raise DataError(f"{path}: no such file")
    return path


def is_there(path: Path) -> bool:
    """Whether a file that may be missing is there; DataError where something else is in its place: a folder, a pipe, a
    device, a link that leads nowhere."""
    if path.is_file():
        return True
    if os.path.lexists(path):
        raise DataError(f"{path}: something is there that is no file; put the file there, or nothing")
    return False


def read_text(path: Path, encoding: str = "utf-8") -> str:
    """A whole text file; DataError where it is missing or not in that encoding."""
    try:
        check_text(path)
        with opened(path) as file:
            return file.read().decode(encoding).removeprefix(codecs.BOM_UTF8.decode(encoding))
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not {encoding} text ({one_line(error)})") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({one_line(error)})") from None


def check_text(path: Path) -> None:
    """DataError where a file holds NUL bytes: parsers end a cell at one, or keep it unseen, and an id is another."""
    with opened(path) as file:
        while block := file.read(2**20):
            if b"\0" in block:
                raise DataError(f"{path}: holds NUL bytes, which no text does; write it as UTF-8 text again")


def read_json(path: Path) -> Any:
    """A JSON file's content."""
    try:
        return json_of(read_text(path))
    except DataError:
        raise
    except ValueError as error:
        raise DataError(f"{path}: not valid JSON ({one_line(error)})") from None


def read_delimited(
    path: Path,
    sep: str = "\t",
    *,
    text: bool | Iterable[str] = False,
    quoted: bool = False,
    header: Sequence[str] = (),
    encoding: str = "utf-8",
) -> pd.DataFrame:
    """A delimited file, perhaps compressed; the index holds line numbers in the file and is named "line".

    Args:
        sep: one character, or several.
        text: columns whose entries stay as they are written (str, "" where empty) instead of getting an
            inferred type; True for all.
        quoted: entries may stand in double quotes and hold the separator (CSV).
        header: names of the columns, where the file's first line is none.
    """
    try:
        check_text(path)
        held: io.StringIO | None = None
        if len(sep) > 1:  # the fast parser knows separators of one character
            held, sep = io.StringIO(read_text(path, encoding).replace(sep, UNIT)), UNIT
        how: dict[str, Any] = {
            "sep": sep,
            "quoting": csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE,
            "index_col": False,
            "names": list(header) or None,
            "header": None if header else "infer",
            "encoding": encoding,
        }
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)
            with _source(path, held) as source:
                columns = pd.read_csv(source, nrows=0, **how).columns
            as_text = set(columns if text is True else text or ())
            first = 1 if header else 2
            if held is None and encoding == "utf-8":
                plain = read_plain(path, sep, list(columns), as_text, quoted=quoted, named=bool(header))
                if plain is not None:
                    return plain.set_axis(pd.RangeIndex(first, len(plain) + first, name="line"))
            # Per column, so that an id such as "NA" is not read as a missing value.
            with _source(path, held) as source:
                frame = pd.read_csv(
                    source,
                    **how,
                    skip_blank_lines=False,
                    dtype=dict.fromkeys(as_text, str),
                    keep_default_na=False,
                    na_values={column: MISSING for column in columns if column not in as_text},
                    low_memory=False,
                )
    except DataError:
        raise
    except (ValueError, pd.errors.ParserWarning, OSError) as error:
        raise DataError(f"{path}: cannot be read as a table ({one_line(error)})") from None
    frame.index = pd.RangeIndex(first, len(frame) + first, name="line")
    with _source(path, held) as source:
        lines = (
            source
            if held
            else io.TextIOWrapper(source, encoding.replace("utf-8", "utf-8-sig"), "replace", newline="")
        )
        _check_rows(path, frame, sep, quoted, lines, bool(header))
    blank = (frame.isna() | (frame == "")).all(axis=1)
    return frame[~blank] if blank.any() else frame


@contextlib.contextmanager
def _source(path: Path, held: io.StringIO | None) -> Iterator[Any]:
    """The text that was read already, from its beginning, or else the file's bytes."""
    if held is not None:
        held.seek(0)
        yield held
    else:
        with opened(path) as file:
            yield file


def _check_rows(
    path: Path, frame: pd.DataFrame, sep: str, quoted: bool, lines: Iterable[str], named: bool
) -> None:
    """DataError for a row that repeats the header, or that has fewer columns than it.

    Args:
        lines: of the file.
        named: whether the card names the columns, and not the file's first line.
    """
    if not len(frame.columns):
        return
    names = [str(column) for column in frame.columns]
    again = (frame.iloc[:, 0].astype(str) == names[0]).to_numpy()
    for row in np.flatnonzero(again):
        if [str(value) for value in frame.iloc[row]] == names:
            raise DataError(f"{path}: line {frame.index[row]} repeats the header; delete it")
    last = frame.iloc[:, -1]
    if len(names) < 2 or not (last.isna() | (last.astype(str) == "")).any():
        return
    rows = csv.reader(lines, delimiter=sep, quoting=csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE)
    with contextlib.suppress(csv.Error):  # a field that is longer than the module reads
        for cells in rows:
            if cells and len(cells) < len(names):
                whose = "card names" if named else "header has"
                raise DataError(
                    f"{path}: line {rows.line_num} has {len(cells)} columns, the {whose} {len(names)}"
                )


def read_parquet(path: Path, columns: Iterable[str] = ()) -> pd.DataFrame:
    """A Parquet file; the index holds row numbers from 0 and is named "row".

    Args:
        columns: read these alone, where the file has all of them.
    """
    need_file(path)
    try:
        wanted = list(columns)
        if path.suffix != ".parquet":
            with opened(path) as file:
                path_or_bytes: Any = io.BytesIO(file.read())
        else:
            path_or_bytes = path
        if not set(wanted) <= set(read_schema(path_or_bytes).names):
            wanted = []
        # A large file is not held twice; and what pandas noted of a column's type gives way to the type it has.
        how = {"self_destruct": True, "split_blocks": True, "ignore_metadata": True}
        frame = pd.read_parquet(path_or_bytes, columns=wanted or None, to_pandas_kwargs=how)
    except DataError:
        raise
    except Exception as error:  # a damaged file raises ArrowException, OSError, TypeError, KeyError ...
        raise DataError(f"{path}: cannot be read as Parquet ({one_line(error)})") from None
    frame.index = pd.RangeIndex(len(frame), name="row")
    return frame


def read_json_lines(path: Path) -> pd.DataFrame:
    """A file with a JSON object on each line, or one as Python writes it (`object_of`), perhaps compressed; the index
    holds line numbers and is named "line". What an object lacks is missing. DataError names the first line that is no
    object."""
    rows, lines = [], []
    for number, line in enumerate(read_text(path).split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = object_of(line)
        except ValueError as error:
            raise DataError(f"{path}: line {number} is not valid JSON ({one_line(error)})") from None
        if not isinstance(row, dict):
            raise DataError(f'{path}: line {number} is no JSON object; expected {{"column": value, ...}}')
        rows.append(row)
        lines.append(number)
    return pd.DataFrame(rows, index=pd.Index(lines, name="line"))


def object_of(line: str) -> Any:
    """What a line of JSON holds, or a dict as Python writes it, such as those of Amazon's and Steam's older files.

    Raises:
        ValueError: the line is neither, is nested beyond sense, or has a key twice.

    Example:
        >>> object_of("{'asin': '0001', 'price': 9.5, 'also': None, 'paths': [['a', 'b']]}")
        {'asin': '0001', 'price': 9.5, 'also': None, 'paths': [['a', 'b']]}
    """
    try:
        return json_of(line)
    except ValueError:
        if (read := _python_dict(line)) is None:
            raise
    keys, value = read
    if twice := [key for key, count in Counter(keys).items() if count > 1]:
        raise ValueError(f"'{twice[0]:.80}' is given twice")
    return value


def _python_dict(line: str) -> tuple[list[Any], dict[str, Any]] | None:
    """A dict as Python writes it, whose values JSON could hold too, and its keys as they stand there; None of any other
    text. Nothing of the text is run."""
    if not re.match(r"\s*\{\s*u?['\"]", line):
        return None
    try:
        tree = ast.parse(line.strip(), mode="eval").body
        value = ast.literal_eval(tree)
        json.dumps(value)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return None
    if not (isinstance(tree, ast.Dict) and all(isinstance(key, str) for key in value)):
        return None
    return [key.value for key in tree.keys if isinstance(key, ast.Constant)], value


SEPARATORS = {".tsv": "\t", ".inter": "\t"}
TABLES = (".csv", ".tsv", ".inter", ".dat", ".txt", ".parquet", ".jsonl", ".ndjson", ".json")
"""Kinds of tables, each of which may be compressed too."""


def read_table(
    path: Path,
    sep: str = "",
    *,
    ids: Iterable[str] = (),
    columns: Iterable[str] = (),
    header: Sequence[str] = (),
    encoding: str = "utf-8",
) -> pd.DataFrame:
    """A table in any of the forms of `TABLES`, told by its suffix.

    Args:
        sep: of `.csv`, `.dat` and `.txt`; a comma where empty. Of `.tsv` and `.inter` it is a tab.
        ids: columns that stay as they are written.
        columns: of Parquet read these alone, where given and there.
        header: names of the columns, of delimited text without a header line.

    Raises:
        DataError: it is none of these, or cannot be read.
    """
    kind = plain_suffix(path)
    if kind not in TABLES:
        known = f"{', '.join(TABLES[:-1])} or {TABLES[-1]}"
        raise DataError(f"{path}: expected a {known} file, which may be compressed (.gz, .zip, .zst)")
    if kind == ".parquet":
        return read_parquet(path, columns)
    if kind in (".jsonl", ".ndjson"):
        return read_json_lines(path)
    if kind == ".json":
        return read_json_lines(path) if _has_json_lines(path) else _json_table(path)
    sep = SEPARATORS.get(kind, sep or ",")
    return read_delimited(path, sep, text=ids, quoted=len(sep) == 1, header=header, encoding=encoding)


def without_index(table: pd.DataFrame, source: str) -> tuple[pd.DataFrame, list[str]]:
    """The table without columns that a saved index leaves, and a note of them."""
    left = [
        c for c in map(str, table.columns) if c.startswith(("Unnamed: ", "__index_level_")) or not c.strip()
    ]
    notes = [f"{Path(source).name}: column '{column}', a saved index, is not read" for column in left]
    return table.drop(columns=left), notes


def _has_json_lines(path: Path) -> bool:
    """Whether a `.json` file's first line is an object of its own, with another line behind it."""
    need_file(path)
    with opened(path) as file:
        first, second = file.readline(), file.readline()
    try:
        return bool(second.strip()) and isinstance(object_of(first.decode()), dict)
    except ValueError:
        return False


def _json_table(path: Path) -> pd.DataFrame:
    """A list of objects as their rows; a mapping from ids to texts, or to lists, as columns `id` and `value`."""
    held = read_json(path)
    if isinstance(held, dict):
        return pd.DataFrame({"id": list(held), "value": list(held.values())})
    if isinstance(held, list) and all(isinstance(row, dict) for row in held):
        return pd.DataFrame(held, index=pd.RangeIndex(len(held), name="row"))
    raise DataError(f"{path}: expected a JSON list of objects, or an object with a value for each id")


def load_npy(path: Path) -> np.ndarray:
    """An array, never unpickled; DataError where the file is truncated, of another kind, or holds objects."""
    try:
        array = np.load(need_file(path), allow_pickle=False)
    except Exception as error:  # a damaged header raises ValueError, EOFError, TokenError, MemoryError ...
        raise DataError(
            f"{path}: not a whole .npy array of numbers ({one_line(error)}); fetch or write the file again"
        ) from None
    if not isinstance(array, np.ndarray):
        raise DataError(f"{path}: expected one .npy array, found an archive of several")
    return array


def load_npz(path: Path) -> sp.csr_array:
    """A sparse matrix written by `scipy.sparse.save_npz`, its indices checked."""
    try:
        matrix = sp.csr_array(sp.load_npz(need_file(path)))
        matrix.check_format(full_check=True)
    except Exception as error:  # a damaged archive raises BadZipFile, KeyError, ValueError, zlib.error ...
        raise DataError(f"{path}: not a whole sparse matrix ({one_line(error)})") from None
    return matrix


def feature_files(folder: Path) -> dict[str, tuple[str, np.ndarray]]:
    """Every `*_feat.npy` of a folder: modality (the file's prefix) -> (file name, array), sorted by name."""
    matrices = {}
    for path in sorted(folder.glob("*_feat.npy")):
        array = load_npy(path)
        if array.ndim != 2:
            raise DataError(f"{path}: expected a matrix of items x width, found shape {array.shape}")
        matrices[path.name.removesuffix("_feat.npy")] = (str(path), array)
    return matrices
