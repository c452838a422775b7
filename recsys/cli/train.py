"""`recsys train`: one model, trained on one split and tested once."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from recsys.cli.options import DataRoot, console

if TYPE_CHECKING:
    from rich.console import Console

    from recsys.runs.run import Run, RunConfig


def train(
    model: Annotated[
        str, typer.Option(help="Name of the model; by default the engine's own.")
    ] = "confluence",
    dataset: Annotated[str, typer.Option(help="Name of a data set, or path of its card.")] = "ml-100k",
    task: Annotated[
        str, typer.Option(help="recommend: items for users; bundle: items that complete bundles.")
    ] = "recommend",
    split: Annotated[
        str, typer.Option(help="Protocol; by default predefined where there is one, else random.")
    ] = "",
    seed: Annotated[int, typer.Option(min=0, help="Seed of the model and its training.")] = 0,
    split_seed: Annotated[int, typer.Option(min=0, help="Seed of the split.")] = 0,
    assignments: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="A setting by name; may be repeated."),
    ] = None,
    split_options: Annotated[
        list[str] | None, typer.Option("--split-set", metavar="KEY=VALUE", help="An option of the split.")
    ] = None,
    content: Annotated[
        list[str] | None,
        typer.Option(
            "--content",
            metavar="KEY=VALUE",
            help="What is done to the content that the model sees: missing, pattern, modality, fill, control.",
        ),
    ] = None,
    controls: Annotated[
        bool, typer.Option("--controls", help="Run beside it: content that tells nothing, and content alone.")
    ] = False,
    config: Annotated[
        Path | None, typer.Option(help="YAML with settings by name; --set goes before it.")
    ] = None,
    tuned: Annotated[
        bool | None,
        typer.Option(
            "--tuned/--no-tuned",
            help="Settings found by a recorded search on this data set and split; by default where there are any.",
        ),
    ] = None,
    data_root: DataRoot = None,
    out: Annotated[
        Path | None, typer.Option(help="The run's folder; by default a new one below runs/.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in --out.")] = False,
    explain: Annotated[
        bool,
        typer.Option("--explain", help="Print and keep the mean gate of each field, of a model with gates."),
    ] = False,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, or cuda:N for one GPU.")] = "auto",
    devices: Annotated[
        int,
        typer.Option(help="Processes on each machine that train together, each on a GPU where there are."),
    ] = 1,
    num_nodes: Annotated[int, typer.Option("--num-nodes", help="Distributed that train together.")] = 1,
    strategy: Annotated[str, typer.Option(help="How processes train together: ddp.")] = "auto",
) -> None:
    """Train one model on one split of one data set, test it once, and keep the run."""
    from recsys.datasets.cards import load_dataset
    from recsys.datasets.splits import default_protocol
    from recsys.errors import UserError
    from recsys.inputs.corruption import ContentCorruption
    from recsys.models import MODELS
    from recsys.runs.controls import CONTENT_ONLY, controls_of
    from recsys.runs.run import RunConfig, execute, new_folder, prepare, task_view
    from recsys.settings import build, parse_assignments
    from recsys.training.distributed import Distributed

    values: dict[str, Any] = {
        "model": model,
        "dataset": dataset,
        "task": task,
        "split": split,
        "split_options": parse_assignments(split_options or []),
        "seed": seed,
        "split_seed": split_seed,
        "content": build(ContentCorruption, parse_assignments(content or []), "the content"),
        "settings": read_settings(config) | parse_assignments(assignments or []),
        "data_root": str(data_root) if data_root else None,
        "device": device,
    }
    asked = build(RunConfig, values, "the run")
    MODELS.get(model)
    distributed = Distributed(devices, num_nodes, strategy)
    distributed.check(model)
    leads = distributed.rank(device) == 0
    screen = console(quiet=not leads)
    loaded = load_dataset(dataset, data_root)
    if tuned or (tuned is None and config is None):
        split = split or default_protocol(task_view(loaded, task))
        found = tuned_settings(model, loaded.name, split, required=bool(tuned))
        if found:
            screen.print(f"settings tuned for {model} on {loaded.name}, {split}; --no-tuned for the defaults")
        asked = asked.model_copy(update={"settings": found | asked.settings})
    protocol = split or default_protocol(task_view(loaded, task))
    alone = tuned_settings(CONTENT_ONLY, loaded.name, protocol, required=False) if controls else {}
    beside = controls_of(asked, alone) if controls else {}
    run = prepare(asked, loaded)
    if explain:
        from recsys.runs.explain import check_explainable

        check_explainable(run.model, model)
    for note in run.dataset.notes:
        screen.print(f"note: {note}", markup=False)
    name = f"{model.replace(':', '-')}-seed{seed}"
    folder = out or new_folder(Path("runs") / run.dataset.name / run.config.split, name)
    try:
        metrics = execute(
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
        report_training(run, metrics, folder, screen)
        if explain:
            report_gates(run, folder, screen)
        if beside:
            report_controls(run, metrics, beside, folder, resume, screen)


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

    found = [metrics, *run_controls(beside, run.dataset, folder, resume, screen)]
    screen.print(comparison_table("beside its controls", found))


def report_training(run: Run, metrics: dict[str, Any], folder: Path, screen: Console) -> None:
    """Print what a finished run came to."""
    from recsys.runs.tables import metrics_table

    screen.print(metrics_table(metrics))
    if run.config.task == "bundle":
        from recsys.runs.complete import examples_table

        screen.print(examples_table(run))
    timing = metrics["timing"]
    screen.print(
        f"{metrics['epochs']} epochs, {timing['train_epoch_median']:.2f} s each (median), evaluated in "
        f"{timing['evaluate']:.2f} s, {timing['total']:.1f} s in all; run kept in {folder}",
        markup=False,
        soft_wrap=True,
    )


def report_gates(run: Run, folder: Path, screen: Console) -> None:
    """Print and keep what a finished run's gates weigh."""
    from recsys.runs.explain import explain
    from recsys.training.loop import load_model

    load_model(run.model, folder)
    screen.print(explain(run, folder))


def read_settings(path: Path | None) -> dict[str, Any]:
    """The settings in a YAML file; none without a file.

    Raises:
        UserError: no such file, or it is not a mapping.
    """
    import yaml

    from recsys.errors import UserError

    if path is None:
        return {}
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise UserError(f"cannot read {path}: {str(error).splitlines()[0]}") from None
    if not isinstance(values, dict):
        raise UserError(f"{path}: expected settings as `name: value` lines")
    return values


def tuned_settings(model: str, dataset: str, split: str, required: bool = True) -> dict[str, Any]:
    """The settings that a recorded search on validation found for this model, data set and split.

    Raises:
        UserError: there was no such search, and it is required.
    """
    from recsys.errors import UserError
    from recsys.experiments.bench.config import tuned_file

    path = tuned_file(model, dataset, split)
    if path.is_file():
        return read_settings(path)
    if required:
        known = ", ".join(sorted(p.stem for p in path.parent.glob("*.yaml")))
        raise UserError(f"no tuned settings for {model} on {dataset}, {split}; there are: {known}")
    return {}
