"""A case: a damaged copy of a sample, the command that meets it, and what is looked at afterwards."""

from __future__ import annotations

import functools
import json
import os
import shutil
import subprocess
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import yaml

from recsys.experiments.benchmarks.fuzzing import binary, trees  # noqa: F401 - they register damages
from recsys.experiments.benchmarks.fuzzing.damage import damages_of, pick

ORDERED = {
    *("citeulike/users.dat", "citeulike/item-tag.dat", "citeulike/tags.dat", "citeulike/citations.dat"),
    "bundle-csv/user_bundle.csv",  # a data set's checksum counts the order of who took which bundle
    *("files/new-items.csv", "files/new-users.csv", "files/users.txt"),
}
"""Files of lines whose order says something."""
Judge = Callable[[Path, Any, bool], str]
"""(the case's folder, how its command ended, whether the damage left the file whole) -> what is wrong; or ""."""


@dataclass
class Plan:
    """One case.

    Attributes:
        body: damages and runs the command.
        judge: prints what is wrong of how it ended.
        also: exit statuses that are as good as 0.
        must_succeed: whether status 2 is wrong.
        prints_first: whether a part of the answer may stand above the error's line.
    """

    title: str
    body: Callable[[], None]
    judge: Callable[[Any], None]
    also: tuple[int, ...] = ()
    must_succeed: bool = False
    prints_first: bool = False


@dataclass
class Command:
    """A command line, in a case's folder.

    Attributes:
        judge: of an answer.
        remove: files that are taken away before.
    """

    arguments: tuple[str, ...]
    judge: Judge
    also: tuple[int, ...] = ()
    remove: tuple[str, ...] = ()


class Answer(NamedTuple):
    """What a command prints, and the files that it writes into `out`."""

    out: str
    files: dict[str, bytes]


Ask = Callable[[Path, tuple[str, ...]], Answer]
"""(a whole run's folder, a command line) -> its answer."""


@dataclass
class Target:
    """A file of a sample.

    Attributes:
        kind: the row that it counts in.
        tree: folder of the samples that is copied to `place` in the case's folder.
        file: the file in it.
        commands: what may read it.
        whole: whether a damage that leaves the meaning whole must go unnoticed.
    """

    kind: str
    tree: Path
    place: str
    file: str
    commands: list[Command]
    whole: bool = True

    def plan(self, folder: Path, rng: np.random.Generator) -> Plan:
        """Draw a damage and a command."""
        shutil.copytree(self.tree, folder / self.place)
        path = folder / self.place / self.file
        damage, command = pick(rng, damages_of(path)), pick(rng, self.commands)
        ordered = f"{self.tree.name}/{self.file}" in ORDERED
        whole = self.whole and damage.whole and not (damage.__name__ == "shuffled" and ordered)

        def body() -> None:
            with warnings.catch_warnings(action="ignore"):
                damage(path, rng)
            for name in command.remove:
                subprocess.run(["rm", "-rf", folder / name], check=True)
            run_command(folder, command.arguments)

        def judge(ended: Any) -> None:
            print(half_written(folder / "out"))
            if ended.status != 2:
                print(command.judge(folder, ended, whole))

        title = f"{self.file} {damage.__name__}, {' '.join(command.arguments[:2])}"
        return Plan(title, body, judge, command.also, whole)


@functools.cache
def command_line() -> Any:
    """All commands with their options, which take longer to make than most commands to run on a sample."""
    from typer.main import get_command

    from recsys.cli.app import make_app

    return get_command(make_app())


def run_command(folder: Path, arguments: tuple[str, ...]) -> None:
    """The command line in a folder; of a process that does nothing else."""
    from recsys.cli import app

    made = command_line()
    app.make_app = lambda: made
    os.chdir(folder)
    app.main(list(arguments))


def outputs(folder: Path) -> list[Path]:
    """Where commands write in a case's folder."""
    return [folder / name for name in ("out", "out.csv", "out.parquet")]


def half_written(out: Path) -> str:
    """The first file below a folder that is not whole; "" where all are."""
    import pyarrow.parquet as pq
    from safetensors.numpy import load_file

    readers: dict[str, Callable[[Path], Any]] = {
        ".json": lambda p: json.loads(p.read_text()),
        ".yaml": lambda p: yaml.safe_load(p.read_text()),
        ".parquet": lambda p: pq.read_table(p),
        ".npy": lambda p: np.load(p),
        ".safetensors": lambda p: load_file(p),
        ".csv": lambda p: p.read_text().endswith("\n") or 1 / 0,
        ".html": lambda p: p.read_text().rstrip().endswith("</html>") or 1 / 0,
    }
    for path in [out] if out.is_file() else sorted(out.rglob("*")):
        if path.name.startswith(".") and path.name != ".lock":
            return f"{path.name} was left behind"
        if path.is_file() and path.suffix in readers:
            try:
                readers[path.suffix](path)
            except Exception as error:
                return f"{path.name} is half-written: {error}"
    return ""


def files_in(folder: Path) -> dict[str, bytes]:
    """Name -> content of a folder's files."""
    return {p.name: p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}
