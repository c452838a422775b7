"""Built graphs kept on disk under a hash of everything that went into them."""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import scipy.sparse as sp

from recsys.errors import GraphError

# Raise it whenever a builder's result changes for the same inputs: older files are then never read.
VERSION = 1


def cached(
    builder: Callable[..., sp.csr_matrix],
    *inputs,
    folder: Path | str | None = None,
    notes: list[str] | None = None,
    **parameters,
):
    """`builder(*inputs, **parameters)`, read from disk where the same call was made before.

    Inputs and parameters may be arrays, sparse matrices, numbers, strings, None, and lists, tuples or
    dictionaries of these. The key is the SHA-256 of their contents (dtype, shape and bytes), the builder's
    qualified name and `VERSION`, so a changed feature or interaction is a changed key. A damaged file is
    rebuilt; a folder that cannot be written only costs the saving.

    Args:
        folder: where the files lie; `$RECSYS_CACHE/graphs`, or `~/.cache/recsys/graphs`, where None.
        notes: takes what the builder noted, now or when the graph was built; the builder has a parameter of that name.

    Raises:
        GraphError: an input of a kind that cannot be hashed by content.
    """
    key = content_key(builder, inputs, parameters)
    path = (Path(folder) if folder is not None else default_folder()) / f"{builder.__name__}-{key[:32]}.npz"
    kept = _read(path)
    if kept is None:
        noted: list[str] = []
        graph = sp.csr_matrix(builder(*inputs, **parameters, **({} if notes is None else {"notes": noted})))
        kept = graph, noted
        with contextlib.suppress(OSError):
            _write(path, *kept)
    if notes is not None:
        notes += kept[1]
    return kept[0]


def default_folder() -> Path:
    root = os.environ.get("RECSYS_CACHE")
    return Path(root) / "graphs" if root else Path.home() / ".cache" / "recsys" / "graphs"


def content_key(builder: Callable, inputs: tuple, parameters: dict) -> str:
    """SHA-256, in hexadecimal, of the call `builder(*inputs, **parameters)`."""
    digest = hashlib.sha256()
    _feed(digest, [VERSION, builder.__module__, builder.__qualname__, list(inputs), parameters])
    return digest.hexdigest()


def _feed(digest, value) -> None:
    """Every value goes in with its kind and length, so that no two different calls spell the same bytes."""
    if sp.issparse(value):
        csr = sp.csr_matrix(value)
        if not csr.has_canonical_format:
            csr = csr.copy()
            csr.sum_duplicates()
        digest.update(b"csr")
        _feed(digest, [list(csr.shape), csr.indptr.astype(np.int64), csr.indices.astype(np.int64), csr.data])
    elif isinstance(value, np.ndarray) and value.dtype != object:
        digest.update(f"array {value.dtype.str} {value.shape} ".encode())
        digest.update(np.ascontiguousarray(value).data if value.size else b"")
    elif isinstance(value, dict):
        digest.update(b"dict")
        _feed(digest, [[str(name), value[name]] for name in sorted(value)])
    elif isinstance(value, list | tuple):
        digest.update(f"list {len(value)} ".encode())
        for part in value:
            _feed(digest, part)
    elif value is None or isinstance(value, str | bool | int | float | np.generic):
        plain = value.item() if isinstance(value, np.generic) else value
        text = repr(plain)
        digest.update(f"{type(plain).__name__} {len(text)} {text} ".encode())
    else:
        raise GraphError(
            f"cannot hash a {type(value).__name__}: pass arrays, sparse matrices, numbers or strings"
        )


def _read(path: Path) -> tuple[sp.csr_matrix, list[str]] | None:
    try:
        with np.load(path, allow_pickle=False) as held:
            parts = (held["data"], held["indices"], held["indptr"])
            graph = sp.csr_matrix(parts, shape=tuple(held["shape"].tolist()))
            notes = held["notes"].tolist() if "notes" in held else []
        graph.check_format(full_check=True)
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile):
        return None
    return graph, notes


def _write(path: Path, graph: sp.csr_matrix, notes: list[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".", suffix=".npz.part")
    try:
        with os.fdopen(handle, "wb") as file:
            shape = np.asarray(graph.shape, dtype=np.int64)
            text = np.array(notes, dtype=np.str_)
            np.savez(
                file, data=graph.data, indices=graph.indices, indptr=graph.indptr, shape=shape, notes=text
            )
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
