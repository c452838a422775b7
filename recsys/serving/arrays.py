"""A bundle's folder: a manifest in JSON, arrays in npy files that are mapped into memory, each with its SHA-256."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp

from recsys.errors import UserError
from recsys.files import atomic, cannot_write, parse_json, put_folder, replaced_name, sha256, write_text
from recsys.serving.parts import PARTS

MANIFEST = "bundle.json"
FORMAT = 1
"""Of the folder; a bundle of another format is refused."""
CSR = ("data", "indices", "indptr")


class Writer:
    """Writes arrays and parts into an empty folder; what is given twice is written once.

    Args:
        folder: exists and is empty.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self._written: dict[Any, tuple[Any, Any]] = {}

    def array(self, array: np.ndarray) -> str:
        """Name of the file that holds `array`."""
        place = (array.__array_interface__["data"][0], array.shape, array.strides, array.dtype.str)
        if place not in self._written:
            name = f"{sum(isinstance(ref, str) for _, ref in self._written.values()):03d}.npy"
            with atomic(self.folder / name) as temporary, open(temporary, "wb") as file:
                np.save(file, np.ascontiguousarray(array), allow_pickle=False)
            self._written[place] = (array, name)  # kept, so that its place is not given to another
        return self._written[place][1]

    def value(self, value: Any) -> Any:
        """What stands in the manifest for a part's field."""
        if sp.issparse(value):
            if id(value) not in self._written:
                csr = sp.csr_array(value)
                made = {name: self.array(getattr(csr, name)) for name in CSR}
                self._written[id(value)] = (value, {"csr": made, "shape": list(csr.shape)})
            return self._written[id(value)][1]
        if isinstance(value, np.ndarray):
            return {"array": self.array(value)}
        if type(value).__name__ in PARTS:
            kept = {field.name: self.value(getattr(value, field.name)) for field in fields(value)}
            return {"part": type(value).__name__, "fields": kept}
        if isinstance(value, list | tuple):
            return [self.value(one) for one in value]
        if isinstance(value, Mapping):
            return {"map": {str(name): self.value(one) for name, one in value.items()}}
        return value.item() if isinstance(value, np.generic) else value

    def close(self, manifest: Mapping[str, Any]) -> None:
        """Write the manifest, with the size and SHA-256 of every other file."""
        files = {
            path.name: {"bytes": path.stat().st_size, "sha256": sha256(path)}
            for path in sorted(self.folder.iterdir())
        }
        about = {"format": FORMAT, **manifest, "files": files}
        write_text(self.folder / MANIFEST, json.dumps(about, indent=1, ensure_ascii=False) + "\n")


class Reader:
    """Reads what `Writer` wrote. Arrays are mapped into memory: workers of one machine share them. What was written
    once is read once, and so is written once again.

    Raises:
        UserError: the folder holds no whole bundle.
    """

    def __init__(self, folder: Path, verify: bool = True):
        self.folder = folder
        self._read: dict[str, np.ndarray] = {}
        self.manifest = read_manifest(folder)
        check_files(folder, self.manifest, verify)

    def array(self, name: str) -> np.ndarray:
        if name not in self._read:
            self._read[name] = self._mapped(name)
        return self._read[name]

    def _mapped(self, name: str) -> np.ndarray:
        if name not in self.manifest["files"]:
            raise self._damaged(f"'{name}' is not among its files")
        try:
            return np.load(self.folder / name, mmap_mode="r", allow_pickle=False)
        except ValueError as error:
            # An array without elements cannot be mapped.
            try:
                return np.load(self.folder / name, allow_pickle=False)
            except (OSError, ValueError, EOFError):
                raise self._damaged(f"{name}: {error}") from None
        except (OSError, EOFError) as error:
            raise self._damaged(f"{name}: {error}") from None

    def value(self, kept: Any) -> Any:
        """What `Writer.value` was given."""
        try:
            return self._value(kept)
        except (KeyError, TypeError, AttributeError, IndexError) as error:
            raise self._damaged(f"its manifest is not a bundle's ({error})") from None

    def _value(self, kept: Any) -> Any:
        if isinstance(kept, list):
            return [self._value(one) for one in kept]
        if not isinstance(kept, dict):
            return kept
        if "array" in kept:
            return self.array(kept["array"])
        if "csr" in kept:
            arrays = tuple(self.array(kept["csr"][name]) for name in CSR)
            return sp.csr_array(arrays, shape=tuple(kept["shape"]), copy=False)
        if "map" in kept:
            return {name: self._value(one) for name, one in kept["map"].items()}
        values = {name: self._value(one) for name, one in kept["fields"].items()}
        return PARTS[kept["part"]](**values)

    def _damaged(self, reason: str) -> UserError:
        return damaged(self.folder, reason)


def damaged(folder: Path, reason: str) -> UserError:
    """The one line that says why a folder cannot be taken for a bundle."""
    return UserError(f"{folder} is no whole bundle: {reason}; write it again with `recsys package`")


def read_manifest(folder: Path) -> dict[str, Any]:
    """What bundle.json holds.

    Raises:
        UserError: it is not there, damaged, or of another format.
    """
    path = folder / MANIFEST
    if not path.is_file():
        old = replaced_name(folder)
        if not folder.exists() and old.is_dir():
            raise UserError(
                f"{folder} was being replaced when that was killed; rename {old} to it, or package again"
            )
        raise UserError(f"{folder} holds no bundle: it has no {MANIFEST}; write one with `recsys package`")
    try:
        manifest = parse_json(path)
    except (OSError, ValueError) as error:
        raise damaged(folder, f"{MANIFEST}: {error}") from None
    if not isinstance(manifest, dict) or not isinstance(manifest.get("files"), dict):
        raise damaged(folder, f"{MANIFEST} lists no files")
    if manifest.get("format") != FORMAT:
        raise damaged(folder, f"it has format {manifest.get('format')}, this version reads {FORMAT}")
    return manifest


def check_files(folder: Path, manifest: Mapping[str, Any], verify: bool = True) -> None:
    """UserError where a file lacks, has another size or, with `verify`, another SHA-256 than the manifest says."""
    for name, about in _listed(folder, manifest):
        path = folder / name
        try:
            size = path.stat().st_size if path.is_file() else -1
        except OSError:
            size = -1
        if size < 0:
            raise damaged(folder, f"{name} is missing")
        if size != about["bytes"]:
            raise damaged(folder, f"{name} has {size:,} bytes, expected {about['bytes']:,}")
        if verify and sha256(path) != about["sha256"]:
            raise damaged(folder, f"{name} has changed since it was written (SHA-256)")


def _listed(folder: Path, manifest: Mapping[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """Names and figures of the manifest's files, each a name in the folder and nothing else."""
    listed = []
    for name, about in manifest["files"].items():
        plain = Path(name).name == name and not name.startswith(".")
        if not (plain and isinstance(about, dict) and {"bytes", "sha256"} <= about.keys()):
            raise damaged(folder, f"{MANIFEST} lists '{name:.60}', which is no file of its own")
        listed.append((name, about))
    return listed


@contextmanager
def replacing(folder: Path) -> Iterator[Path]:
    """An empty folder to write a bundle to, which then takes the place of `folder`: whole or not at all.

    Raises:
        UserError: `folder` holds something else than a bundle, or cannot be written.
    """
    try:
        if folder.exists() and not (folder / MANIFEST).exists() and any(folder.iterdir()):
            raise UserError(f"{folder} is not empty and holds no bundle; choose another folder with --out")
        temporary = folder.with_name(f".{folder.name}.new")
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
    except OSError as error:
        raise cannot_write(folder, error) from error
    try:
        yield temporary
        put_folder(temporary, folder)
    except OSError as error:
        raise cannot_write(folder, error) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def copy_bundle(source: Path, target: Path) -> None:
    """A copy that nobody else writes to, checked while it is copied: what happens to `source` afterwards, or
    meanwhile, does no harm.

    Raises:
        UserError: `source` is no whole bundle; nothing is left at `target`.
    """
    manifest = read_manifest(source)
    temporary = target.with_name(f".{target.name}.{os.getpid()}")
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        temporary.mkdir(parents=True)
        for name, about in _listed(source, manifest):
            if not (source / name).is_file():
                raise damaged(source, f"{name} is missing")
            shutil.copyfile(source / name, temporary / name)
            if sha256(temporary / name) != about["sha256"]:
                raise damaged(source, f"{name} has changed since it was written (SHA-256)")
        write_text(temporary / MANIFEST, json.dumps(manifest, indent=1, ensure_ascii=False) + "\n")
        os.replace(temporary, target)
    except OSError as error:
        raise cannot_write(target, error) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
