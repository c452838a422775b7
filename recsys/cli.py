"""The command line: `recsys`, or `python run.py` in a checkout. Heavy imports wait until a command needs them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from recsys.runs import Run, RunConfig

app = typer.Typer(
    no_args_is_help=False,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="Multimodal recommendations: honest warm and cold-start rankings. Without a command: the demo.",
)
data_app = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None, help="List, describe, verify and convert data sets."
)
app.add_typer(data_app, name="data")

DataRoot = Annotated[
    Path | None,
    typer.Option("--data-root", envvar="RECSYS_DATA", help="Folder that holds data sets, one folder each."),
]

Pool = Literal["new", "all"]


def console(quiet: bool = False) -> Console:
    """Where tables go; nowhere where `quiet`."""
    from rich.console import Console

    return Console(highlight=False, quiet=quiet)


def main(arguments: list[str] | None = None) -> None:
    """Run the command line. What a user can mend is one line on standard error and exit status 2."""
    try:
        app(arguments, standalone_mode=True)
    except Exception as error:
        from recsys.errors import USER_ERRORS

        if not isinstance(error, USER_ERRORS):
            raise
        print(f"recsys: {error}", file=sys.stderr)
        sys.exit(2)


@app.command()
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
    num_nodes: Annotated[int, typer.Option("--num-nodes", help="Machines that train together.")] = 1,
    strategy: Annotated[str, typer.Option(help="How processes train together: ddp.")] = "auto",
) -> None:
    """Train one model on one split of one data set, test it once, and keep the run."""
    from recsys.altered import Content
    from recsys.controls import CONTENT_ONLY, controls_of
    from recsys.datasets.cards import load_dataset
    from recsys.datasets.splits import default_protocol
    from recsys.errors import USER_ERRORS
    from recsys.machines import Machines
    from recsys.models import MODELS
    from recsys.runs import RunConfig, execute, prepare, task_view
    from recsys.settings import build, parse_assignments

    values: dict[str, Any] = {
        "model": model,
        "dataset": dataset,
        "task": task,
        "split": split,
        "split_options": parse_assignments(split_options or []),
        "seed": seed,
        "split_seed": split_seed,
        "content": build(Content, parse_assignments(content or []), "the content"),
        "settings": read_settings(config) | parse_assignments(assignments or []),
        "data_root": str(data_root) if data_root else None,
        "device": device,
    }
    asked = build(RunConfig, values, "the run")
    MODELS.get(model)
    machines = Machines(devices, num_nodes, strategy)
    machines.check(model)
    leads = machines.rank(device) == 0
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
        from recsys.explain import check_explainable

        check_explainable(run.model, model)
    for note in run.dataset.notes:
        screen.print(f"note: {note}", markup=False)
    name = f"{model.replace(':', '-')}-seed{seed}"
    folder = out or new_folder(Path("runs") / run.dataset.name / run.config.split, name)
    try:
        metrics = execute(run, folder, resume=resume, console=screen if leads else None, machines=machines)
    except USER_ERRORS:
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
    from recsys.controls import run_controls
    from recsys.tables import comparison_table

    found = [metrics, *run_controls(beside, run.dataset, folder, resume, screen)]
    screen.print(comparison_table("beside its controls", found))


def report_training(run: Run, metrics: dict[str, Any], folder: Path, screen: Console) -> None:
    """Print what a finished run came to."""
    from recsys.tables import metrics_table

    screen.print(metrics_table(metrics))
    if run.config.task == "bundle":
        from recsys.bundles.complete import examples_table

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
    from recsys.explain import explain
    from recsys.training import load_model

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
    from recsys.experiments.plan import tuned_file

    path = tuned_file(model, dataset, split)
    if path.is_file():
        return read_settings(path)
    if required:
        known = ", ".join(sorted(p.stem for p in path.parent.glob("*.yaml")))
        raise UserError(f"no tuned settings for {model} on {dataset}, {split}; there are: {known}")
    return {}


def new_folder(parent: Path, name: str) -> Path:
    """`parent`/`name`, or with -2, -3, … behind it where that is taken."""
    folder, number = parent / name, 2
    while folder.exists():
        folder, number = parent / f"{name}-{number}", number + 1
    return folder


@app.command()
def recommend(
    run: Annotated[Path, typer.Option(help="Folder of a trained run.")],
    user: Annotated[str, typer.Option(help="Raw id of the user.")] = "",
    users: Annotated[str, typer.Option(help="File of raw ids, one a line; or all.")] = "",
    new_users: Annotated[
        Path | None, typer.Option(help="CSV or Parquet: users who arrive, with what they took.")
    ] = None,
    new_items: Annotated[
        Path | None, typer.Option(help="npz, Parquet or CSV: items that arrive, with their content.")
    ] = None,
    pool: Annotated[
        Pool | None, typer.Option(help="With --new-items: rank the new ones alone (default), or all.")
    ] = None,
    output: Annotated[Path | None, typer.Option(help="Write a .csv or .parquet file, print nothing.")] = None,
    k: Annotated[int, typer.Option("-k", "--k", min=1, help="How many items.")] = 10,
    data_root: DataRoot = None,
) -> None:
    """Print the items that a trained run ranks highest, for its users or new ones, new items too."""
    from recsys import recommend as recommending
    from recsys.runs import load_run

    asked = recommending.Asked(user, users, new_items, new_users, pool or "", k)
    trained = load_run(run, str(data_root) if data_root else None)
    answer = recommending.recommend(trained, asked)
    screen = console()
    for note in answer.notes:
        screen.print(f"note: {note}", markup=False, soft_wrap=True)
    if output:
        recommending.write_frame(answer.frame, output)
        screen.print(f"wrote {output}", markup=False, soft_wrap=True)
    else:
        for table in recommending.tables(trained, answer):
            screen.print(table)


@app.command()
def export(
    run: Annotated[Path, typer.Option(help="Folder of a trained run.")],
    output: Annotated[
        Path | None, typer.Option(help="Folder to write; by default export/ in the run's.")
    ] = None,
    data_root: DataRoot = None,
) -> None:
    """Write users' and items' vectors, whose inner products are the scores, as npy files with their ids."""
    from recsys.export import export_vectors
    from recsys.runs import load_run

    folder = output or run / "export"
    export_vectors(load_run(run, str(data_root) if data_root else None), folder)
    console().print(f"wrote {folder}", markup=False, soft_wrap=True)


@app.command()
def complete(
    run: Annotated[Path, typer.Option(help="Folder of a run trained with --task bundle.")],
    items: Annotated[str, typer.Option(help="Raw ids of the items given, separated by commas.")],
    k: Annotated[int, typer.Option("-k", "--k", min=1, help="How many items.")] = 10,
    data_root: DataRoot = None,
) -> None:
    """Print the items that complete a bundle, by a trained run."""
    from recsys.bundles.complete import complete_table
    from recsys.runs import load_run

    trained = load_run(run, str(data_root) if data_root else None)
    console().print(complete_table(trained, items.split(","), k))


@data_app.command("list")
def data_list(data_root: DataRoot = None) -> None:
    """The data sets that have a card, and those found below --data-root."""
    from recsys.tables import datasets_table

    console().print(datasets_table(data_root))


@data_app.command("info")
def data_info(
    name: Annotated[str, typer.Argument(help="Name of the data set, or path of its card.")],
    seed: Annotated[int, typer.Option(help="Seed of the splits.")] = 0,
    data_root: DataRoot = None,
) -> None:
    """Users, items, interactions, sparsity, modalities, and cold items per split."""
    from recsys.tables import info_tables

    screen = console()
    for table in info_tables(name, data_root, seed):
        screen.print(table)


@data_app.command("verify")
def data_verify(
    name: Annotated[str, typer.Argument(help="Name of the data set, or path of its card.")],
    data_root: DataRoot = None,
) -> None:
    """Check every file against its card's SHA-256."""
    from recsys.datasets.cards import verify

    for path, digest in verify(name, data_root).items():
        console().print(f"{digest}  {path}", markup=False, soft_wrap=True)


@data_app.command("convert")
def data_convert(
    source: Annotated[str, typer.Argument(help="Name of a data set, or path of its card.")],
    target: Annotated[Path, typer.Argument(help="Folder to make; must not exist.")],
    data_root: DataRoot = None,
) -> None:
    """Write a data set as Parquet and npy files with a card."""
    from recsys.datasets.cards import find_card, load_dataset
    from recsys.datasets.convert import convert

    convert(load_dataset(source, data_root), target, like=find_card(source, data_root))
    console().print(f"wrote {target}", markup=False, soft_wrap=True)
