"""`recsys bench`: a table of models, data sets, splits and seeds."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from recsys.cli.options import Dask, DataRoot, Device, Jobs, Smoke, console


def bench(
    experiment: Annotated[
        str, typer.Argument(help="YAML file, or the name of a shipped experiment: demo, tiktok-warm, …")
    ],
    out: Annotated[
        Path | None, typer.Option(help="Folder of the jobs and tables; by default runs/bench/<name>.")
    ] = None,
    dataset: Annotated[
        list[str] | None, typer.Option(help="Only this data set of the file; may be given several times.")
    ] = None,
    jobs: Jobs = 1,
    smoke: Smoke = False,
    dask: Dask = "",
    any_code: Annotated[
        bool, typer.Option("--any-code", help="Reuse jobs that another version of the code has finished.")
    ] = False,
    controls: Annotated[
        bool,
        typer.Option(
            "--controls",
            help="Also run each model that reads content with permuted, with random and without content.",
        ),
    ] = False,
    data_root: DataRoot = None,
    device: Device = None,
) -> None:
    """Run every combination of models, data sets, splits and seeds once, and print tables with verdicts."""
    from recsys.experiments.bench.runner import BenchOptions, run_bench

    root = str(data_root) if data_root else None
    options = BenchOptions(out, jobs, smoke, dask, any_code, root, device, controls, tuple(dataset or ()))
    run_bench(experiment, options, console())
