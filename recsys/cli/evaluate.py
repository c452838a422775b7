"""`recsys evaluate`: lists made elsewhere, tested as a trained model is."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from recsys.cli.options import DataRoot, DatasetName, Metrics, Split, SplitOptions, SplitSeed, console


def evaluate(
    lists: Annotated[
        Path,
        typer.Option(
            help="File of recommendations: .csv, .tsv or .parquet with user, item (raw ids) and score or rank; or a "
            "TREC run (.run, .trec, .txt)."
        ),
    ],
    dataset: DatasetName = "ml-100k",
    task: Annotated[str, typer.Option(help="recommend, or bundle.")] = "recommend",
    split: Split = "",
    split_seed: SplitSeed = 0,
    split_options: SplitOptions = None,
    metrics: Metrics = None,
    mask: Annotated[
        str,
        typer.Option(
            help="Whose items the test leaves out of a user's ranking: train+valid, or train alone."
        ),
    ] = "",
    name: Annotated[str, typer.Option(help="The row in tables; by default the file's name.")] = "",
    out: Annotated[
        Path | None,
        typer.Option(help="Folder to keep the figures in, for `recsys report` beside those of trained runs."),
    ] = None,
    data_root: DataRoot = None,
) -> None:
    """Test lists that were made by anything on a split of a data set, as a trained model is tested."""
    from recsys.api.evaluate import evaluate_file
    from recsys.runs.config import RunConfig
    from recsys.runs.tables import asked_table, metrics_table
    from recsys.settings import build, parse_assignments

    config: RunConfig = build(
        RunConfig,
        {
            "model": name or lists.stem,
            "dataset": dataset,
            "task": task,
            "split": split,
            "split_options": parse_assignments(split_options or [], "--split-set"),
            "split_seed": split_seed,
            "metrics": metrics or [],
            **({"mask": mask} if mask else {}),
            "data_root": str(data_root) if data_root else None,
        },
        "the test",
    )
    evaluated = evaluate_file(lists, config)
    screen = console()
    for note in evaluated.notes:
        screen.print(f"note: {note}", markup=False, soft_wrap=True)
    screen.print(metrics_table(evaluated.metrics.values))
    if config.metrics:
        screen.print(asked_table(evaluated.metrics.values, config.metrics))
    if out:
        evaluated.save(out)
        screen.print(f"kept in {out}", markup=False, soft_wrap=True)
