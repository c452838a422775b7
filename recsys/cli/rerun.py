"""`recsys rerun`: a run repeated from its folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from recsys.cli.options import DataRoot, console


def rerun(
    run: Annotated[Path, typer.Argument(help="Folder of a finished run.")],
    out: Annotated[
        Path | None, typer.Option(help="The new folder; by default the run's name with -rerun.")
    ] = None,
    data_root: DataRoot = None,
    device: Annotated[str | None, typer.Option(help="Device to train on; by default the run's.")] = None,
) -> None:
    """Repeat a run in a new folder and compare the metrics; exit status 1 where they differ by more than rounding."""
    from recsys.runs.rerun import beyond_rounding, run_again

    if beyond_rounding(run_again(run, out, str(data_root) if data_root else None, device, console())):
        raise typer.Exit(1)
