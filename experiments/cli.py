"""The commands that stand on whole runs, added to the engine's own command line."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from recsys.cli import app, console, main

__all__ = ["main"]


@app.callback(invoke_without_command=True)
def demo(
    context: typer.Context,
    out: Annotated[Path, typer.Option(help="Folder of the demo's runs; finished ones are kept.")] = Path(
        "runs/demo"
    ),
) -> None:
    """Multimodal recommendations: honest warm and cold-start rankings. Without a command: the demo."""
    if context.invoked_subcommand is None:
        from recsys.experiments.demo import run_demo

        run_demo(out, console())


if __name__ == "__main__":
    main()
