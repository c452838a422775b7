"""`recsys list`: what there is to choose from."""

from __future__ import annotations

from typing import Annotated

import typer

from recsys.cli.options import console
from recsys.cli.parts import completion


def list_parts(
    kind: Annotated[
        str,
        typer.Argument(
            help="models, objectives, content, metrics, readers, splits, datasets or commands.",
            autocompletion=completion.kinds,
        ),
    ] = "",
) -> None:
    """List the parts of a kind, built in or from installed packages; without a kind, count the parts of each."""
    from recsys.cli.parts.describe import kinds_table, parts_table

    screen = console()
    screen.print(parts_table(kind) if kind else kinds_table())
    if not kind:
        screen.print("recsys list KIND names them; recsys show KIND NAME describes one")
