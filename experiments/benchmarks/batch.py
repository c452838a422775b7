"""All users' lists to Parquet: seconds and memory.

    python -m recsys.experiments.benchmarks.batch --users 100000 --items 100000

Draws vectors and histories, writes a bundle of them, and has a process of its own write every user's ten best items
that the user does not have, of four fifths of the items (a filter leaves out the others). Prints seconds and the peak
of that process's memory, of which the mapped bundle is part, beside the bare product of the vectors in NumPy.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import resource
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import scipy.sparse as sp

from recsys.serving.arrays import Writer
from recsys.serving.batch import write_all
from recsys.serving.bundle import load_bundle
from recsys.serving.ids import Ids
from recsys.serving.parts import FoldIn, Vectors
from recsys.serving.write import ITEMS_FILE, USERS_FILE

SECONDS, GIGABYTES = 300.0, 3.0
"""What it may take on two cores."""


def drawn_bundle(folder: Path, users: int, items: int, width: int, taken: int, seed: int = 0) -> Path:
    """A bundle of random vectors, and histories of at most `taken` items."""
    rng = np.random.default_rng(seed)
    left, right = (rng.normal(size=(n, width)).astype(np.float32) for n in (users, items))
    indices = np.sort(rng.integers(0, items, (users, taken)), axis=1).ravel()
    indptr = np.arange(0, users * taken + 1, taken)
    history = sp.csr_array((np.ones(len(indices), np.float32), indices, indptr), shape=(users, items))
    history.sum_duplicates()
    history.data[:] = 1
    fold_in = FoldIn(right, np.ones(items, np.float32), np.eye(width), np.zeros(width), np.zeros(width))
    folder.mkdir(parents=True)
    writer = Writer(folder)
    pd.DataFrame({"kind": np.arange(items) % 5}).to_parquet(folder / ITEMS_FILE)
    pd.DataFrame().to_parquet(folder / USERS_FILE)
    names = {
        noun: np.array([f"{noun}{i}" for i in range(n)]) for noun, n in (("user", users), ("item", items))
    }
    ids = {noun: Ids.made_of(each, noun, "drawn") for noun, each in names.items()}
    writer.close(
        {
            "about": {
                "model": "drawn",
                "dataset": "drawn",
                "new_users": "exact",
                "new_items": "",
                "version": "",
            },
            "part": writer.value(Vectors(left, right, fold_in)),
            "history": writer.value(history),
            "had": writer.value(history),
            "warm": writer.value(np.ones(items, bool)),
            "bank": writer.value({}),
            "ids": {noun: writer.value([each.names, each.order]) for noun, each in ids.items()},
            "encoders": {},
            "id_columns": {},
            "renames": {},
        }
    )
    return folder


def measure(folder: Path, out: Path, threads: int, result: Path) -> None:
    """Write the lists, and what it took, in a process that has done nothing else."""
    start = time.perf_counter()
    rows = write_all(load_bundle(folder, verify=False), out, 10, where={"kind": {"max": 3}}, threads=threads)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    result.write_text(json.dumps({"seconds": time.perf_counter() - start, "peak": peak, "rows": rows}))


def product_seconds(users: int, items: int, width: int, share: int = 50) -> float:
    """Seconds of all scores in NumPy, from one part in `share` of them."""
    rng = np.random.default_rng(0)
    left = rng.normal(size=(max(1, users // share), width)).astype(np.float32)
    right = rng.normal(size=(items, width)).astype(np.float32)
    start = time.perf_counter()
    for low in range(0, len(left), 100):
        left[low : low + 100] @ right.T
    return (time.perf_counter() - start) * users / len(left)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--users", type=int, default=100_000)
    parser.add_argument("--items", type=int, default=100_000)
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--taken", type=int, default=20)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        folder = drawn_bundle(
            root / "bundle", arguments.users, arguments.items, arguments.width, arguments.taken
        )
        out, result = root / "lists.parquet", root / "result.json"
        process = multiprocessing.get_context("spawn").Process(
            target=measure, args=(folder, out, arguments.threads, result)
        )
        process.start()
        process.join()
        figures = json.loads(result.read_text())
        assert pq.ParquetFile(out).metadata.num_rows == figures["rows"] == 10 * arguments.users
    bare = product_seconds(arguments.users, arguments.items, arguments.width)
    within = figures["seconds"] < SECONDS and figures["peak"] < GIGABYTES * 2**30
    print(
        f"{arguments.users:,} users x {arguments.items:,} items, width {arguments.width}: {figures['seconds']:.0f} s, "
        f"{figures['peak'] / 2**30:.2f} GiB at the peak ({'within' if within else 'NOT within'} {SECONDS:.0f} s and "
        f"{GIGABYTES:.0f} GiB); the bare products: {bare:.0f} s"
    )


if __name__ == "__main__":
    main()
