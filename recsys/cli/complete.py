"""`recsys complete`: the items that complete a bundle."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from recsys.cli.options import DataRoot, console


def complete(
    run: Annotated[Path, typer.Option(help="Folder of a run trained with --task bundle.")],
    items: Annotated[str, typer.Option(help="Raw ids of the bundle's items, separated by commas.")],
    k: Annotated[int, typer.Option("-k", "--k", min=1, help="How many items.")] = 10,
    data_root: DataRoot = None,
) -> None:
    """Print the items that a trained run adds to a bundle."""
    from recsys.runs.complete import complete_table
    from recsys.runs.run import load_run

    trained = load_run(run, str(data_root) if data_root else None)
    console().print(complete_table(trained, items.split(","), k))
