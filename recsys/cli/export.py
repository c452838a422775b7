"""`recsys export`: a trained run's vectors or lists as plain files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from recsys.cli.options import DataRoot, console


def export(
    run: Annotated[Path, typer.Option(help="Folder of a trained run.")],
    output: Annotated[
        Path | None, typer.Option(help="Folder to write; by default export/ in the run's folder.")
    ] = None,
    kind: Annotated[
        Literal["vectors", "trec"],
        typer.Option("--as", help="vectors, or trec: the lists of the test as a TREC run, and its qrels."),
    ] = "vectors",
    k: Annotated[int, typer.Option("-k", "--k", min=1, help="With --as trec: items of each list.")] = 100,
    data_root: DataRoot = None,
) -> None:
    """Write the vectors of users and items, whose inner products are the scores, as npy files with their ids; or the
    lists of the test as TREC files."""
    from recsys.runs.export import export_trec, export_vectors
    from recsys.runs.run import load_run

    folder = output or run / "export"
    trained = load_run(run, str(data_root) if data_root else None)
    if kind == "trec":
        export_trec(trained, folder, k)
    else:
        export_vectors(trained, folder)
    console().print(f"wrote {folder}", markup=False, soft_wrap=True)
