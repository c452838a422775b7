"""Files that may be compressed, read as if they were not: gzip, zstd, and zip with one file in it."""

from __future__ import annotations

import gzip
import io
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, cast

from recsys.errors import DataError
from recsys.optional_imports import require

if TYPE_CHECKING:
    from typing_extensions import Buffer

SUFFIXES = (".gz", ".zip", ".zst")
LARGEST, RATIO = 2**30, 200
"""Bytes that a file may always unpack to, and how many times its own size beyond them: a few kilobytes can be made to
stand for terabytes."""


class _Bounded(io.RawIOBase):
    """Unpacked bytes, up to a limit."""

    def __init__(self, stream: IO[bytes], path: Path):
        self._stream, self._path = stream, path
        self._left = max(LARGEST, RATIO * path.stat().st_size)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Buffer, /) -> int:
        data = self._stream.read(len(memoryview(buffer)))
        self._left -= len(data)
        if self._left < 0:
            raise DataError(f"{self._path}: unpacks to more than {RATIO} times its size; unpack it yourself")
        memoryview(buffer)[: len(data)] = data
        return len(data)


def plain_suffix(path: Path) -> str:
    """The suffix that says what a file holds, without that of its compression.

    Example:
        >>> plain_suffix(Path("clicks.csv.gz")), plain_suffix(Path("clicks.csv"))
        ('.csv', '.csv')
    """
    return Path(path.stem).suffix.lower() if path.suffix in SUFFIXES else path.suffix.lower()


@contextmanager
def opened(path: Path) -> Iterator[IO[bytes]]:
    """The file's bytes, decompressed as they are read.

    Raises:
        DataError: there is no such file, it is damaged, or a zip holds no file, or several.
    """
    if not path.is_file():
        raise DataError(f"{path}: no such file")
    try:
        if path.suffix == ".gz":
            with gzip.open(path, "rb") as unpacked:
                yield io.BufferedReader(_Bounded(cast(IO[bytes], unpacked), path))
        elif path.suffix == ".zst":
            with open(path, "rb") as raw, require("zstandard", "zstd").ZstdDecompressor().stream_reader(
                raw, read_across_frames=True
            ) as stream:  # fmt: skip
                yield io.BufferedReader(_Bounded(stream, path))
        elif path.suffix == ".zip":
            with zipfile.ZipFile(path) as archive:
                names = [name for name in archive.namelist() if not name.endswith("/")]
                if len(names) != 1:
                    raise DataError(f"{path}: holds {len(names)} files; expected one, the table")
                with archive.open(names[0]) as member:
                    yield io.BufferedReader(_Bounded(member, path))
        else:
            with open(path, "rb") as file:
                yield file
    except (OSError, EOFError, zlib.error, zipfile.BadZipFile, RuntimeError, NotImplementedError) as error:
        raise DataError(f"{path}: cannot be read ({' '.join(str(error).split())})") from None
    except Exception as error:  # zstandard's own class, which is only there with the package
        if type(error).__name__ != "ZstdError":
            raise
        raise DataError(f"{path}: cannot be read ({error})") from None
