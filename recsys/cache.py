"""What was computed, kept on disk under a hash of everything that went into it: shared by graphs and encoded content.

A file is whole or not there, whatever is killed, and nothing that lies there is trusted: what cannot be read is
computed again.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp


def cache_folder(kind: str) -> Path:
    """`$RECSYS_CACHE/<kind>`, or `~/.cache/recsys/<kind>`.

    Example:
        >>> cache_folder("graphs").name
        'graphs'
    """
    root = os.environ.get("RECSYS_CACHE")
    return (Path(root) if root else Path.home() / ".cache" / "recsys") / kind


def key_of(*values: Any) -> str:
    """SHA-256, in hexadecimal, of arrays, sparse matrices, numbers, strings, None, and lists, tuples or dictionaries of
    these, by content: dtype, shape and bytes.

    Raises:
        TypeError: a value of another kind.

    Example:
        >>> key_of(1, ["a"]) == key_of(1, ["a"]), key_of(1) == key_of("1")
        (True, False)
    """
    digest = hashlib.sha256()
    _feed(digest, list(values))
    return digest.hexdigest()


def _feed(digest: Any, value: Any) -> None:
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
        raise TypeError(
            f"cannot hash a {type(value).__name__}: pass arrays, sparse matrices, numbers or strings"
        )


def read_arrays(path: Path) -> dict[str, np.ndarray] | None:
    """The arrays of a file of `write_arrays`; None where it is not there, or damaged."""
    try:
        with np.load(path, allow_pickle=False) as held:
            return {name: held[name] for name in held.files}
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile, zlib.error):
        return None


def write_arrays(path: Path, arrays: dict[str, np.ndarray]) -> bool:
    """Write arrays to an .npz file, whole or not at all; False where the folder cannot be written, which only costs
    computing them again."""
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=".", suffix=".npz.part")
        try:
            with os.fdopen(handle, "wb") as file:
                np.savez(file, **arrays)  # type: ignore[arg-type]
            os.replace(name, path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
        return True
    return False


def csr_parts(matrix: sp.csr_array | sp.csr_matrix) -> dict[str, np.ndarray]:
    """The arrays of a CSR matrix by name, for `write_arrays`."""
    shape = np.asarray(matrix.shape, dtype=np.int64)
    return {"data": matrix.data, "indices": matrix.indices, "indptr": matrix.indptr, "shape": shape}


def csr_of(arrays: dict[str, np.ndarray]) -> sp.csr_array | None:
    """The CSR matrix of `csr_parts`, checked; None where the arrays are none."""
    try:
        parts = (arrays["data"], arrays["indices"], arrays["indptr"])
        matrix = sp.csr_array(parts, shape=tuple(arrays["shape"].tolist()))
        matrix.check_format(full_check=True)
    except (KeyError, ValueError, TypeError):
        return None
    return matrix
