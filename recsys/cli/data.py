"""`recsys data`: data sets listed, described, verified, converted, and given a card."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from recsys.cli.options import DataRoot, console
from recsys.cli.parts import completion

data = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="List, describe, verify and convert data sets, and write cards.",
)


@data.command("list")
def data_list(data_root: DataRoot = None) -> None:
    """List the data sets that have a card, and those in --data-root."""
    from recsys.runs.tables import datasets_table

    console().print(datasets_table(data_root))


@data.command("info")
def data_info(
    name: Annotated[
        str,
        typer.Argument(help="Name of the data set, or path of its card.", autocompletion=completion.datasets),
    ],
    seed: Annotated[int, typer.Option(help="Seed of the splits.")] = 0,
    data_root: DataRoot = None,
) -> None:
    """Describe a data set: users, items, interactions, sparsity, modalities, and cold items of each split."""
    from recsys.runs.tables import info_tables

    screen = console()
    for table in info_tables(name, data_root, seed):
        screen.print(table)


@data.command("verify")
def data_verify(
    name: Annotated[
        str,
        typer.Argument(help="Name of the data set, or path of its card.", autocompletion=completion.datasets),
    ],
    data_root: DataRoot = None,
) -> None:
    """Check every file against its card's SHA-256."""
    from recsys.datasets.cards import find_card, verify

    verified, card = verify(name, data_root), find_card(name, data_root)
    for path, digest in verified.items():
        console().print(f"{digest}  {path}", markup=False, soft_wrap=True)
    if not card.files:
        console().print(f"the card of {card.name} lists no files: nothing was verified", soft_wrap=True)
    else:
        without = len(card.files) - len(verified)
        rest = f"; of {without} the card has none: these are there, and no more is known" if without else ""
        console().print(
            f"{len(verified)} of {len(card.files)} files match the SHA-256 of the card{rest}", soft_wrap=True
        )


@data.command("init")
def data_init(folder: Annotated[Path, typer.Argument(help="Folder with the data set's files.")]) -> None:
    """Look at a folder's files and write a card for them, to be corrected."""
    import yaml

    from recsys.datasets.cards import CARD_FILE
    from recsys.datasets.guess import guess_card
    from recsys.files import write_text

    guess = guess_card(folder)
    values = guess.card.model_dump(mode="json", exclude_defaults=True)
    write_text(folder / CARD_FILE, yaml.safe_dump(values, sort_keys=False, allow_unicode=True))
    for reason in guess.reasons:
        console().print(reason, markup=False, soft_wrap=True)
    next_step = f"wrote {folder / CARD_FILE}: correct it, then see `recsys data info {folder / CARD_FILE}`"
    console().print(next_step, markup=False, soft_wrap=True)


@data.command("convert")
def data_convert(
    source: Annotated[
        str,
        typer.Argument(help="Name of a data set, or path of its card.", autocompletion=completion.datasets),
    ],
    target: Annotated[Path, typer.Argument(help="Folder to create; must not exist.")],
    data_root: DataRoot = None,
) -> None:
    """Write a data set as Parquet and npy files with a card."""
    from recsys.datasets.cards import find_card, load_dataset
    from recsys.datasets.convert import convert

    convert(load_dataset(source, data_root), target, like=find_card(source, data_root))
    console().print(f"wrote {target}", markup=False, soft_wrap=True)
