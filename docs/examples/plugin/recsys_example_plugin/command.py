"""A command: a function with typer's annotations."""

from typing import Annotated

import typer

from recsys.cli.options import DataRoot


def count(
    name: Annotated[str, typer.Argument(help="Name of a data set.")] = "example-plays",
    data_root: DataRoot = None,
) -> None:
    """Count the users, items and interactions of a data set."""
    from recsys.datasets.cards import load_dataset  # here, so that `recsys --help` stays quick

    dataset = load_dataset(name, data_root)
    print(f"{dataset.n_users} users, {dataset.n_items} items, {len(dataset.interactions)} interactions")
