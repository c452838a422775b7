"""All users' lists into one Parquet file, in blocks."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from recsys.errors import UserError
from recsys.files import atomic
from recsys.serving.bundle import ServingBundle

CELLS = 2**23
"""Scores that each thread holds at a time."""
SCHEMA = pa.schema(
    [("user", pa.string()), ("rank", pa.int32()), ("item", pa.string()), ("score", pa.float32())]
)


def write_all(
    bundle: ServingBundle,
    path: Path,
    k: int = 10,
    *,
    exclude: Iterable[Any] = (),
    include: Iterable[Any] | None = None,
    where: Mapping[str, Any] | None = None,
    threads: int = 0,
) -> int:
    """Write the `k` best items of every user of the bundle to a Parquet file with `user`, `rank`, `item` and `score`,
    whole or not at all; the number of rows.

    Memory does not grow with the number of users. What a user has is left out.

    Args:
        exclude, include, where: as in `ServingBundle.recommend`.
        threads: blocks at a time; 0: one for each processor.

    Raises:
        UserError: what `ServingBundle.allowed` refuses, or the file cannot be written.

    Example:
        >>> import recsys, tempfile
        >>> run = recsys.train("pop", recsys.toy_data())
        >>> bundle = recsys.load_bundle(run.package(tempfile.mkdtemp() + "/bundle"))
        >>> write_all(bundle, Path(tempfile.mkdtemp()) / "lists.parquet", k=3) == 3 * len(bundle.users.names)
        True
    """
    from threadpoolctl import threadpool_limits

    if path.suffix != ".parquet":
        raise UserError(f"{path}: lists of all users are written as .parquet; name such a file")
    allowed, written = bundle.allowed(exclude, include, where), 0
    # A thread for each block, not for each product: the ranking is most of the work, and has no threads of its own.
    with threadpool_limits(1), atomic(path) as temporary, pq.ParquetWriter(temporary, SCHEMA) as file:
        for table in _tables(bundle, k, allowed, threads or os.cpu_count() or 1):
            file.write_table(table)
            written += table.num_rows
    return written


def _tables(bundle: ServingBundle, k: int, allowed: np.ndarray | None, threads: int) -> Iterator[pa.Table]:
    """The lists of one block of users after another, as many blocks ahead as there are threads."""
    everybody = bundle.recipients()
    users, items = (pa.array(ids.names) for ids in (bundle.users, bundle.items))
    size = max(1, CELLS // bundle.n_items)

    def block(low: int) -> pa.Table:
        rows, ranks, numbers, scores = bundle.rank(everybody.rows(slice(low, low + size)), k, allowed)
        columns = [users.take(low + rows), ranks.astype(np.int32), items.take(numbers), scores]
        return pa.table(columns, schema=SCHEMA)

    waiting: deque[Future[pa.Table]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        for low in range(0, len(users), size):
            waiting.append(pool.submit(block, low))
            if len(waiting) > threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
