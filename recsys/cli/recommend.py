"""`recsys recommend`: the items that a trained run ranks highest."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from recsys.cli.options import DataRoot, console
from recsys.cli.parts import completion

Pool = Literal["new", "all"]


def recommend(
    run: Annotated[Path, typer.Option(help="Folder of a trained run.")],
    user: Annotated[str, typer.Option(help="Raw id of the user.")] = "",
    users: Annotated[str, typer.Option(help="File of raw ids, one on each line; or all.")] = "",
    new_users: Annotated[
        Path | None, typer.Option(help="CSV or Parquet file of new users with their interactions.")
    ] = None,
    new_items: Annotated[
        Path | None, typer.Option(help="npz, Parquet or CSV file of new items with their content.")
    ] = None,
    pool: Annotated[
        Pool | None,
        typer.Option(help="With --new-items: rank new items only (new, the default), or all items."),
    ] = None,
    output: Annotated[
        Path | None, typer.Option(help="Write a .csv or .parquet file instead of printing.")
    ] = None,
    held_out: Annotated[
        bool,
        typer.Option(
            "--held-out",
            help="Rank also what was held out for the test, marked, as the test does. Without it nobody is recommended "
            "what they have.",
        ),
    ] = False,
    rerank: Annotated[
        str,
        typer.Option(
            help="Re-rank the best items: mmr, calibrated or caps; none: by score where the run re-ranks.",
            autocompletion=completion.reranking,
        ),
    ] = "",
    rerank_options: Annotated[
        list[str] | None,
        typer.Option(
            "--rerank-set", metavar="KEY=VALUE", help="Set a setting of the re-ranking step; may be repeated."
        ),
    ] = None,
    because: Annotated[
        int, typer.Option(min=0, help="Name so many of the items that the user took and that weigh most.")
    ] = 0,
    k: Annotated[int, typer.Option("-k", "--k", min=1, help="How many items.")] = 10,
    data_root: DataRoot = None,
) -> None:
    """Print the items that a trained run ranks highest, for its users or new users, of its items or new items."""
    from recsys.runs import recommend as recommending
    from recsys.runs.run import load_run
    from recsys.settings import parse_assignments

    options = parse_assignments(rerank_options or [], "--rerank-set")
    asked = recommending.RecommendRequest(
        user, users, new_items, new_users, pool or "", k, held_out, rerank, options, because
    )
    trained = load_run(run, str(data_root) if data_root else None)
    answer = recommending.recommend(trained, asked)
    screen = console()
    for note in answer.notes:
        screen.print(f"note: {note}", markup=False, soft_wrap=True)
    if output:
        recommending.write_frame(answer.frame, output)
        screen.print(f"wrote {output}", markup=False, soft_wrap=True)
    else:
        for table in recommending.tables(trained, answer):
            screen.print(table)
