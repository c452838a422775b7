"""Files that cells name, such as pictures: in folders, and in zip and tar archives, found by name."""

from __future__ import annotations

import base64
import tarfile
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import TypeVar

from recsys.errors import DataError

ARCHIVES = (".zip", ".tar", ".tgz", ".tar.gz", ".tar.bz2", ".tar.xz")
LARGEST = 256 * 2**20
"""Bytes of one file in an archive; what claims to be larger is not read."""


def is_archive(path: Path) -> bool:
    """Whether a file's name is that of an archive."""
    return path.name.lower().endswith(ARCHIVES)


Place = TypeVar("Place")


def _by_last_part(named: Mapping[str, Place]) -> dict[str, Place]:
    """What a name alone, without the folders before it, stands for; names that several have stand for nothing."""
    last: dict[str, Place] = {}
    twice = set()
    for name, place in named.items():
        short = PurePosixPath(name).name
        if short in last:
            twice.add(short)
        last[short] = place
    return {short: place for short, place in last.items() if short not in twice}


class Files:
    """Files by name, from several places in order. Of what lies deeper in an archive, or in a folder of `deep`, a name
    may leave out the folders before it, where no other file there has it.

    Args:
        places: folders and archives.
        deep: those of the folders whose subfolders are looked through.
        anywhere: whether names may be paths that lead out of the folders, as they may where the user wrote them.

    Raises:
        DataError: a place that is not there, or an archive that cannot be read.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> _ = (folder / "a.txt").write_bytes(b"words")
        >>> Files([folder]).read("a.txt"), Files([folder]).read("b.txt")
        (b'words', b'')
    """

    def __init__(self, places: Sequence[Path], anywhere: bool = False, deep: Iterable[Path] = ()):
        self._anywhere = anywhere
        self._deep = [place for place in deep if not is_archive(place)]
        self._folders = [place for place in places if not is_archive(place)]
        self._archives = [_Archive(place) for place in places if is_archive(place)]
        if gone := next((place for place in self._folders if not place.is_dir()), None):
            raise DataError(f"{gone}: no such folder, nor a .zip or .tar archive; name where the files are")

    def read(self, name: str) -> bytes:
        """The file's bytes; b"" where no place has it, or it is empty."""
        if not name or "\0" in name:
            return b""
        for archive in self._archives:
            if (found := archive.read(name)) is not None:
                return found
        plain = PurePosixPath(name.replace("\\", "/"))
        if not self._anywhere and (plain.is_absolute() or ".." in plain.parts):
            return b""
        for folder in self._folders:
            path = folder / name
            try:
                if path.is_file():
                    return path.read_bytes()
                if folder in self._deep and (below := self._below.get(plain.name)):
                    return below.read_bytes()
            except OSError:
                continue
        return b""

    @cached_property
    def _below(self) -> dict[str, Path]:
        """Files in subfolders by their names; a link to a folder is not followed."""
        return _by_last_part(
            {str(path): path for folder in self._deep for path in sorted(folder.rglob("*")) if path.is_file()}
        )

    def stems(self) -> Iterator[tuple[str, str]]:
        """(name without its ending, name) of every file."""
        for archive in self._archives:
            for name in archive.names:
                yield PurePosixPath(name).stem, name
        for folder in self._folders:
            for path in sorted(folder.iterdir()):
                if path.is_file():
                    yield path.stem, path.name
        for name, path in self._below.items():
            yield path.stem, name


class Inline:
    """Files that come inside their cells, in base64, with or without the head of a data URL. A name of a file is never
    opened: it may come from a stranger.

    Example:
        >>> Inline().read("data:image/png;base64,AAEC"), Inline().read("/etc/hostname")
        (b'\x00\x01\x02', b'')
    """

    def read(self, name: str) -> bytes:
        """The cell's bytes; b"" where it is no base64."""
        head, _, rest = name.partition(",")
        try:
            return base64.b64decode(rest if head.startswith("data:") else name, validate=True)
        except ValueError:
            return b""

    def stems(self) -> Iterator[tuple[str, str]]:
        """None: what is inside a cell has no name."""
        return iter(())


class _Archive:
    """A zip or tar, opened once; its members by their whole name and by their last part."""

    def __init__(self, path: Path):
        self._zip: zipfile.ZipFile | None = None
        self._tar: tarfile.TarFile | None = None
        self.names: dict[str, zipfile.ZipInfo | tarfile.TarInfo] = {}
        self._path = path
        members: list[tuple[str, zipfile.ZipInfo | tarfile.TarInfo]] = []
        try:
            if path.suffix.lower() == ".zip":
                self._zip = zipfile.ZipFile(path)
                members += [(i.filename, i) for i in self._zip.infolist() if not i.is_dir()]
            else:
                self._tar = tarfile.open(path)  # noqa: SIM115  (read for as long as this lives)
                members += [(i.name, i) for i in self._tar.getmembers() if i.isfile()]
        except (OSError, tarfile.TarError, zipfile.BadZipFile, zlib.error, EOFError) as error:
            raise DataError(f"{path}: not a whole archive ({' '.join(str(error).split())})") from None
        self.names = {name.removeprefix("./"): info for name, info in members}
        self._last = _by_last_part(self.names)

    def read(self, name: str) -> bytes | None:
        info = self.names.get(name) or self._last.get(PurePosixPath(name.replace("\\", "/")).name)
        if info is None:
            return None
        try:
            if isinstance(info, zipfile.ZipInfo):
                assert self._zip is not None
                return self._zip.read(info) if info.file_size <= LARGEST else b""
            assert self._tar is not None
            member = self._tar.extractfile(info) if info.size <= LARGEST else None
            return member.read() if member else b""
        except (OSError, tarfile.TarError, zipfile.BadZipFile, zlib.error, EOFError, RuntimeError):
            return b""
