"""`recsys scan`: a hyperparameter scan on validation."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from recsys.cli.options import Dask, DataRoot, Device, Smoke, console
from recsys.cli.parts import completion


def scan(
    file: Annotated[str, typer.Argument(help="YAML file, or the name of a shipped scan.")],
    out: Annotated[
        Path | None, typer.Option(help="The scan's folder; by default runs/scan/<model>-<data set>-<split>.")
    ] = None,
    trials: Annotated[
        int | None, typer.Option(min=1, help="Trials of all workers together; overrides the file's number.")
    ] = None,
    timeout: Annotated[
        float | None, typer.Option(min=0, help="Seconds after which a worker starts no new trial.")
    ] = None,
    workers: Annotated[int, typer.Option(min=1, help="Processes on this machine.")] = 1,
    storage: Annotated[
        str, typer.Option(help="Database postgresql://…; by default a journal file in --out.")
    ] = "",
    model: Annotated[
        str | None,
        typer.Option(help="Model to scan; overrides the file's model.", autocompletion=completion.models),
    ] = None,
    dataset: Annotated[
        str | None,
        typer.Option(
            help="Data set to scan on; overrides the file's data set.", autocompletion=completion.datasets
        ),
    ] = None,
    dask: Dask = "",
    smoke: Smoke = False,
    data_root: DataRoot = None,
    device: Device = None,
) -> None:
    """Search a model's best settings by its validation metric; the test part is never used."""
    from recsys.experiments.tune.scan import ScanOptions, run_scan

    root = os.path.realpath(data_root) if data_root else None
    fields = {"model": model, "dataset": dataset, "data_root": root, "device": device}
    overrides = {"trials": trials, "timeout": timeout}
    options = ScanOptions(out, workers, storage, dask, smoke, tuple(fields.items()), tuple(overrides.items()))
    run_scan(file, options, console())
