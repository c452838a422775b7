"""The benchmark runner: every job once, whatever is killed between; then one table with verdicts."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import fmean
from typing import Any

from rich import progress
from rich.console import Console

from recsys.datasets.cards import dataset_label
from recsys.datasets.dataset import Dataset
from recsys.errors import UserError, nearest
from recsys.experiments.bench.config import (
    Experiment,
    Job,
    find_file,
    load_datasets,
    read_experiment,
)
from recsys.experiments.bench.jobs import Outcome, finished, in_processes, in_turn
from recsys.experiments.bench.results import Scored, summarise
from recsys.experiments.bench.search import jobs_of_choices, make_choices
from recsys.experiments.bench.tables import tables_for_screen
from recsys.experiments.processes import duration
from recsys.runs.artifacts import read_metrics


@dataclass(frozen=True)
class BenchOptions:
    """How to run an experiment.

    Attributes:
        out: folder of its jobs and tables; None for runs/bench/<name of the file>, with the data sets' names where
            only some are run.
        processes: processes on this machine.
        smoke: run the file's tiny size.
        dask: address of a Dask scheduler, or local:N; empty for none.
        any_code: take jobs that another version of the code finished.
        data_root, device: override those of the file.
        controls: run controls beside the models, also where the file does not say so.
        datasets: the only ones of the file's to run; empty for all.
    """

    out: Path | None = None
    processes: int = 1
    smoke: bool = False
    dask: str = ""
    any_code: bool = False
    data_root: str | None = None
    device: str | None = None
    controls: bool = False
    datasets: tuple[str, ...] = ()


def run_bench(name: str, options: BenchOptions, console: Console) -> dict[str, Any]:
    """Run what is not finished of an experiment's file, print its tables, and write them into its folder.

    Args:
        name: path of the YAML file, or name of a shipped experiment.

    Returns:
        What results.json holds.

    Raises:
        UserError, DataError: something in the file cannot be; no job has run then.
    """
    path = find_file(name)
    experiment = read_experiment(path, options.smoke, options.controls)
    for wanted in options.datasets:
        if wanted not in experiment.datasets:
            raise UserError(f"{path.name} has no data set '{wanted}'{nearest(wanted, experiment.datasets)}")
    only = [dataset for dataset in experiment.datasets if dataset in options.datasets]
    experiment = experiment.model_copy(update={"datasets": only or experiment.datasets})
    parts = [path.stem, *(dataset_label(dataset) for dataset in only), *(["smoke"] if options.smoke else [])]
    out = options.out or Path("runs/bench") / "-".join(parts)
    command = command_of(name, options)
    experiment = experiment.model_copy(update={"title": experiment.title or path.stem})
    root = options.data_root or experiment.run.get("data_root")
    datasets = load_datasets(experiment.datasets, root)
    results = run_experiment(experiment, datasets, out, replace(options, data_root=root), console, command)
    for table in tables_for_screen(results):
        console.print()
        console.print(table)
    for job, error in results["failed"].items():
        console.print(f"failed: {job}: {error}", markup=False, soft_wrap=True, style="red")
    console.print(f"\nkept in {out}; report: recsys report {out}", markup=False, soft_wrap=True)
    return results


def command_of(name: str, options: BenchOptions) -> str:
    """The command line that runs the same experiment again, quoted for a shell.

    Example:
        >>> command_of("my models.yaml", BenchOptions(smoke=True, device="cpu"))
        "recsys bench 'my models.yaml' --smoke --device cpu"
    """
    flags = {"--smoke": options.smoke, "--controls": options.controls}
    # The command line reads RECSYS_DATA itself; it is a place of this machine.
    root = options.data_root if options.data_root != os.environ.get("RECSYS_DATA") else None
    values = {"--out": options.out, "--data-root": root, "--device": options.device}
    words = ["recsys", "bench", name, *(flag for flag, given in flags.items() if given)]
    words += [word for dataset in options.datasets for word in ("--dataset", dataset)]
    for option, value in values.items():
        words += [option, str(value)] if value is not None else []
    return shlex.join(words)


def run_experiment(
    experiment: Experiment,
    datasets: Mapping[str, Dataset],
    out: Path,
    options: BenchOptions,
    console: Console,
    command: str = "",
    beside: Sequence[Scored] = (),
) -> dict[str, Any]:
    """Run the jobs of `experiment` that are not finished in `out`, and write its results there.

    Args:
        datasets: those of the experiment, by name.
        command: what makes these results again; kept beside them.
        beside: figures of what was not run here, for further rows of each table.

    Returns:
        What results.json holds.

    Raises:
        UserError, DataError: something in the experiment cannot be; no job has run then.
    """
    root = os.path.realpath(options.data_root) if options.data_root else None
    places = {"data_root": root, "device": options.device}
    choices = make_choices(experiment, datasets, out, **places)
    tried = [job for choice in choices for job in choice.jobs]
    searched = _finish(tried, f"{experiment.title}, search", datasets, options, console)
    for choice in choices:
        choice.read(searched.folders)
    jobs = jobs_of_choices(experiment, choices, datasets, out, **places)
    state = _finish(jobs, experiment.title, datasets, options, console)
    out.mkdir(parents=True, exist_ok=True)
    failed = searched.failed | state.failed
    return summarise(experiment, jobs, state.folders, failed, out, command, beside, choices)


def _finish(
    jobs: Sequence[Job],
    title: str,
    datasets: Mapping[str, Dataset],
    options: BenchOptions,
    console: Console,
) -> Progress:
    """Run those of the jobs that are not finished."""
    state = Progress(_states(jobs, options.any_code), options.processes)
    if jobs:
        finished_before = f"{len(state.folders)} of them finished already"
        console.print(f"{title}: {len(jobs)} jobs, {finished_before}", markup=False)
    _run(state, datasets, options, console)
    return state


@dataclass
class Progress:
    """How far the experiment is.

    Attributes:
        jobs: all of them, and the folder of each that was finished before.
        folders: finished jobs.
        failed: name of a failed job -> its error.
    """

    jobs: Mapping[Job, Path | UserError | None]
    workers: int
    folders: dict[Job, Path] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    seconds: dict[tuple[str, str], list[float]] = field(default_factory=dict)
    waiting: list[Job] = field(default_factory=list)

    def __post_init__(self) -> None:
        for job, state in self.jobs.items():
            if isinstance(state, UserError):
                self.failed[job.name] = str(state)
            elif state is None:
                self.waiting.append(job)
            else:
                self.folders[job] = state
                self._learn(job, (read_metrics(state) or {})["timing"]["total"])

    def _learn(self, job: Job, seconds: float) -> None:
        self.seconds.setdefault((job.label, job.config.dataset), []).append(seconds)

    def done(self, job: Job, outcome: Outcome) -> None:
        """Note what became of a job."""
        self.waiting.remove(job)
        if outcome.error:
            self.failed[job.name] = outcome.error
        else:
            self.folders[job] = job.folder
            self._learn(job, outcome.seconds)

    def left(self) -> str:
        """An estimate of the time left: each waiting job takes what jobs like it took."""
        if not self.seconds:
            return "time left unknown yet"
        overall = fmean(seconds for values in self.seconds.values() for seconds in values)
        seconds = 0.0
        for job in self.waiting:
            alike = self.seconds.get((job.label, job.config.dataset))
            same = [
                fmean(values)
                for (_, dataset), values in self.seconds.items()
                if dataset == job.config.dataset
            ]
            seconds += fmean(alike) if alike else fmean(same) if same else overall
        return f"about {duration(seconds / max(1, self.workers))} left"


def _states(jobs: Sequence[Job], any_code: bool) -> dict[Job, Path | UserError | None]:
    """Each job's finished folder, None where there is none, or why its folder cannot be used."""
    states: dict[Job, Path | UserError | None] = {}
    for job in jobs:
        try:
            folder = job.folder if finished(job.folder) else None
            if folder is None and any_code:
                folder = next((f for f in job.made_by_other_code() if finished(f)), None)
            states[job] = folder
        except UserError as error:
            states[job] = error
    return states


def _run(state: Progress, datasets: Mapping[str, Dataset], options: BenchOptions, console: Console) -> None:
    if not state.waiting:
        return
    total = len(state.waiting)
    columns = (
        progress.TextColumn("{task.description}"),
        progress.BarColumn(),
        progress.MofNCompleteColumn(),
        progress.TimeElapsedColumn(),
        progress.TextColumn("{task.fields[left]}"),
    )
    with progress.Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("jobs", total=total, left=state.left())
        for number, (job, outcome) in enumerate(_outcomes(state, datasets, options), start=1):
            state.done(job, outcome)
            bar.update(task, completed=number, left=state.left())
            ending = f"FAILED: {outcome.error}" if outcome.error else f"{outcome.seconds:.1f} s"
            line = f"[{number}/{total}] {job.name}: {ending}; {state.left()}"
            bar.console.print(line, markup=False, soft_wrap=True)


def _outcomes(
    state: Progress, datasets: Mapping[str, Dataset], options: BenchOptions
) -> Iterator[tuple[Job, Outcome]]:
    waiting = list(state.waiting)
    if options.dask:
        from recsys.experiments.bench.on_cluster import on_dask

        return on_dask(waiting, options.dask)
    if options.processes > 1:
        return in_processes(waiting, min(options.processes, len(waiting)))
    return in_turn(waiting, datasets)
