"""`recsys export`: a trained run's vectors as plain files, indexes and towers."""

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
    formats: Annotated[
        list[str] | None,
        typer.Option(
            "--as",
            metavar="FORMAT",
            help="npy (the default), parquet, faiss-flat, faiss-ivf, faiss-hnsw, usearch or onnx; may be repeated.",
        ),
    ] = None,
    data_root: DataRoot = None,
) -> None:
    """Write the vectors of users and items, whose inner products are the scores, or the best items of every user."""
    from recsys.runs.export import export_vectors
    from recsys.runs.run import load_run

    folder, screen = output or run / "export", console()
    notes = export_vectors(load_run(run, str(data_root) if data_root else None), folder, formats or ["npy"])
    for note in notes:
        screen.print(f"note: {note}", markup=False, soft_wrap=True)
    screen.print(f"wrote {folder}", markup=False, soft_wrap=True)
