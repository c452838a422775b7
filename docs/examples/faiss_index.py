"""A FAISS index of what `recsys export --run DIR` wrote, and the items that it finds for some users.

    python docs/examples/faiss_index.py DIR/export USER [USER ...]

Needs numpy and faiss-cpu (`pip install "recsys[faiss]"`), neither torch nor recsys.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import faiss
import numpy as np


def read(folder: Path, noun: str) -> tuple[np.ndarray, list[str]]:
    """(n, d) float32 vectors and the raw id of each."""
    vectors = np.load(folder / f"{noun}_vectors.npy", allow_pickle=False)
    return vectors, json.loads((folder / f"{noun}_ids.json").read_text(encoding="utf-8"))


def build(folder: Path) -> faiss.Index:
    """An exact index of inner products, written beside the vectors. Millions of items want an approximate one, for
    example `faiss.index_factory(d, "IVF4096,Flat", faiss.METRIC_INNER_PRODUCT)`."""
    vectors, _ = read(folder, "item")
    index = faiss.IndexFlatIP(vectors.shape[1])
    index.add(vectors)
    faiss.write_index(index, str(folder / "items.faiss"))
    return index


def main(folder: str, *users: str, k: int = 10) -> None:
    index = build(Path(folder))
    vectors, ids = read(Path(folder), "user")
    item_ids = read(Path(folder), "item")[1]
    rows = [ids.index(user) for user in users]
    scores, places = index.search(vectors[rows], min(k, index.ntotal))
    for user, values, found in zip(users, scores, places, strict=True):
        print(user, *(f"{item_ids[place]}:{value:.4f}" for place, value in zip(found, values, strict=True)))


if __name__ == "__main__":
    main(*sys.argv[1:])
