"""One command in a process of its own, killed at a moment or before a change that it makes to files."""

from __future__ import annotations

import multiprocessing
import os
import re
import signal
import sys
import time
from collections.abc import Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

PRELOADED = [
    "recsys.cli.app",
    "recsys.datasets.convert",
    "recsys.experiments.bench.runner",
    "recsys.experiments.report.write",
    "recsys.experiments.tune.trials",
    "recsys.runs.export",
    "recsys.training.loop",
    "torch._dynamo",
    "matplotlib.pyplot",
]
IN_PLACE = re.compile(r"(journal\.log|\.lock)$")
"""Files that are not renamed into place: a journal is appended to and mends itself, a lock holds nothing."""


class Ended(NamedTuple):
    """How a command ended: exit status, below 0 for a signal; seconds; changes to files; names opened for writing."""

    status: int
    seconds: float
    changes: int
    in_place: list[str]


def run_command(
    arguments: Sequence[str],
    folder: Path,
    place: Path,
    moment: float | None = None,
    change: int | None = None,
) -> Ended:
    """Run `recsys ARGUMENTS` in `folder`; killed after `moment` seconds, or before its change number `change`."""
    folder.mkdir(exist_ok=True)
    # Forked from a process that has done nothing but import; `spawn` would import anew each time.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_command, args=(arguments, folder, place, change, theirs))
    process.start()
    theirs.close()
    ours.recv()
    start = time.perf_counter()
    process.join(moment)
    seconds = time.perf_counter() - start
    process.kill()
    process.join()
    status = process.exitcode or 0
    changes, in_place = ours.recv() if status >= 0 else (0, [])
    return Ended(status, seconds, changes, in_place)


def _command(
    arguments: Sequence[str], folder: Path, place: Path, change: int | None, connection: Connection
) -> None:
    """Be the command: in `folder`, with its output in a file beside it, counting what it does to files below."""
    import torch

    torch.set_num_threads(1)
    os.chdir(folder)
    os.environ |= {
        "RECSYS_DATA": str(place / "data"),
        "RECSYS_CACHE": str(folder / "cache"),
        "COLUMNS": "200",
    }
    log = os.open(f"{folder}.log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(log, 1)
    os.dup2(log, 2)
    from recsys.cli.app import main

    watch = Watch(folder, change)
    connection.send("begun")
    sys.addaudithook(watch)
    try:
        main(list(arguments))
    finally:
        watch.over = True
        connection.send((watch.changes, watch.in_place))


class Watch:
    """Counts changes to files below a folder, as Python reports them, and kills its own process before one of them."""

    def __init__(self, folder: Path, change: int | None):
        self.folder, self.change = f"{folder}{os.sep}", change
        self.changes, self.in_place, self.over = 0, list[str](), False

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self.over or event not in ("open", "os.rename", "os.remove", "os.mkdir", "os.rmdir"):
            return
        path = arguments[0]
        if not isinstance(path, (str, bytes, os.PathLike)):
            return
        path = os.path.abspath(os.fsdecode(path))
        if not path.startswith(self.folder):
            return
        if event == "open":
            if not arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
                return
            name = path.removeprefix(self.folder)
            if not any(part.startswith(".") for part in Path(name).parts) and not IN_PLACE.search(name):
                self.in_place.append(name)
        if self.changes == self.change:
            os.kill(os.getpid(), signal.SIGKILL)
        self.changes += 1


def check(ended: Ended, folder: Path) -> None:
    """RuntimeError with the last lines of its output where a command that was left alone did not end well."""
    if ended.status:
        log = Path(f"{folder}.log").read_text(encoding="utf-8", errors="replace").splitlines()
        raise RuntimeError(f"exit status {ended.status}: " + " | ".join(log[-3:]))
