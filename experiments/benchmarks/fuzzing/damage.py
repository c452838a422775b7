"""Damages: functions `(path, rng)` that change a valid file, by its format; seeded, so that each comes again.

Those marked `whole` leave what the file says as it was: a command must then give the same answer.
"""

from __future__ import annotations

import gzip
import io
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from recsys.experiments.benchmarks.fuzzing.values import HOSTILE

Damage = Callable[[Path, np.random.Generator], None]
DAMAGES: dict[str, list[Damage]] = {}
"""Format -> damages; those of "any" fit every file."""


def damage(*formats: str, whole: bool = False) -> Callable[[Damage], Damage]:
    """Register a damage for files of these formats; a format named again makes it more frequent."""

    def mark(function: Damage) -> Damage:
        function.whole = whole  # type: ignore[attr-defined]
        for name in formats:
            DAMAGES.setdefault(name, []).append(function)
        return function

    return mark


def format_of(path: Path) -> str:
    """What kind of file a path of a sample names."""
    kinds = {
        ".json": "json",
        ".yaml": "yaml",
        ".npy": "npy",
        ".npz": "npz",
        ".parquet": "parquet",
        ".pkl": "pickle",
    }
    kinds |= {".pt": "tensor", ".ckpt": "binary", ".safetensors": "safetensors"}
    return kinds.get(path.suffix, "lines")


def damages_of(path: Path) -> list[Damage]:
    """All that fit a file; those of its format count as much as those of any."""
    return DAMAGES["any"] + DAMAGES.get(format_of(path), []) + (DAMAGES["text"] if _is_text(path) else [])


def _is_text(path: Path) -> bool:
    return format_of(path) in ("json", "yaml", "lines")


def separator(path: Path) -> str:
    """What parts the fields of a file of lines."""
    if path.suffix == ".csv":
        return ","
    if path.suffix == ".dat":
        return "::" if b"::" in path.read_bytes()[:200] else " "
    return ", " if path.name.startswith("bi_") else "\t"


def has_header(path: Path) -> bool:
    """Whether a file of lines begins with the names of its columns."""
    return path.suffix in (".csv", ".inter", ".item", ".user", ".link", ".kg")


def pick(rng: np.random.Generator, values: list) -> Any:
    return values[int(rng.integers(len(values)))]


# --- any file -------------------------------------------------------------------------------------------------------


@damage("any")
def empty(path, rng):
    path.write_bytes(b"")


@damage("any")
def truncated(path, rng):
    content = path.read_bytes()
    path.write_bytes(content[: rng.integers(0, len(content))])


@damage("any")
def flipped(path, rng):
    content = bytearray(path.read_bytes())
    for place in rng.integers(0, len(content), int(rng.integers(1, 9))):
        content[place] ^= 1 << int(rng.integers(8))
    path.write_bytes(bytes(content))


@damage("any")
def noise(path, rng):
    path.write_bytes(rng.bytes(int(rng.integers(1, 2000))))


@damage("any")
def spliced(path, rng):
    content = path.read_bytes()
    low, high = sorted(rng.integers(0, len(content) + 1, 2))
    path.write_bytes(pick(rng, [content[:low] + content[high:], content + content[low:high], content * 2]))


@damage("any")
def zeros(path, rng):
    content = bytearray(path.read_bytes())
    low, high = sorted(rng.integers(0, len(content) + 1, 2))
    content[low:high] = bytes(high - low)
    path.write_bytes(bytes(content))


@damage("any")
def no_file(path, rng):
    """A folder, a pipe, a socket, a link that leads nowhere, in a circle or to a device, or nothing."""
    path.unlink()
    kind = int(rng.integers(8))
    if kind == 0:
        path.mkdir()
    elif kind == 1:
        os.mkfifo(path)
    elif kind == 2:
        path.symlink_to(path)
    elif kind == 3:
        path.symlink_to(path.with_name("nowhere"))
    elif kind == 4:
        path.symlink_to("/dev/zero")
    elif kind == 5:
        path.symlink_to("/dev/full")
    elif kind == 6:
        here = os.getcwd()
        os.chdir(path.parent)  # the address of a socket is short
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(path.name)
        os.chdir(here)


@damage("any")
def another_kind(path, rng):
    buffer = io.BytesIO()
    kind = int(rng.integers(6))
    if kind == 0:
        np.save(buffer, np.arange(6).reshape(2, 3))
    elif kind == 1:
        np.savez(buffer, a=np.arange(3))
    elif kind == 2:
        pd.DataFrame({"a": [1]}).to_parquet(buffer)
    elif kind == 3:
        buffer.write(b"\x89PNG\r\n\x1a\n" + bytes(50))
    elif kind == 4:
        buffer.write(gzip.compress(path.read_bytes()))
    else:
        buffer.write(b'{"a": [1, 2]}')
    path.write_bytes(buffer.getvalue())


# --- text -----------------------------------------------------------------------------------------------------------


@damage("text")
def latin1(path, rng):
    text = path.read_bytes().decode("latin-1")
    place = int(rng.integers(len(text)))
    path.write_bytes((text[:place] + "é" + text[place:]).encode("latin-1"))


@damage("text")
def wide(path, rng):
    text = path.read_bytes().decode("latin-1")
    path.write_bytes(text.encode(pick(rng, ["utf-16", "utf-16-le", "utf-32", "utf-7"])))


@damage("text")
def byte_order_mark(path, rng):
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())


@damage("text")
def inserted(path, rng):
    content = path.read_bytes()
    place = int(rng.integers(len(content) + 1))
    bits = [
        b"\0",
        b"\x1b[2J",
        b"\r",
        b"\n",
        b"\x1a",
        b'"',
        b"\xe2\x80\xae",
        b"\xc2\x85",
        b"\x0b",
        b"\\",
        b"#",
        b"\xff",
    ]
    path.write_bytes(content[:place] + pick(rng, bits) + content[place:])


@damage("text", whole=True)
def crlf(path, rng):
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))


# --- lines ----------------------------------------------------------------------------------------------------------


def _fields(path: Path) -> tuple[list[list[str]], str]:
    sep = separator(path)
    text = path.read_bytes().decode("latin-1" if path.name == "movies.dat" else "utf-8")
    return [line.split(sep) for line in text.splitlines()], sep


def _put(path: Path, rows: list[list[str]], sep: str) -> None:
    text = "".join(sep.join(row) + "\n" for row in rows)
    path.write_bytes(text.encode("latin-1" if path.name == "movies.dat" else "utf-8", "replace"))


@damage("lines", "lines", "lines")
def odd_value(path, rng):
    rows, sep = _fields(path)
    row = pick(rng, rows[has_header(path) :] or rows)
    row[int(rng.integers(len(row)))] = pick(rng, HOSTILE)
    _put(path, rows, sep)


@damage("lines")
def odd_column(path, rng):
    """One value in a whole column."""
    rows, sep = _fields(path)
    column, value = int(rng.integers(len(rows[0]))), pick(rng, HOSTILE)
    for row in rows[has_header(path) :]:
        row[min(column, len(row) - 1)] = value
    _put(path, rows, sep)


@damage("lines")
def retyped(path, rng):
    """A whole column written in another way."""
    rows, sep = _fields(path)
    column, way = int(rng.integers(len(rows[0]))), int(rng.integers(7))
    for n, row in enumerate(rows[has_header(path) :]):
        own = row[column] if column < len(row) else ""
        forms = [f"{own}.0", f" {own}", f"{own} ", f"0{own}", f"{own}e0", str(n % 2 == 0), f'"{own}"']
        row[min(column, len(row) - 1)] = forms[way]
    _put(path, rows, sep)


@damage("lines")
def odd_header(path, rng):
    rows, sep = _fields(path)
    rows[0][int(rng.integers(len(rows[0])))] = pick(rng, [*HOSTILE, *rows[0], rows[0][0].upper()])
    _put(path, rows, sep)


@damage("lines")
def swapped_columns(path, rng):
    """Names and values of two columns, or the names alone."""
    rows, sep = _fields(path)
    one, other = (int(n) for n in rng.integers(len(rows[0]), size=2))
    for row in rows if rng.integers(2) else rows[:1]:
        if len(row) > max(one, other):
            row[one], row[other] = row[other], row[one]
    _put(path, rows, sep)


@damage("lines")
def missing_column(path, rng):
    rows, sep = _fields(path)
    column = int(rng.integers(len(rows[0])))
    _put(path, [row[:column] + row[column + 1 :] for row in rows], sep)


@damage("lines")
def extra_column(path, rng):
    rows, sep = _fields(path)
    name, value = pick(rng, [*HOSTILE, "more:float", "more"]), pick(rng, HOSTILE)
    _put(path, [[*row, name if n == 0 else value] for n, row in enumerate(rows)], sep)


@damage("lines")
def repeated_line(path, rng):
    rows, sep = _fields(path)
    rows.insert(int(rng.integers(len(rows) + 1)), list(pick(rng, [rows[0], *rows])))
    _put(path, rows, sep)


@damage("lines")
def short_or_long_line(path, rng):
    rows, sep = _fields(path)
    row = pick(rng, rows)
    row[:] = row[:-1] if rng.integers(2) else [*row, "1"]
    _put(path, rows, sep)


@damage("lines")
def blank_lines(path, rng):
    rows, sep = _fields(path)
    rows.insert(int(rng.integers(len(rows) + 1)), pick(rng, [[""], ["", ""], [" "], ["\t"]]))
    _put(path, rows, sep)


@damage("lines")
def another_separator(path, rng):
    rows, _ = _fields(path)
    _put(path, rows, pick(rng, [";", "|", " ", "\t", ",", "  "]))


@damage("lines")
def header_alone(path, rng):
    rows, sep = _fields(path)
    _put(path, rows[:1], sep)


@damage("lines", whole=True)
def shuffled(path, rng):
    rows, sep = _fields(path)
    head = rows[: has_header(path)]
    body = rows[len(head) :]
    _put(path, head + [body[n] for n in rng.permutation(len(body))], sep)
