"""What a service holds besides its bundle: what happened since, in a log that survives it, and which bundle is served.

Several processes share one folder: a private copy of the bundle, a file that names it, and an append-only log of
interactions and new items. Each process looks at both before it answers, so that what one of them acknowledged counts
at the next request to any. A log that has grown is replaced by one that comes to the same.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import threading
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from recsys.errors import UserError
from recsys.files import cannot_write, write_text
from recsys.inputs.content import stacked
from recsys.inputs.requests import NewItems
from recsys.serving.arrays import MANIFEST, Reader, check_files, copy_bundle, read_manifest
from recsys.serving.bundle import ServingBundle, load_bundle

LOG, POINTER, LOCK = "events.log", "current.json", "lock"
MOST_NEW = 10_000
"""New items that a service takes; for more the bundle is packaged anew."""
LEAST = 2**20
"""Bytes of a log that is worth replacing; it is once it has doubled since."""
PAIRS = 1000
"""Interactions in a line of a log that was replaced."""
TRIES = 5
"""To load a bundle that another process replaces meanwhile."""


class Snapshot(NamedTuple):
    """What one request is answered from.

    Attributes:
        bundle: with the new items.
        since: user -> the items that they took since the bundle was made.
        version: of the bundle, the head of its manifest's SHA-256.
    """

    bundle: ServingBundle
    since: dict[str, list[str]]
    version: str


class State:
    """The folder of a service.

    Args:
        source: the bundle that `reload` takes.
        folder: made where it is not there.
        tell: called with a sentence about what should be known, such as a bundle that was not taken.
    """

    def __init__(self, source: Path, folder: Path, tell: Callable[[str], None] = lambda sentence: None):
        self.source, self.folder, self.tell = source, folder, tell
        self._mutex = threading.RLock()
        self._pointer: tuple[int, int] | None = None
        self._base: ServingBundle | None = None
        self._bundle: ServingBundle | None = None
        self._version = ""
        self._since: dict[str, list[str]] = {}
        self._placed: list[NewItems] = []
        self._records: list[tuple[str, Any]] = []
        self._read = 0
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._log = self._opened()
        except OSError as error:
            raise cannot_write(folder / LOG, error) from error
        self._least = os.fstat(self._log).st_size

    def _opened(self) -> int:
        return os.open(self.folder / LOG, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)

    def open(self) -> None:
        """Take the source's bundle; where that is damaged and one was served before, go on with the latter.

        Raises:
            UserError: there is neither.
        """
        try:
            self.reload()
        except UserError as error:
            if not (self.folder / POINTER).exists():
                raise
            self.tell(f"{error}; the bundle that was served before is served on")
        with self._locked():
            self._refresh()
            if os.fstat(self._log).st_size > LEAST:
                self._compact()

    def reload(self) -> str:
        """Serve the source's bundle from now on; its version. Requests that are being answered keep the old one.

        Raises:
            UserError: it is damaged, or does not load; the old one stays.
        """
        with self._locked():
            read_manifest(self.source)
            version = hashlib.sha256((self.source / MANIFEST).read_bytes()).hexdigest()[:16]
            name = f"bundle-{version}"
            copy = self.folder / name
            if copy.exists():
                check_files(self.source, read_manifest(self.source))
                try:
                    check_files(copy, read_manifest(copy))
                except UserError:
                    shutil.rmtree(copy, ignore_errors=True)
            if not copy.exists():
                copy_bundle(self.source, copy)
            load_bundle(copy, verify=False)
            old = self._named()
            write_text(self.folder / POINTER, json.dumps({"copy": name, "version": version}) + "\n")
            for other in self.folder.glob("bundle-*"):  # the one before stays for who is loading it
                if other.name not in (name, old):
                    shutil.rmtree(other, ignore_errors=True)
            return version

    def _named(self) -> str:
        try:
            return str(json.loads((self.folder / POINTER).read_text())["copy"])
        except (OSError, ValueError, KeyError, TypeError):
            return ""

    def snapshot(self) -> Snapshot:
        """The newest bundle with all that was acknowledged, by whichever process."""
        with self._mutex:
            self._refresh()
            assert self._bundle is not None
            return Snapshot(self._bundle, self._since, self._version)

    def _refresh(self) -> None:
        at = os.stat(self.folder / POINTER)
        if self._pointer != (at.st_mtime_ns, at.st_ino):
            self._load()
        if not self._is_current():
            self._reopen()
        if os.fstat(self._log).st_size > self._read:
            self._replay(self._fresh())

    def _is_current(self) -> bool:
        """Whether the log that is open is the one in the folder, which another process may have replaced."""
        try:
            return os.stat(self.folder / LOG).st_ino == os.fstat(self._log).st_ino
        except FileNotFoundError:
            return False

    def _reopen(self) -> None:
        """Forget the log, and open the one that took its place."""
        os.close(self._log)
        self._log = self._opened()
        self._least = os.fstat(self._log).st_size
        self._read, self._records, self._since, self._placed = 0, [], {}, []
        self._bundle = self._base

    def _compact(self) -> None:
        """Replace the log by one that comes to the same. Nobody writes meanwhile, and it has been read to its end."""
        made, records = self.folder / f".{LOG}.new", net(self._records)
        try:
            with open(os.open(made, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
                file.writelines(line_of(kind, rows) for kind, rows in records)
                file.flush()
                os.fsync(file.fileno())
            os.replace(made, self.folder / LOG)
            folder = os.open(self.folder, os.O_RDONLY)
            os.fsync(
                folder
            )  # what is appended from now on is in a file that a power failure leaves at its place
            os.close(folder)
        except OSError as error:
            self._least = os.fstat(self._log).st_size
            self.tell(f"{cannot_write(made, error)}; the log stays as it is until it has doubled")
            return
        os.close(self._log)
        self._log, self._records = self._opened(), records
        self._least = self._read = os.fstat(self._log).st_size

    def _load(self) -> None:
        for attempt in range(TRIES):
            at = os.stat(self.folder / POINTER)
            try:
                named = json.loads((self.folder / POINTER).read_text())
                base = ServingBundle(Reader(self.folder / Path(named["copy"]).name, verify=False))
                break
            except (UserError, OSError, ValueError, KeyError):
                if attempt == TRIES - 1:
                    raise
        self._base = self._bundle = base
        self._version, self._pointer = str(named["version"]), (at.st_mtime_ns, at.st_ino)
        self._since, self._placed = {}, []
        self._replay(self._records, keep=False)

    def _fresh(self) -> list[tuple[str, Any]]:
        """The whole lines of the log that were not read before."""
        size = os.fstat(self._log).st_size
        text = os.pread(self._log, size - self._read, self._read)
        whole = text[: text.rfind(b"\n") + 1]
        self._read += len(whole)
        records = []
        for line in whole.splitlines():
            mark, _, body = line.partition(b" ")
            if mark == b"%08x" % zlib.crc32(body) and len(
                body
            ):  # else torn by a kill, and never acknowledged
                record = json.loads(body)
                records.append((record["kind"], record["rows"]))
        return records

    def _replay(self, records: list[tuple[str, Any]], keep: bool = True) -> None:
        if keep:
            self._records += records
        since, added = self._since, False
        for kind, rows in records:
            if kind == "interactions":
                for user, item in rows:  # a list is replaced, not added to: somebody may be reading it
                    if item not in (took := since.get(user, [])):
                        since[user] = [*took, item]
            else:
                added |= self._place(rows)
        if added:
            assert self._base is not None
            self._bundle, _ = self._base.with_items(_joined(self._placed))

    def _place(self, rows: list[dict[str, Any]]) -> bool:
        """Place new items of the log; those that a newer bundle has in its catalogue are no longer new."""
        assert self._base is not None
        known = self._base.items.rows([row["item"] for row in rows]) >= 0
        rows = [row for row, one in zip(rows, known, strict=True) if not one]
        if not rows:
            return False
        try:
            self._placed.append(read_items(rows, self._base))
            return True
        except UserError as error:
            self.tell(f"new items of the log do not fit this bundle and wait for another: {error}")
            return False

    def add_interactions(self, pairs: list[tuple[str, str]]) -> int:
        """Keep that users took items, for good once this returns; how many were given.

        Raises:
            Unknown: there is no such item.
        """
        with self._locked():
            self._refresh()
            assert self._bundle is not None
            need_items(self._bundle, [item for _, item in pairs])
            self._append("interactions", pairs)
        return len(pairs)

    def add_items(self, rows: list[dict[str, Any]]) -> list[str]:
        """Keep new items, for good once this returns; their ids.

        Raises:
            UserError: they do not fit, are known already, or are too many.
        """
        with self._locked():
            self._refresh()
            assert self._bundle is not None and self._base is not None
            ids = [str(row.get("item", "")) for row in rows]
            if (known := self._bundle.items.rows(ids) >= 0).any():
                raise UserError(
                    f"item '{ids[int(np.argmax(known))]}' is known already; new items have ids of their own"
                )
            if sum(map(len, self._placed)) + len(rows) > MOST_NEW:
                raise UserError(
                    f"more than {MOST_NEW:,} new items; package a bundle whose catalogue has them"
                )
            if reason := self._base.about["refuses_items"]:
                raise UserError(reason)
            made = read_items(rows, self._base)
            self._base.with_items(made)
            self._append("items", rows)
        return ids

    def _append(self, kind: str, rows: Any) -> None:
        size = os.fstat(self._log).st_size
        torn = size > 0 and os.pread(self._log, 1, size - 1) != b"\n"
        line = (b"\n" if torn else b"") + line_of(kind, rows)
        try:
            while line:
                line = line[os.write(self._log, line) :]
            os.fsync(self._log)
        except OSError as error:
            raise cannot_write(self.folder / LOG, error) from error
        self._replay(self._fresh())
        if os.fstat(self._log).st_size > max(LEAST, 2 * self._least):
            self._compact()

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """One writer at a time, of all threads and processes."""
        with self._mutex, open(self.folder / LOCK, "a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def line_of(kind: str, rows: Any) -> bytes:
    """A record as it stands in the log, with its checksum."""
    body = json.dumps({"kind": kind, "rows": rows}).encode()
    return b"%08x %b\n" % (zlib.crc32(body), body)


def net(records: Iterable[tuple[str, Any]]) -> list[tuple[str, Any]]:
    """Records that come to the same: new items as they are, then what each user took, once and in order.

    Example:
        >>> net([("interactions", [("ann", "tea")]), ("interactions", [("bob", "pan"), ("ann", "tea")])])
        [('interactions', [('ann', 'tea'), ('bob', 'pan')])]
    """
    took: dict[str, dict[str, None]] = {}
    others = []
    for kind, rows in records:
        if kind == "interactions":
            for user, item in rows:
                took.setdefault(user, {})[item] = None
        else:
            others.append((kind, rows))
    pairs = [(user, item) for user, items in took.items() for item in items]
    return others + [("interactions", pairs[low : low + PAIRS]) for low in range(0, len(pairs), PAIRS)]


class Unknown(UserError):
    """A user or item that nobody knows."""


def need_items(bundle: ServingBundle, items: list[str]) -> None:
    """Raise Unknown where the bundle lacks an item."""
    if len(items) and (lacks := bundle.items.rows(items) < 0).any():
        raise Unknown(f"there is no item '{items[int(np.argmax(lacks))]:.100}'")


def read_items(rows: list[dict[str, Any]], bundle: ServingBundle) -> NewItems:
    """Rows of columns, raw content or features among them, as new items; UserError where they do not fit. Pictures and
    other raw files are in base64: no file of this machine is opened for a client."""
    import pandas as pd

    from recsys.inputs.new_data import new_items_of_frame

    names = list(dict.fromkeys(name for row in rows for name in row))
    # A column of numbers stays one; an absent text is empty.
    frame = pd.DataFrame({name: pd.Series([row.get(name) for row in rows]) for name in names})
    made, _ = new_items_of_frame(frame, bundle.dataset, inline=True)
    return made


def _joined(parts: list[NewItems]) -> NewItems:
    import pandas as pd

    first, *others = parts
    modalities = dict(first.modalities)
    for other in others:
        modalities = {name: stacked(one, other.modalities[name]) for name, one in modalities.items()}
    ids = np.concatenate([part.ids.astype(str) for part in parts])
    return NewItems(ids, modalities, pd.concat([part.attributes for part in parts], ignore_index=True))
