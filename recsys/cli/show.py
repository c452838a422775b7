"""`recsys show`: all that is known of one part."""

from __future__ import annotations

from typing import Annotated

import typer

from recsys.cli.options import console
from recsys.cli.parts import completion


def show(
    kind: Annotated[
        str, typer.Argument(help="The kind, as in `recsys list`.", autocompletion=completion.kinds)
    ],
    name: Annotated[str, typer.Argument(help="The part's name.", autocompletion=completion.parts)],
) -> None:
    """Show a part: paper or source, file, what it reads and can do, and every setting's default, range and meaning."""
    from recsys.cli.parts.describe import description

    screen = console()
    for part in description(kind, name):
        screen.print(part)
