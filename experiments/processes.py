"""Worker processes on this machine, each with its share of the cores, and spans of time in words."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import threading
from collections.abc import Iterator
from multiprocessing.connection import Connection, wait
from typing import Any

DEATHS = 3
"""A job whose process died this often is recorded as failed."""


def duration(seconds: float) -> str:
    """A span of time as people say it."""
    hours, minutes = divmod(round(seconds / 60), 60)
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min" if seconds >= 90 else f"{seconds:.0f} s"


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextlib.contextmanager
def _environment(**values: str) -> Iterator[None]:
    old = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in old.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def start_worker(target: Any, workers: int, *arguments: Any) -> tuple[Connection, Any]:
    """Spawn `target(connection, *arguments)` with the cores' share of one of `workers`; it ends when this
    process does. Returns this side's connection and the process."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    threads = str(max(1, cores() // workers))
    # BLAS and OpenMP read their number of threads when they are first loaded.
    with _environment(OMP_NUM_THREADS=threads, OPENBLAS_NUM_THREADS=threads, MKL_NUM_THREADS=threads):
        process = context.Process(target=_child, args=(target, theirs, arguments), daemon=True)
        process.start()
    theirs.close()
    return ours, process


def _child(target: Any, connection: Connection, arguments: tuple[Any, ...]) -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None

    def end_with_parent() -> None:
        wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=end_with_parent, daemon=True).start()
    with contextlib.suppress(KeyboardInterrupt):
        target(connection, *arguments)
