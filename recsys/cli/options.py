"""Options that several commands share, and where commands print."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from recsys.cli.parts import completion

if TYPE_CHECKING:
    from rich.console import Console

DataRoot = Annotated[
    Path | None,
    typer.Option("--data-root", envvar="RECSYS_DATA", help="Folder that holds data sets, one folder each."),
]
DatasetName = Annotated[
    str,
    typer.Option(
        "--dataset", help="Name of a data set, or path of its card.", autocompletion=completion.datasets
    ),
]
Split = Annotated[
    str,
    typer.Option(
        help="How to split; by default predefined where the data set has such a split, else random.",
        autocompletion=completion.splits,
    ),
]
SplitSeed = Annotated[int, typer.Option("--split-seed", min=0, help="Seed of the split.")]
SplitOptions = Annotated[
    list[str] | None,
    typer.Option(
        "--split-set",
        metavar="KEY=VALUE",
        help="Set an option of the split; may be repeated.",
        autocompletion=completion.split_options,
    ),
]
Metrics = Annotated[
    list[str] | None,
    typer.Option(
        "--metric",
        metavar="NAME@K",
        help="Report this metric too; may be repeated.",
        autocompletion=completion.metrics,
    ),
]
RerankOptions = Annotated[
    list[str] | None,
    typer.Option(
        "--rerank-set", metavar="KEY=VALUE", help="Set a setting of the re-ranking step; may be repeated."
    ),
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
