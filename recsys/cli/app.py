"""The command line: `recsys`, or `python run.py` in a checkout. Heavy imports wait until a command needs them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from recsys.cli.options import console
from recsys.registry import Registry

COMMANDS = Registry(
    "command",
    "recsys.commands",
    {
        "train": "recsys.cli.train:train",
        "recommend": "recsys.cli.recommend:recommend",
        "export": "recsys.cli.export:export",
        "complete": "recsys.cli.complete:complete",
        "data": "recsys.cli.data:data",
        "bench": "recsys.cli.bench:bench",
        "scan": "recsys.cli.scan:scan",
        "rerun": "recsys.cli.rerun:rerun",
        "report": "recsys.cli.report:report",
    },
)
"""A command is a function with typer's annotations, or a typer app of several."""


def make_app() -> typer.Typer:
    """The typer app of all registered commands."""
    app = typer.Typer(
        no_args_is_help=False, add_completion=True, rich_markup_mode=None, pretty_exceptions_enable=False
    )
    app.callback(invoke_without_command=True)(demo)
    for name in COMMANDS:
        command = COMMANDS.get(name)
        if isinstance(command, typer.Typer):
            app.add_typer(command, name=name)
        else:
            app.command(name)(command)
    return app


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


def main(arguments: list[str] | None = None) -> None:
    """Run the command line. What a user can mend is one line on standard error and exit status 2."""
    from recsys.errors import UserError

    try:
        make_app()(arguments, standalone_mode=True)
    except UserError as error:
        print(f"recsys: {error}", file=sys.stderr)
        sys.exit(2)
