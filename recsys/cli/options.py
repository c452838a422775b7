"""Options that several commands share, and where commands print."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.console import Console

DataRoot = Annotated[
    Path | None,
    typer.Option("--data-root", envvar="RECSYS_DATA", help="Folder that holds data sets, one folder each."),
]
Jobs = Annotated[
    int, typer.Option("--jobs", min=1, help="Jobs at a time, each in a process on this machine.")
]
Dask = Annotated[str, typer.Option(help="Address of a Dask scheduler, or local:N for N processes here.")]
Smoke = Annotated[
    bool, typer.Option("--smoke", help="Run the small version that the file gives under `smoke`.")
]
Device = Annotated[
    str | None, typer.Option(help="auto, cpu, cuda, or cuda:N for one GPU; overrides the file's device.")
]


def console(quiet: bool = False) -> Console:
    """Where tables go; nowhere where `quiet`."""
    from recsys.terminal import PlainConsole

    return PlainConsole(quiet=quiet)
