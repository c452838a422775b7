"""What a result rests on besides its settings: the data's content and the code that made it, as checksums."""

from __future__ import annotations

import ast
import functools
import hashlib
import importlib.util
import re
from importlib import metadata
from pathlib import Path
from weakref import WeakKeyDictionary

import numpy as np
import pandas as pd

from recsys.datasets.dataset import Dataset

_CHECKSUMS: WeakKeyDictionary[Dataset, str] = WeakKeyDictionary()
_TARGET = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")
# Other models do not change this one's figures, nor does what is printed of a run, nor where it runs; readers have
# theirs through the data's checksum.
_NOT_FOLLOWED = frozenset(
    {
        "recsys.models",
        "recsys.datasets.cards",
        "recsys.training.progress",
        "recsys.runs.record",
        "recsys.training.distributed",
    }
)


def data_checksum(dataset: Dataset) -> str:
    """SHA-256 of everything a model could read: interactions, content with its masks, attributes, raw ids.

    Of features that were computed at load it is the raw content and the way that count, so that it is the same on every
    machine and with every number of threads. A view of a data set has the data set's.
    """
    dataset = dataset.whole
    if dataset not in _CHECKSUMS:
        _CHECKSUMS[dataset] = _checksum(dataset)
    return _CHECKSUMS[dataset]


def _checksum(dataset: Dataset) -> str:
    digest = hashlib.sha256()

    def add(name: str, array: np.ndarray) -> None:
        digest.update(f"{name} {array.dtype} {array.shape} ".encode())
        digest.update(np.ascontiguousarray(array).data if array.size else b"")

    for column in sorted(dataset.interactions):
        add(column, dataset.interactions[column].to_numpy())
    for name, modality in sorted(dataset.modalities.items()):
        if modality.made_of:
            digest.update(f"{name} {modality.made_of} ".encode())
            continue
        add(name, modality.mask)
        features = modality.features
        parts = ("data", "indices", "indptr") if modality.is_sparse else ()
        for part in parts or ("dense",):
            add(f"{name}.{part}", getattr(features, part) if parts else features)
    if dataset.bundles is not None:
        for frame in (dataset.bundles.items, dataset.bundles.owners):
            for column in sorted(frame):
                add(f"bundles.{column}", frame[column].to_numpy())
    for frame in (dataset.user_attributes, dataset.item_attributes):
        digest.update(_text(frame))
    for ids in (dataset.user_ids, dataset.item_ids):
        digest.update("\n".join(map(str, ids)).encode())
    return digest.hexdigest()


def _text(frame: pd.DataFrame) -> bytes:
    return frame.to_csv(index=False).encode() if len(frame.columns) else b""


@functools.cache
def code_version(*modules: str) -> str:
    """SHA-256 of what these modules and all that they import, within their own packages, do.

    Comments, docstrings and layout do not count; names of parts ("module:attribute") are followed as imports.
    """
    roots = {module.partition(".")[0] for module in modules}
    digest = hashlib.sha256(metadata.version("recsys").encode())
    waiting, seen = list(modules), set()
    parts = {}
    while waiting:
        module = waiting.pop()
        if module in seen or module.partition(".")[0] not in roots:
            continue
        seen.add(module)
        source, imports = _module(module)
        parts[module] = source
        if module not in _NOT_FOLLOWED:
            waiting += imports
    for module in sorted(name for name in parts if name not in _NOT_FOLLOWED):
        digest.update(f"{module} {parts[module]}\n".encode())
    return digest.hexdigest()


@functools.cache
def _module(name: str) -> tuple[str, tuple[str, ...]]:
    """A module's checksum and the modules that it names; nothing for a name that is no Python module."""
    try:
        spec = importlib.util.find_spec(name)
    except (ModuleNotFoundError, ValueError):
        spec = None
    if spec is None or not spec.origin or not spec.origin.endswith(".py"):
        return "", ()
    tree = ast.parse(Path(spec.origin).read_text(encoding="utf-8"))
    package = name if spec.submodule_search_locations else name.rpartition(".")[0]
    imports: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            imports.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                base = importlib.util.resolve_name("." * node.level + base, package)
            imports.update([base, *(f"{base}.{alias.name}" for alias in node.names)])
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and _TARGET.fullmatch(node.value):
            imports.add(node.value.partition(":")[0])
        elif isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node):
            node.body = node.body[1:]
    return hashlib.sha256(ast.dump(tree).encode()).hexdigest(), tuple(sorted(imports))
