"""`recsys export`: a trained run's vectors, or its graphs, as plain files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from recsys.cli.options import DataRoot, console


def export(
    run: Annotated[Path, typer.Option(help="Folder of a trained run.")],
    output: Annotated[
        Path | None, typer.Option(help="Folder to write; by default export/ in the run's folder.")
    ] = None,
    data_root: DataRoot = None,
    form: Annotated[
        str,
        typer.Option("--as", help="vectors: of users and items; pyg: training graphs, for torch-geometric."),
    ] = "vectors",
) -> None:
    """Write the vectors of users and items, whose inner products are the scores, as npy files with their ids; or the
    graphs that the run was trained on."""
    from recsys.runs.export import export_as
    from recsys.runs.run import load_run

    folder = output or run / "export"
    export_as(load_run(run, str(data_root) if data_root else None), folder, form)
    console().print(f"wrote {folder}", markup=False, soft_wrap=True)
