"""Built graphs kept on disk under a hash of everything that went into them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import scipy.sparse as sp

from recsys.cache import cache_folder, csr_of, csr_parts, key_of, read_arrays, write_arrays
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
    path = (Path(folder) if folder is not None else cache_folder("graphs")) / (
        f"{builder.__name__}-{key[:32]}.npz"
    )
    kept = _read(path)
    if kept is None:
        noted: list[str] = []
        graph = sp.csr_matrix(builder(*inputs, **parameters, **({} if notes is None else {"notes": noted})))
        kept = graph, noted
        write_arrays(path, csr_parts(graph) | {"notes": np.array(noted, dtype=np.str_)})
    if notes is not None:
        notes += kept[1]
    return kept[0]


def content_key(builder: Callable, inputs: tuple, parameters: dict) -> str:
    """SHA-256, in hexadecimal, of the call `builder(*inputs, **parameters)`."""
    try:
        return key_of(VERSION, builder.__module__, builder.__qualname__, list(inputs), parameters)
    except TypeError as error:
        raise GraphError(str(error)) from None


def _read(path: Path) -> tuple[sp.csr_matrix, list[str]] | None:
    arrays = read_arrays(path)
    graph = None if arrays is None else csr_of(arrays)
    if arrays is None or graph is None:
        return None
    return sp.csr_matrix(graph), arrays["notes"].tolist() if "notes" in arrays else []
