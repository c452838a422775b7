"""Encoded content kept across runs: a fitted modality as a whole, other encoders' rows item by item.

`$RECSYS_CACHE/content` holds them. Rows lie in files of as many as were encoded together, named by nothing that is
trusted: each row has the SHA-256 of its own content beside it. So a run that is killed keeps the blocks that were
done, and a second run encodes what is new.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from recsys.cache import cache_folder, csr_of, csr_parts, key_of, read_arrays, write_arrays
from recsys.datasets.dataset import Modality

# Raise it whenever an encoder of ours makes something else of the same content: older files are then never read.
VERSION = 1
MOST_FILES = 8
"""Files of rows of one encoder; more are put together."""
DIGEST = 16
"""Bytes of an item's checksum that are kept."""


def whole(key: str, name: str, make: Callable[[], Modality]) -> Modality:
    """`make()`, read from disk where it was made before under the same key.

    Args:
        key: SHA-256 of everything that goes into it.
        name: of the encoder, for the file's name.
    """
    path = cache_folder("content") / f"{name}-{key_of(VERSION, key)[:32]}.npz"
    arrays = read_arrays(path)
    if arrays is not None and (kept := _modality(arrays)) is not None:
        return kept
    made = make()
    features = made.features
    parts = {"dense": features} if isinstance(features, np.ndarray) else csr_parts(features)
    write_arrays(path, parts | {"mask": made.mask})
    return made


def _modality(arrays: dict[str, np.ndarray]) -> Modality | None:
    features = arrays["dense"] if "dense" in arrays else csr_of(arrays)
    mask = arrays.get("mask")
    if features is None or mask is None or features.ndim != 2:
        return None
    if features.dtype != np.float32 or mask.dtype != bool or mask.shape != features.shape[:1]:
        return None
    return Modality(features, mask)


def digest_of(content: str | bytes) -> bytes:
    """The first bytes of the SHA-256 of one item's content."""
    data = content.encode("utf-8", "surrogatepass") if isinstance(content, str) else content
    return hashlib.sha256(data).digest()[:DIGEST]


def item_by_item(
    key: str,
    name: str,
    digests: Sequence[bytes],
    encode: Callable[[np.ndarray], Modality],
    *,
    block: int = 256,
    kept: bool = True,
    progress: Callable[[int, int], None] | None = None,
) -> Modality:
    """The rows of items, those that are not on disk yet encoded in blocks, each of which is kept when it is done.

    Args:
        key: SHA-256 of the encoder, its revision and options.
        name: of the encoder, for the folder's name.
        digests: n times the checksum of the item's content; b"" of an item without any, which is masked.
        encode: (m,) places of items -> their m rows.
        kept: False keeps nothing and reads nothing.
        progress: told how many of how many are encoded.
    """
    folder = cache_folder("content") / f"{name}-{key_of(VERSION, key)[:32]}"
    known = _read_rows(folder) if kept else {}
    wanted: dict[bytes, int] = {}
    for place, digest in enumerate(digests):
        if digest and digest not in known and digest not in wanted:
            wanted[digest] = place
    places = np.fromiter(wanted.values(), dtype=np.int64, count=len(wanted))
    for low in range(0, len(places), block):
        part = places[low : low + block]
        made = encode(part)
        features = np.asarray(made.features, dtype=np.float32)
        part_digests = [digests[place] for place in part]
        if kept:
            _write_rows(folder, part_digests, features, made.mask)
        known |= dict(zip(part_digests, zip(features, made.mask, strict=True), strict=True))
        if progress:
            progress(min(low + block, len(places)), len(places))
    width = next((len(row) for row, _ in known.values()), 1)
    features = np.zeros((len(digests), width), dtype=np.float32)
    mask = np.zeros(len(digests), dtype=bool)
    for place, digest in enumerate(digests):
        if digest:
            features[place], mask[place] = known[digest]
    features[~mask] = 0
    return Modality(features, mask)


def _read_rows(folder: Path) -> dict[bytes, tuple[np.ndarray, bool]]:
    """Checksum -> row and whether there is one; files that are damaged, or of another width, are left aside."""
    rows: dict[bytes, tuple[np.ndarray, bool]] = {}
    files, width = [], None
    for path in sorted(folder.glob("rows-*.npz")):
        arrays = read_arrays(path)
        if arrays is None or {"digests", "dense", "mask"} - arrays.keys():
            continue
        digests, modality = arrays["digests"], _modality(arrays)
        if modality is None or digests.shape != (len(modality.mask), DIGEST) or digests.dtype != np.uint8:
            continue
        width = width or modality.width
        if modality.width != width:
            continue
        files.append(path)
        rows |= {
            d.tobytes(): row for d, row in zip(digests, zip(*_parts(modality), strict=True), strict=True)
        }
    if len(files) > MOST_FILES:
        names = list(rows)
        _write_rows(
            folder, names, np.stack([rows[n][0] for n in names]), np.array([rows[n][1] for n in names])
        )
        for path in files:
            path.unlink(missing_ok=True)
    return rows


def _parts(modality: Modality) -> tuple[np.ndarray, np.ndarray]:
    return np.asarray(modality.features), modality.mask


def _write_rows(folder: Path, digests: Sequence[bytes], features: np.ndarray, mask: np.ndarray) -> None:
    if not len(digests):
        return
    names = np.frombuffer(b"".join(digests), dtype=np.uint8).reshape(len(digests), DIGEST)
    path = folder / f"rows-{os.getpid()}-{key_of(names)[:16]}.npz"
    write_arrays(path, {"digests": names, "dense": np.ascontiguousarray(features), "mask": np.asarray(mask)})
