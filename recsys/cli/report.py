"""`recsys report`: tables, figures and one page on a folder of runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from recsys.cli.options import DataRoot, console


def report(
    folder: Annotated[Path, typer.Argument(help="Folder that holds finished runs, such as runs/demo.")],
    out: Annotated[
        Path | None, typer.Option(help="The report's folder; by default report/ among the runs.")
    ] = None,
    users: Annotated[
        int, typer.Option(min=1, help="Most users that the explorer offers for each table.")
    ] = 50,
    models: Annotated[
        int, typer.Option(min=1, help="Most models that the explorer offers for each table.")
    ] = 8,
    data_root: DataRoot = None,
) -> None:
    """Write tables, figures and an HTML page about the runs in a folder."""
    from recsys.experiments.report.write import ReportOptions, write_report

    root = str(data_root) if data_root else None
    page = write_report(folder, ReportOptions(out, root, users, models), console())
    console().print(f"report: {page}", markup=False, soft_wrap=True)
