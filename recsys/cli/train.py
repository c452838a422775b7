"""`recsys train`: one model, trained on one split and tested once."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from recsys.cli.options import (
    DataRoot,
    DatasetName,
    Metrics,
    RerankOptions,
    Split,
    SplitOptions,
    SplitSeed,
    console,
)
from recsys.cli.parts import completion

if TYPE_CHECKING:
    from rich.console import Console

    from recsys.runs.config import RunConfig
    from recsys.runs.run import Run


OF_A_REFIT = {"refit", "data_root", "out", "resume", "device", "devices", "num_nodes", "strategy"}
"""Options that may be given beside --refit; the run decides all others."""

OPTION_NAMES = {
    "assignments": "set",
    "split_options": "split-set",
    "rerank_options": "rerank-set",
    "metrics": "metric",
}


def train(
    context: typer.Context,
    model: Annotated[
        str,
        typer.Option(help="Name of the model, as in `recsys list models`.", autocompletion=completion.models),
    ] = "confluence",
    dataset: DatasetName = "ml-100k",
    task: Annotated[
        str, typer.Option(help="recommend: items for users; bundle: items that complete bundles.")
    ] = "recommend",
    split: Split = "",
    seed: Annotated[int, typer.Option(min=0, help="Seed of the model and its training.")] = 0,
    split_seed: SplitSeed = 0,
    assignments: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="Set a setting; may be repeated. Overrides the file of --config and --tuned.",
            autocompletion=completion.settings,
        ),
    ] = None,
    split_options: SplitOptions = None,
    content: Annotated[
        list[str] | None,
        typer.Option(
            "--content",
            metavar="KEY=VALUE",
            help="Corrupt the content that the model sees: missing, pattern, modality, fill, control.",
        ),
    ] = None,
    controls: Annotated[
        bool,
        typer.Option(
            "--controls",
            help="Also run the model with permuted, with random and without content, and content alone.",
        ),
    ] = False,
    config: Annotated[
        Path | None,
        typer.Option(help="YAML file of settings; settings given with --set override those of the file."),
    ] = None,
    tuned: Annotated[
        bool,
        typer.Option(
            "--tuned", help="Use the settings that a recorded search chose for this data set and split."
        ),
    ] = False,
    published: Annotated[
        bool,
        typer.Option(
            "--published", help="Use the settings and the protocol that the model's authors published."
        ),
    ] = False,
    rerank: Annotated[
        str,
        typer.Option(
            help="Re-ranking step of the test's lists: mmr, calibrated or caps.",
            autocompletion=completion.reranking,
        ),
    ] = "",
    rerank_options: RerankOptions = None,
    metrics: Metrics = None,
    mask: Annotated[
        str,
        typer.Option(
            help="Whose items the test leaves out of a user's ranking: train+valid, or train alone, as in many "
            "published tables."
        ),
    ] = "",
    evaluate_users: Annotated[
        int, typer.Option(min=0, help="Validate and test on so many users, drawn once; 0: all.")
    ] = 0,
    refit: Annotated[
        Path | None,
        typer.Option(
            help="Train the model of this tested run again for use, on all interactions (split none), for as many "
            "epochs as were best; model, data, settings and seed are the run's."
        ),
    ] = None,
    teacher: Annotated[
        Path | None,
        typer.Option(
            help="Train a student of this trained run: vectors that rank as its model does, on the run's data and "
            "split where no others are named."
        ),
    ] = None,
    warm_start: Annotated[
        Path | None,
        typer.Option(
            help="Start from the weights of this run of the same model: of users and items that both know, and of all "
            "else that has the same shape."
        ),
    ] = None,
    plan: Annotated[
        bool,
        typer.Option(
            "--plan",
            help="Print what the run will take, in seconds and memory, from a trial on small copies of the data, and "
            "stop.",
        ),
    ] = False,
    help_settings: Annotated[
        bool, typer.Option("--help-settings", help="Print the model's settings and stop.")
    ] = False,
    data_root: DataRoot = None,
    out: Annotated[
        Path | None, typer.Option(help="The run's folder; by default a new one below runs/.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue the run in --out.")] = False,
    explain: Annotated[
        bool,
        typer.Option("--explain", help="Print and save the mean gate of each field, for a model with gates."),
    ] = False,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, or cuda:N for one GPU.")] = "auto",
    devices: Annotated[
        int,
        typer.Option(
            help="Processes on each machine that train together, one for each GPU where there are any."
        ),
    ] = 1,
    num_nodes: Annotated[int, typer.Option("--num-nodes", help="Machines that train together.")] = 1,
    strategy: Annotated[
        str,
        typer.Option(
            help="What the processes divide: columns, those of the model's vectors; ddp, the rows of each batch; auto: "
            "columns where the model allows it."
        ),
    ] = "auto",
) -> None:
    """Train a model on a split of a data set, test it once, and save the run."""
    from recsys.errors import UserError
    from recsys.inputs.corruption import ContentCorruption
    from recsys.runs.artifacts import new_folder
    from recsys.runs.config import RunConfig, load_config
    from recsys.runs.controls import controls_of
    from recsys.runs.run import execute, prepare
    from recsys.runs.warm_start import warm_start_of
    from recsys.settings import build, parse_assignments
    from recsys.training.distributed import Distributed

    if help_settings:
        from recsys.cli.parts.describe import model_settings

        for table in model_settings(model):
            console().print(table)
        return
    if teacher:
        taught = load_config(teacher)
        model = model if _said(context, "model") else "student"
        dataset = dataset if _said(context, "dataset") else taught.dataset
        data_root = data_root or (Path(taught.data_root) if taught.data_root else None)
    asked = (
        _refit(context, refit, data_root)
        if refit
        else build(
            RunConfig,
            {
                "model": model,
                "dataset": dataset,
                "task": task,
                "split": split,
                "split_options": parse_assignments(split_options or [], "--split-set"),
                "seed": seed,
                "split_seed": split_seed,
                "content": build(
                    ContentCorruption, parse_assignments(content or [], "--content"), "--content"
                ),
                "settings": read_settings(config) | parse_assignments(assignments or []),
                "tuned": tuned,
                "published": published,
                "rerank": rerank,
                "rerank_options": parse_assignments(rerank_options or [], "--rerank-set"),
                "metrics": metrics or [],
                **({"mask": mask} if mask else {}),
                "evaluate_users": evaluate_users,
                "teacher_run": str(teacher) if teacher else "",
                "warm_start": warm_start_of(warm_start) if warm_start else None,
                "data_root": str(data_root) if data_root else None,
                "device": device,
            },
            "the run",
        )
    )
    if controls and warm_start:
        raise UserError("--controls and --warm-start: controls have seen no content; leave one of them out")
    distributed = Distributed(devices, num_nodes, strategy)
    distributed.check(asked.model)
    leads = distributed.rank(device) == 0
    screen = console(quiet=not leads)
    if plan:
        print_plan(asked, screen)
        return
    run = prepare(asked, forecasts=leads)
    if run.expected:
        screen.print(str(run.expected), markup=False)
    beside = controls_of(asked, run) if controls else {}
    if explain:
        from recsys.runs.explain import check_explainable

        check_explainable(run.model, asked.model)
    tell_of_settings(run, asked, screen)
    for note in run.notes:
        screen.print(f"note: {note}", markup=False)
    name = f"{asked.model.replace(':', '-')}-seed{asked.seed}"
    folder = out or new_folder(Path("runs") / run.dataset.name / run.config.split, name)
    try:
        figures = execute(
            run, folder, resume=resume, console=screen if leads else None, distributed=distributed
        )
    except UserError:
        if leads:
            raise
        # The first process tells it; a status of failure would have pytorch-lightning kill it before.
        raise typer.Exit from None
    except KeyboardInterrupt:
        if leads:
            print(f"recsys: interrupted; go on with --out {folder} --resume", file=sys.stderr)
        raise typer.Exit(130) from None
    if leads:
        from recsys.runs.package import keep_bundle

        keep_bundle(run, folder)
        report_training(run, figures, folder, screen)
        if explain:
            report_gates(run, folder, screen)
        if beside:
            report_controls(run, figures, beside, folder, resume, screen)


def print_plan(asked: RunConfig, screen: Console) -> None:
    """Print what a run is forecast to take; UserError where it does not fit into memory."""
    from recsys.runs.config import resolve
    from recsys.runs.forecast import check_forecast, forecast
    from recsys.runs.tables import plan_table

    start = time.perf_counter()
    resolved = resolve(asked)
    expected = forecast(asked, resolved.dataset, time.perf_counter() - start)
    data, training = resolved.dataset, resolved.train_settings
    screen.print(plan_table(expected, resolved))
    screen.print(
        f"{data.n_users:,} users, {data.n_items:,} items, {len(data.interactions):,} interactions; measured on "
        f"{' and '.join(f'{n:,}' for n in expected.measured_on)} of them"
        + (f"; at most {training.max_epochs:,} epochs" if training else ""),
        markup=False,
        soft_wrap=True,
    )
    check_forecast(expected, asked, resolved.dataset)


def _refit(context: typer.Context, folder: Path, data_root: Path | None) -> RunConfig:
    """The configuration of --refit; UserError for an option beside it that the run has decided already."""
    from recsys.errors import UserError
    from recsys.runs.refit import refit_config
    from recsys.runs.run import load_run

    for name in context.params:
        if name not in OF_A_REFIT and _said(context, name):
            if name == "split" and context.params[name] == "none":
                continue
            option = OPTION_NAMES.get(name, name)
            raise UserError(
                f"--{option.replace('_', '-')} and --refit: the tested run decides that; leave one of them out"
            )
    return refit_config(load_run(folder, str(data_root) if data_root else None), folder)


def _said(context: typer.Context, name: str) -> bool:
    """Whether an option was given on the command line."""
    source = context.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


def report_controls(
    run: Run,
    metrics: dict[str, Any],
    beside: dict[str, RunConfig],
    folder: Path,
    resume: bool,
    screen: Console,
) -> None:
    """Run what stands beside a finished run, and print all in one table."""
    from recsys.runs.controls import run_controls
    from recsys.runs.tables import comparison_table

    compared = [metrics, *run_controls(beside, run.dataset, folder, resume, screen)]
    screen.print(comparison_table("compared with its controls", compared))


def report_training(run: Run, metrics: dict[str, Any], folder: Path, screen: Console) -> None:
    """Print what a finished run came to."""
    from recsys.runs.tables import asked_table, metrics_table

    screen.print(metrics_table(metrics))
    if run.config.metrics and metrics["test"]:
        screen.print(asked_table(metrics, run.config.metrics))
    if run.config.task == "bundle" and metrics["test"]:
        from recsys.runs.complete import examples_table

        screen.print(examples_table(run))
    timing, n = metrics["timing"], metrics["epochs"]
    seconds = f"{timing['train_epoch_median']:.2f} s"
    epochs = f"{n} epoch{'s' * (n != 1)}, {seconds} each (median)"
    trained = f"fitted in {seconds}" if run.model.closed_form else epochs
    screen.print(
        f"{trained}, evaluated in {timing['evaluate']:.2f} s, "
        f"{timing['total']:.1f} s in all; run kept in {folder}",
        markup=False,
        soft_wrap=True,
    )


def report_gates(run: Run, folder: Path, screen: Console) -> None:
    """Print and keep what a finished run's gates weigh."""
    from recsys.runs.explain import explain
    from recsys.training.weights import load_model

    load_model(run.model, folder)
    screen.print(explain(run, folder))


def tell_of_settings(run: Run, asked: RunConfig, screen: Console) -> None:
    """Print which tuned or published settings were taken, or that there are tuned ones to take."""
    from recsys.runs.config import shipped_tuned

    where = f"{run.config.model} on {run.dataset.name}, {run.config.split}"
    if asked.tuned:
        screen.print(f"settings tuned for {where}: {run.config.settings_from}", markup=False)
    elif asked.published:
        screen.print(
            f"settings as published: {run.config.settings_from}; mask: {run.config.mask}", markup=False
        )
    elif (
        asked.tuned is False and shipped_tuned(run.config.model, run.dataset.name, run.config.split).is_file()
    ):
        screen.print(f"note: there are tuned settings for {where}; use them with --tuned", markup=False)


def read_settings(path: Path | None) -> dict[str, Any]:
    """The settings in a YAML file; none without a file.

    Raises:
        UserError: no such file, or it is not a mapping.
    """
    from recsys.files import read_yaml

    return {} if path is None else read_yaml(path)
