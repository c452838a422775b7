"""One command in a process of its own, killed at a moment or before a change that it makes to files."""

from __future__ import annotations

import contextlib
import math
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
POLL = 0.002
IN_PLACE = re.compile(r"(journal\.log|\.lock)$")
"""Files that are not renamed into place: a journal is appended to and mends itself, a lock holds nothing."""


class Ended(NamedTuple):
    """How a command ended.

    Attributes:
        status: exit status, below 0 for a signal.
        seconds: of processor time, which a busy machine does not stretch.
        changes: to files in its folder: the process's seconds by then, and the path.
        in_place: paths opened for writing under their final names.
    """

    status: int
    seconds: float
    changes: list[tuple[float, str]]
    in_place: list[str]


def run_command(
    arguments: Sequence[str],
    folder: Path,
    place: Path,
    moment: float | None = None,
    change: int | None = None,
) -> Ended:
    """Run `recsys ARGUMENTS` in `folder`; killed after `moment` seconds of processor time, or before its change number
    `change`. What it prints goes to a file beside the folder."""
    folder.mkdir(exist_ok=True)
    # Forked from a process that has done nothing but import; `spawn` would import anew each time.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_command, args=(arguments, folder, place, change, theirs))
    process.start()
    theirs.close()
    assert process.pid is not None
    while moment is not None and process.is_alive() and processor_seconds(process.pid) < moment:
        time.sleep(POLL)
    if moment is not None:
        process.kill()
    seconds, changes, in_place = 0.0, [], []
    with contextlib.suppress(EOFError):
        seconds, changes, in_place = ours.recv()
    process.join()
    return Ended(process.exitcode or 0, seconds, changes, in_place)


def processor_seconds(pid: int) -> float:
    """What a process of this machine has used, as Linux tells it; infinite where the process has ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    except OSError:
        return math.inf
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _command(
    arguments: Sequence[str], folder: Path, place: Path, change: int | None, connection: Connection
) -> None:
    """Be the command, and send what it has done to files in the end."""
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
    sys.addaudithook(watch)
    try:
        main(list(arguments))
    finally:
        watch.over = True
        connection.send((time.process_time(), watch.changes, watch.in_place))


class Watch:
    """Notes changes to files below a folder, as Python reports them, and kills its own process before one of them."""

    def __init__(self, folder: Path, change: int | None):
        self.folder, self.change = f"{folder}{os.sep}", change
        self.changes, self.in_place, self.over = list[tuple[float, str]](), list[str](), False

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self.over or event not in ("open", "os.rename", "os.remove", "os.mkdir", "os.rmdir"):
            return
        path = arguments[0]
        if not isinstance(path, (str, bytes, os.PathLike)):
            return
        path = os.path.abspath(os.fsdecode(path))
        if not path.startswith(self.folder):
            return
        name = path.removeprefix(self.folder)
        if event == "open":
            if not arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
                return
            if not any(part.startswith(".") for part in Path(name).parts) and not IN_PLACE.search(name):
                self.in_place.append(name)
        if len(self.changes) == self.change:
            os.kill(os.getpid(), signal.SIGKILL)
        self.changes.append((time.process_time(), name))


def check(ended: Ended, folder: Path) -> None:
    """RuntimeError with the last lines of its output where a command that was left alone did not end well."""
    if ended.status:
        log = Path(f"{folder}.log").read_text(encoding="utf-8", errors="replace").splitlines()
        raise RuntimeError(f"exit status {ended.status}: " + " | ".join(log[-3:]))
