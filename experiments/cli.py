"""The commands that stand on whole runs, added to the engine's own command line."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from recsys.cli import DataRoot, app, console, main

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


Jobs = Annotated[int, typer.Option("--jobs", min=1, help="Processes on this machine.")]
Dask = Annotated[str, typer.Option(help="Address of a Dask scheduler, or local:N for N processes here.")]
Smoke = Annotated[bool, typer.Option("--smoke", help="Run the file's tiny size.")]
Device = Annotated[str, typer.Option(help="auto, cpu or cuda.")]


@app.command()
def bench(
    experiment: Annotated[
        str, typer.Argument(help="YAML file, or a shipped experiment: demo, tiktok-warm, …")
    ],
    out: Annotated[
        Path | None, typer.Option(help="Folder of cells and tables; by default runs/bench/<name>.")
    ] = None,
    jobs: Jobs = 1,
    smoke: Smoke = False,
    dask: Dask = "",
    any_code: Annotated[
        bool, typer.Option("--any-code", help="Keep cells that another version of the code finished.")
    ] = False,
    controls: Annotated[
        bool,
        typer.Option(
            "--controls", help="Beside each model that reads content: with content that tells nothing."
        ),
    ] = False,
    data_root: DataRoot = None,
    device: Device = "auto",
) -> None:
    """Models x data sets x splits x seeds, each cell once, and one table with verdicts."""
    from recsys.experiments.bench import BenchOptions, run_bench

    root = str(data_root) if data_root else None
    options = BenchOptions(out, jobs, smoke, dask, any_code, root, device, controls)
    run_bench(experiment, options, console())


@app.command()
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
    from recsys.experiments.scan import ScanOptions, run_scan

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


@app.command()
def rerun(
    run: Annotated[Path, typer.Argument(help="Folder of a finished run.")],
    out: Annotated[
        Path | None, typer.Option(help="The new folder; by default the run's name with -rerun.")
    ] = None,
    data_root: DataRoot = None,
    device: Annotated[str | None, typer.Option(help="Instead of the run's.")] = None,
) -> None:
    """Repeat a run in a new folder and compare the figures."""
    from recsys.experiments.rerun import run_again

    run_again(run, out, str(data_root) if data_root else None, device, console())


@app.command()
def report(
    folder: Annotated[Path, typer.Argument(help="Folder that holds finished runs, such as runs/demo.")],
    out: Annotated[
        Path | None, typer.Option(help="The report's folder; by default report/ among the runs.")
    ] = None,
    users: Annotated[int, typer.Option(min=1, help="Users the explorer offers at most, of each table.")] = 50,
    models: Annotated[int, typer.Option(min=1, help="Models the explorer offers at most, likewise.")] = 8,
    data_root: DataRoot = None,
) -> None:
    """Tables, figures and one page to look at, from the runs in a folder."""
    from recsys.experiments.report.write import ReportOptions, write_report

    root = str(data_root) if data_root else None
    page = write_report(folder, ReportOptions(out, root, users, models), console())
    console().print(f"report: {page}", markup=False, soft_wrap=True)


if __name__ == "__main__":
    main()
