"""`recsys update`: what happened since, folded into a bundle without training."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from recsys.cli.options import console
from recsys.errors import UserError


def update(
    run: Annotated[
        Path | None, typer.Option(help="Folder of a trained run, whose own bundle is updated.")
    ] = None,
    bundle: Annotated[
        Path | None, typer.Option(help="Folder that `recsys package` wrote, in place of --run.")
    ] = None,
    interactions: Annotated[
        Path | None,
        typer.Option(
            help="CSV or Parquet file of interactions, of users whom the bundle knows and of new ones."
        ),
    ] = None,
    new_items: Annotated[
        Path | None, typer.Option(help="npz, Parquet or CSV file of new items with their content.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder to write; by default the updated bundle takes the place of the old one."),
    ] = None,
) -> None:
    """Fold new users, items and interactions into a bundle; nothing is trained again."""
    from recsys.inputs.new_files import read_interactions, read_new_items
    from recsys.runs.artifacts import kept_bundle
    from recsys.serving.bundle import load_bundle

    if (run is None) == (bundle is None):
        raise UserError(
            "name a trained run with --run, or what `recsys package` wrote with --bundle; not both"
        )
    if interactions is None and new_items is None:
        raise UserError("nothing to fold in: give --interactions FILE, --new-items FILE, or both")
    folder = bundle or kept_bundle(run or Path())
    if folder is None:
        raise UserError(
            f"{run} keeps no bundle of its weights; write one with `recsys package`, and give it with --bundle"
        )
    loaded, notes, rows = load_bundle(folder), list[str](), None
    if new_items is not None:
        items, notes = read_new_items(new_items, loaded.dataset)
        loaded, _ = loaded.with_items(items)
    if interactions is not None:
        rows = read_interactions(interactions, loaded.dataset)
    updated = loaded.updated(rows)
    target = updated.save(out or folder)
    about, screen = updated.about, console()
    brought = about["updated"]
    for line in (
        *(f"note: {note}" for note in [*notes, *brought["notes"]]),
        f"wrote {target}: {about['model']} on {about['dataset']}, {about['users']:,} users, {about['items']:,} items",
        f"new: {brought['users']:,} users, {brought['items']:,} items, {brought['interactions']:,} interactions; "
        f"{brought['known']:,} interactions were known already",
    ):
        screen.print(line, markup=False, soft_wrap=True)
