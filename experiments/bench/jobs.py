"""Running cells: one after another here, or spread over processes. A cell that fails says so and is left."""

from __future__ import annotations

import contextlib
import functools
import json
import multiprocessing
import os
import threading
import time
import traceback
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, NamedTuple

from filelock import FileLock

from recsys.datasets.cards import load_dataset
from recsys.datasets.dataset import Dataset
from recsys.errors import UserError
from recsys.experiments.bench.config import Cell
from recsys.files import write_text
from recsys.runs.run import METRICS_FILE, execute, prepare
from recsys.runs.versions import data_checksum

ERROR_FILE, ERROR_LOG, CELL_FILE = "error.json", "error.log", "cell.json"
DEATHS = 3
"""A cell whose process died this often is recorded as failed."""


class Outcome(NamedTuple):
    """What became of a cell: the error in one line, empty where it finished; seconds that it took."""

    error: str
    seconds: float


def finished(folder: Path) -> bool:
    """Whether the folder holds a finished run.

    Raises:
        UserError: its metrics cannot be read.
    """
    return (folder / METRICS_FILE).exists() and bool(read_result(folder))


def read_result(folder: Path) -> dict[str, Any]:
    """What a finished cell reported; UserError where it cannot be read."""
    path = folder / METRICS_FILE
    try:
        metrics = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(metrics, dict) and {"test", "timing", "users"} <= metrics.keys():
            return metrics
    except (OSError, ValueError):
        pass
    raise UserError(f"{path} is not a finished run's; delete the folder and run again")


@functools.lru_cache(maxsize=1)
def _loaded(name: str, data_root: str | None) -> tuple[Dataset, str]:
    """One data set a process is kept: cells come grouped by data set."""
    dataset = load_dataset(name, data_root)
    return dataset, data_checksum(dataset)


def run_cell(cell: Cell, given: Dataset | None = None) -> Outcome:
    """Train and test one cell, or go on where a killed one stopped; what goes wrong lands in its folder.

    Args:
        given: its data set, where the caller holds it.

    Raises:
        UserError: the disk is full or the folder cannot be written; the other cells would end alike.
    """
    start = time.perf_counter()
    try:
        cell.folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot write {cell.folder}: {error.strerror}; choose another --out") from None
    # A cell that a scheduler gave twice waits here for its twin, and then finds it done.
    with FileLock(cell.folder / ".lock"):
        try:
            if not finished(cell.folder):
                _train_and_test(cell, given)
        except Exception as error:
            if _no_room(error):
                raise
            return Outcome(record_failure(cell, error), time.perf_counter() - start)
    return Outcome("", time.perf_counter() - start)


def _train_and_test(cell: Cell, given: Dataset | None) -> None:
    from recsys.training.loop import RESUME_FILE

    for name in (ERROR_FILE, ERROR_LOG):
        (cell.folder / name).unlink(missing_ok=True)
    if given is None:
        given, checksum = _loaded(cell.config.dataset, cell.config.data_root)
        if checksum != cell.data:
            raise UserError(f"{cell.config.dataset} has other content in this process than where it began")
    about = {"label": cell.label, "key": cell.key, "data_sha256": cell.data, "code_sha256": cell.code}
    write_text(cell.folder / CELL_FILE, json.dumps(about, indent=2) + "\n")
    execute(prepare(cell.config, given), cell.folder, resume=True)
    (cell.folder / RESUME_FILE).unlink(missing_ok=True)


def _no_room(error: BaseException) -> bool:
    """Whether a file could not be written: not this cell's fault, and no use to try the next."""
    return isinstance(error, UserError) and isinstance(error.__cause__, OSError)


def record_failure(cell: Cell, error: BaseException | str) -> str:
    """Write error.json (one line) and error.log (the traceback) to the cell's folder; return the line."""
    if isinstance(error, str):
        line, trace = error, error + "\n"
    else:
        text = " ".join(str(error).split()) or type(error).__name__
        line = text if isinstance(error, UserError) else f"{type(error).__name__}: {text}"
        trace = "".join(traceback.format_exception(error))
    write_text(cell.folder / ERROR_LOG, trace)
    write_text(cell.folder / ERROR_FILE, json.dumps({"error": line, "cell": cell.name}, indent=2) + "\n")
    return line


def in_turn(cells: Iterable[Cell], datasets: dict[str, Dataset]) -> Iterator[tuple[Cell, Outcome]]:
    """Run the cells here, one after another; the data sets are shared by all."""
    for cell in cells:
        yield cell, run_cell(cell, datasets[cell.config.dataset])


def in_processes(cells: Sequence[Cell], jobs: int) -> Iterator[tuple[Cell, Outcome]]:
    """Run the cells in `jobs` processes, each with its share of the cores.

    A process that dies is replaced and its cell tried again, at most DEATHS times in all.

    Raises:
        UserError: a process could not write its files.
    """
    waiting, deaths = deque(cells), Counter()
    busy: dict[Connection, tuple[Any, Cell]] = {}
    idle: list[tuple[Connection, Any]] = []
    try:
        while waiting or busy:
            while waiting and len(busy) < jobs:
                connection, process = idle.pop() if idle else start_worker(_serve, jobs)
                cell = waiting.popleft()
                connection.send(cell)
                busy[connection] = process, cell
            for connection in wait(list(busy)):
                process, cell = busy.pop(connection)
                try:
                    outcome = connection.recv()
                except (EOFError, ConnectionError):
                    process.join()
                    deaths[cell] += 1
                    if deaths[cell] < DEATHS:
                        waiting.appendleft(cell)
                        continue
                    line = f"its process died {DEATHS} times (exit status {process.exitcode}); out of memory?"
                    outcome = Outcome(record_failure(cell, line), 0.0)
                else:
                    idle.append((connection, process))
                if isinstance(outcome, UserError):
                    raise outcome
                yield cell, outcome
    finally:
        for process in [p for p, _ in busy.values()] + [p for _, p in idle]:
            process.terminate()
            process.join()


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

    def end_with_parent() -> None:
        wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=end_with_parent, daemon=True).start()
    with contextlib.suppress(KeyboardInterrupt):
        target(connection, *arguments)


def _serve(connection: Connection) -> None:
    """Run the cells that come through the connection, until it closes."""
    while True:
        try:
            cell = connection.recv()
        except EOFError:
            return
        try:
            outcome: Outcome | UserError = run_cell(cell)
        except UserError as error:
            outcome = UserError(str(error))
        connection.send(outcome)
