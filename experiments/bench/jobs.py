"""Running jobs: one after another here, or spread over processes. A job that fails says so and is left."""

from __future__ import annotations

import functools
import json
import time
import traceback
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, NamedTuple, cast

from filelock import FileLock

from recsys.datasets.cards import load_dataset
from recsys.datasets.dataset import Dataset
from recsys.errors import UserError
from recsys.experiments.bench.config import ERROR_FILE, ERROR_LOG, JOB_FILE, Job
from recsys.experiments.processes import DEATHS, start_worker
from recsys.files import write_text
from recsys.runs.artifacts import read_metrics
from recsys.runs.run import execute, prepare
from recsys.runs.versions import data_checksum


class Outcome(NamedTuple):
    """What became of a job: the error in one line, empty where it finished; seconds that it took."""

    error: str
    seconds: float


def finished(folder: Path) -> bool:
    """Whether the folder holds a finished run.

    Raises:
        UserError: its metrics cannot be read.
    """
    return read_metrics(folder) is not None


@functools.lru_cache(maxsize=1)
def _loaded(name: str, data_root: str | None) -> tuple[Dataset, str]:
    """One data set a process is kept: jobs come grouped by data set."""
    dataset = load_dataset(name, data_root)
    return dataset, data_checksum(dataset)


def run_job(job: Job, given: Dataset | None = None) -> Outcome:
    """Train and test one job, or go on where a killed one stopped; what goes wrong lands in its folder.

    Args:
        given: its data set, where the caller holds it.

    Raises:
        UserError: the disk is full or the folder cannot be written; the other jobs would end alike.
    """
    start = time.perf_counter()
    try:
        job.folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot write {job.folder}: {error.strerror}; choose another --out") from None
    # A job that a scheduler gave twice waits here for its twin, and then finds it done.
    with FileLock(job.folder / ".lock"):
        try:
            if not finished(job.folder):
                _train_and_test(job, given)
        except Exception as error:
            if _no_room(error):
                raise
            return Outcome(record_failure(job, error), time.perf_counter() - start)
    return Outcome("", time.perf_counter() - start)


def _train_and_test(job: Job, given: Dataset | None) -> None:
    for name in (ERROR_FILE, ERROR_LOG):
        (job.folder / name).unlink(missing_ok=True)
    if given is None:
        given, checksum = _loaded(job.config.dataset, job.config.data_root)
        if checksum != job.data:
            raise UserError(f"{job.config.dataset} has other content in this process than where it began")
    about = {"label": job.label, "key": job.key, "data_sha256": job.data, "code_sha256": job.code}
    write_text(job.folder / JOB_FILE, json.dumps(about, indent=2) + "\n")
    execute(prepare(job.config, given), job.folder, resume=True)


def _no_room(error: BaseException) -> bool:
    """Whether a file could not be written: not this job's fault, and no use to try the next."""
    return isinstance(error, UserError) and isinstance(error.__cause__, OSError)


def record_failure(job: Job, error: BaseException | str) -> str:
    """Write error.json (one line) and error.log (the traceback) to the job's folder; return the line."""
    if isinstance(error, str):
        line, trace = error, error + "\n"
    else:
        text = " ".join(str(error).split()) or type(error).__name__
        line = text if isinstance(error, UserError) else f"{type(error).__name__}: {text}"
        trace = "".join(traceback.format_exception(error))
    write_text(job.folder / ERROR_LOG, trace)
    write_text(job.folder / ERROR_FILE, json.dumps({"error": line, "job": job.name}, indent=2) + "\n")
    return line


def in_turn(jobs: Iterable[Job], datasets: Mapping[str, Dataset]) -> Iterator[tuple[Job, Outcome]]:
    """Run the jobs here, one after another; the data sets are shared by all."""
    for job in jobs:
        yield job, run_job(job, datasets[job.config.dataset])


def in_processes(jobs: Sequence[Job], processes: int) -> Iterator[tuple[Job, Outcome]]:
    """Run the jobs in `processes` processes, each with its share of the cores.

    A process that dies is replaced and its job tried again, at most DEATHS times in all.

    Raises:
        UserError: a process could not write its files.
    """
    waiting = deque(jobs)
    deaths: Counter[Job] = Counter()
    busy: dict[Connection, tuple[Any, Job]] = {}
    idle: list[tuple[Connection, Any]] = []
    try:
        while waiting or busy:
            while waiting and len(busy) < processes:
                connection, process = idle.pop() if idle else start_worker(_serve, processes)
                job = waiting.popleft()
                connection.send(job)
                busy[connection] = process, job
            for connection in cast(list[Connection], wait(list(busy))):
                process, job = busy.pop(connection)
                try:
                    outcome = connection.recv()
                except (EOFError, ConnectionError):
                    process.join()
                    deaths[job] += 1
                    if deaths[job] < DEATHS:
                        waiting.appendleft(job)
                        continue
                    line = f"its process died {DEATHS} times (exit status {process.exitcode}); out of memory?"
                    outcome = Outcome(record_failure(job, line), 0.0)
                else:
                    idle.append((connection, process))
                if isinstance(outcome, UserError):
                    raise outcome
                yield job, outcome
    finally:
        for process in [p for p, _ in busy.values()] + [p for _, p in idle]:
            process.terminate()
            process.join()


def _serve(connection: Connection) -> None:
    """Run the jobs that come through the connection, until it closes."""
    while True:
        try:
            job = connection.recv()
        except EOFError:
            return
        try:
            outcome: Outcome | UserError = run_job(job)
        except UserError as error:
            outcome = UserError(str(error))
        connection.send(outcome)
