"""`recsys scan`: a hyperparameter scan on validation."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from recsys.cli.options import Dask, DataRoot, Device, Smoke, console


def scan(
    file: Annotated[str, typer.Argument(help="YAML file, or a shipped scan.")],
    out: Annotated[
        Path | None, typer.Option(help="The scan's folder; by default runs/scan/<model>-<data set>-<split>.")
    ] = None,
    trials: Annotated[
        int | None, typer.Option(min=1, help="Trials in all, by all workers; before the file's.")
    ] = None,
    timeout: Annotated[
        float | None, typer.Option(min=0, help="Seconds after which a worker takes no new trial.")
    ] = None,
    workers: Annotated[int, typer.Option(min=1, help="Processes on this machine.")] = 1,
    storage: Annotated[str, typer.Option(help="postgresql://…; by default a journal file in --out.")] = "",
    model: Annotated[str | None, typer.Option(help="Before the file's model.")] = None,
    dataset: Annotated[str | None, typer.Option(help="Before the file's data set.")] = None,
    dask: Dask = "",
    smoke: Smoke = False,
    data_root: DataRoot = None,
    device: Device = "auto",
) -> None:
    """Find a model's best settings on the validation part; the test part is not there."""
    from recsys.experiments.tune.scan import ScanOptions, run_scan

    overrides = {"trials": trials, "timeout": timeout, "model": model, "dataset": dataset}
    options = ScanOptions(
        out,
        workers,
        storage,
        dask,
        smoke,
        str(data_root) if data_root else None,
        device,
        tuple(overrides.items()),
    )
    run_scan(file, options, console())
