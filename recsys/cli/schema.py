"""`recsys schema`: what cards, experiment files and scan files may hold."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from recsys.cli.options import console

Kind = Literal["card", "experiment", "scan"]


def schema(
    kind: Annotated[Kind, typer.Argument(help="The kind of file.")] = "card",
    out: Annotated[Path | None, typer.Option(help="Write it to this file instead of printing.")] = None,
    page: Annotated[
        Path | None, typer.Option(help="Write the docs' page on all kinds to this file instead.")
    ] = None,
) -> None:
    """Print the JSON Schema of a kind of file, with which editors complete and check it."""
    import json

    from recsys.cli.parts import schemas
    from recsys.files import write_text

    text = schemas.page() if page else json.dumps(schemas.schema_of(kind), indent=2, ensure_ascii=False)
    if target := page or out:
        write_text(target, text)
        console().print(f"wrote {target}", soft_wrap=True)
    else:
        print(text)
