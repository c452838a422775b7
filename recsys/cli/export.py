"""`recsys export`: a trained run's vectors, indexes, towers, lists or graphs as plain files."""

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
            help="npy (the default), parquet, faiss-flat, faiss-ivf, faiss-hnsw, usearch, onnx; trec: the lists of the "
            "test as a TREC run, and its qrels; or pyg: the training graphs; may be repeated.",
        ),
    ] = None,
    k: Annotated[int, typer.Option("-k", "--k", min=1, help="With --as trec: items of each list.")] = 100,
    data_root: DataRoot = None,
) -> None:
    """Write the vectors of users and items, whose inner products are the scores, or the best items of every user; the
    lists of the test as TREC files; or the graphs that the run was trained on."""
    from recsys.runs.export import export_as
    from recsys.runs.run import load_run

    folder, screen = output or run / "export", console()
    trained = load_run(run, str(data_root) if data_root else None)
    for note in export_as(trained, folder, formats or ["npy"], k):
        screen.print(f"note: {note}", markup=False, soft_wrap=True)
    screen.print(f"wrote {folder}", markup=False, soft_wrap=True)
