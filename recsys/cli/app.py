"""The command line: `recsys`, or `python run.py` in a checkout. Heavy imports wait until a command needs them."""

from __future__ import annotations

import atexit
import contextlib
import gc
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, cast

import typer

from recsys.cli.options import console
from recsys.errors import UserError
from recsys.registry import Registry, is_function
from recsys.terminal import one_line

NOT_TAKEN: type[Exception] = cast("type[Exception]", typer.BadParameter.__mro__[1])
"""What typer raises of an unknown option or command, of a value that is none of its kind, and of what is lacking: the
class has no public name."""
COMMANDS = Registry(
    "command",
    "recsys.commands",
    {
        "list": "recsys.cli.list:list_parts",
        "show": "recsys.cli.show:show",
        "train": "recsys.cli.train:train",
        "recommend": "recsys.cli.recommend:recommend",
        "package": "recsys.cli.package:package",
        "update": "recsys.cli.update:update",
        "serve": "recsys.cli.serve:serve",
        "evaluate": "recsys.cli.evaluate:evaluate",
        "export": "recsys.cli.export:export",
        "complete": "recsys.cli.complete:complete",
        "data": "recsys.cli.data:data",
        "bench": "recsys.cli.bench:bench",
        "scan": "recsys.cli.scan:scan",
        "rerun": "recsys.cli.rerun:rerun",
        "report": "recsys.cli.report:report",
        "schema": "recsys.cli.schema:schema",
    },
    accepts=lambda part: is_function(part) or isinstance(part, typer.Typer),
    expected="a function with typer's annotations or a typer app",
)
"""A command is a function with typer's annotations, or a typer app of several."""

ALLOCATED = 10_000
"""Objects between two looks for garbage. What is imported stays, and Python would look through it again and again, and
once more at the end: a quarter of a small command."""


def make_app() -> typer.Typer:
    """The typer app of all registered commands."""
    app = typer.Typer(
        no_args_is_help=False, add_completion=True, rich_markup_mode=None, pretty_exceptions_enable=False
    )
    app.callback(invoke_without_command=True)(demo)
    for name in COMMANDS:
        try:
            command = COMMANDS.get(name)
        except UserError as error:
            command = _broken(str(error))
        if isinstance(command, typer.Typer):
            app.add_typer(command, name=name)
        else:
            app.command(name)(command)
    return app


def _broken(reason: str) -> Callable[[], None]:
    """What stands in the place of a command that a package brings and that cannot be imported."""

    def command() -> None:
        raise UserError(reason)

    command.__doc__ = f"Out of order: {reason}"
    return command


def _version(asked: bool) -> None:
    if asked:
        from recsys import __version__

        typer.echo(f"recsys {__version__}")
        raise typer.Exit


def demo(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_version, is_eager=True)
    ] = False,
    out: Annotated[Path, typer.Option(help="Folder of the demo's runs; finished runs are reused.")] = Path(
        "runs/demo"
    ),
) -> None:
    """Multimodal recommender systems, ranked on warm and cold items. Without a command, the demo runs."""
    if context.invoked_subcommand is None:
        from recsys.experiments.demo import run_demo

        run_demo(out, console())


def main(arguments: list[str] | None = None) -> None:
    """Run the command line. What a user can mend is one line on standard error and exit status 2: a UserError, or what
    the system refuses (a terminal's pipe that is full, a name that is too long)."""
    if arguments is None:  # a process of its own
        gc.set_threshold(ALLOCATED, *gc.get_threshold()[1:])
        atexit.register(gc.freeze)
    if sys.stderr.isatty():
        from recsys.datasets.content.progress import PROGRESS, bar_on

        PROGRESS.set(bar_on(sys.stderr))
    try:
        try:
            status = make_app()(arguments, standalone_mode=False)
        finally:
            sys.stdout.flush()
        sys.exit(status or 0)
    except NOT_TAKEN as error:
        print(_not_taken(error), file=sys.stderr)
        sys.exit(2)
    except typer.Abort:
        sys.exit(1)
    except (UserError, OSError) as error:
        with contextlib.suppress(OSError, ValueError):
            _drop_unwritten()
        print(f"recsys: {one_line(error)}", file=sys.stderr)
        sys.exit(2)
    except (MemoryError, RuntimeError) as error:
        if not isinstance(error, MemoryError) and "not enough memory" not in str(error):  # torch's own
            raise
        remedy = "take a smaller width or batch_size, another model, or fewer processes"
        print(f"recsys: out of memory ({one_line(error)[:200]}); {remedy}", file=sys.stderr)
        sys.exit(2)


def _not_taken(error: Any) -> str:
    """One line on a command line that is not taken; where nothing was asked for, what can be."""
    if type(error).__name__ == "NoArgsIsHelpError":
        return str(error.format_message())
    said = re.sub(
        r"([(.] ?)([A-Z])",
        lambda at: at[1].replace(".", ";") + at[2].lower(),
        one_line(error.format_message()),
    )
    command = error.ctx.command_path.removeprefix(error.ctx.find_root().command_path) if error.ctx else ""
    return f"recsys: {said[:1].lower()}{said[1:].rstrip('.')} (see `recsys{command} --help`)"


def _drop_unwritten() -> None:
    """Let nothing that standard output could not take be tried again when the interpreter ends."""
    try:
        sys.stdout.flush()
    except OSError:
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, sys.stdout.fileno())
        os.close(null)
