"""The benchmark runner: every cell once, whatever is killed between; then one table with verdicts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from recsys.datasets.dataset import Dataset
from recsys.errors import UserError
from recsys.experiments.bench.config import Cell, find_file, load_datasets, make_cells, read_experiment
from recsys.experiments.bench.jobs import Outcome, duration, finished, in_processes, in_turn, read_result
from recsys.experiments.bench.results import summarise
from recsys.experiments.bench.tables import tables_for_screen


@dataclass(frozen=True)
class BenchOptions:
    """How to run an experiment.

    Attributes:
        out: folder of its cells and tables; None for runs/bench/<name of the file>.
        jobs: processes on this machine.
        smoke: run the file's tiny size.
        dask: address of a Dask scheduler, or local:N; empty for none.
        any_code: take cells that another version of the code finished.
        controls: run controls beside the models, also where the file does not say so.
    """

    out: Path | None = None
    jobs: int = 1
    smoke: bool = False
    dask: str = ""
    any_code: bool = False
    data_root: str | None = None
    device: str = "auto"
    controls: bool = False


def run_bench(name: str, options: BenchOptions, console: Console) -> dict[str, Any]:
    """Run what is not finished of an experiment, print its tables, and write them into its folder.

    Args:
        name: path of the YAML file, or name of a shipped experiment.

    Returns:
        What results.json holds.

    Raises:
        UserError, DataError: something in the file cannot be; no cell has run then.
    """
    path = find_file(name)
    experiment = read_experiment(path, options.smoke, options.controls)
    out = options.out or Path("runs/bench") / (path.stem + ("-smoke" if options.smoke else ""))
    datasets = load_datasets(experiment.datasets, options.data_root)
    cells = make_cells(
        experiment,
        datasets,
        out,
        beside=path.parent,
        data_root=str(Path(options.data_root).resolve()) if options.data_root else None,
        device=options.device,
    )
    state = Progressing(_states(cells, options.any_code), options.jobs)
    console.print(
        f"{experiment.title or path.stem}: {len(cells)} cells, {len(state.folders)} of them finished already",
        markup=False,
    )
    _run(state, datasets, options, console)
    out.mkdir(parents=True, exist_ok=True)
    flags = {" --smoke": options.smoke, " --controls": options.controls}
    command = f"recsys bench {name}{''.join(flag for flag, given in flags.items() if given)}"
    results = summarise(experiment, cells, state.folders, state.failed, out, command)
    for table in tables_for_screen(results):
        console.print()
        console.print(table)
    for cell, error in results["failed"].items():
        console.print(f"failed: {cell}: {error}", markup=False, soft_wrap=True, style="red")
    console.print(f"\nkept in {out}; report: recsys report {out}", markup=False, soft_wrap=True)
    return results


@dataclass
class Progressing:
    """How far the experiment is.

    Attributes:
        cells: all of them, and the folder of each that was finished before.
        folders: finished cells.
        failed: name of a failed cell -> its error.
    """

    cells: Mapping[Cell, Path | UserError | None]
    workers: int
    folders: dict[Cell, Path] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    seconds: dict[tuple[str, str], list[float]] = field(default_factory=dict)
    waiting: list[Cell] = field(default_factory=list)

    def __post_init__(self) -> None:
        for cell, state in self.cells.items():
            if isinstance(state, UserError):
                self.failed[cell.name] = str(state)
            elif state is None:
                self.waiting.append(cell)
            else:
                self.folders[cell] = state
                self._learn(cell, read_result(state)["timing"]["total"])

    def _learn(self, cell: Cell, seconds: float) -> None:
        self.seconds.setdefault((cell.label, cell.config.dataset), []).append(seconds)

    def done(self, cell: Cell, outcome: Outcome) -> None:
        """Note what became of a cell."""
        self.waiting.remove(cell)
        if outcome.error:
            self.failed[cell.name] = outcome.error
        else:
            self.folders[cell] = cell.folder
            self._learn(cell, outcome.seconds)

    def left(self) -> str:
        """An estimate of the time left: each waiting cell takes what cells like it took."""
        if not self.seconds:
            return "time left unknown yet"
        overall = fmean(s for values in self.seconds.values() for s in values)
        seconds = 0.0
        for cell in self.waiting:
            alike = self.seconds.get((cell.label, cell.config.dataset))
            same = [fmean(s) for (_, d), s in self.seconds.items() if d == cell.config.dataset]
            seconds += fmean(alike) if alike else fmean(same) if same else overall
        return f"about {duration(seconds / max(1, self.workers))} left"


def _states(cells: Sequence[Cell], any_code: bool) -> dict[Cell, Path | UserError | None]:
    """Each cell's finished folder, None where there is none, or why its folder cannot be used."""
    states: dict[Cell, Path | UserError | None] = {}
    for cell in cells:
        try:
            folder = cell.folder if finished(cell.folder) else None
            if folder is None and any_code:
                folder = next((f for f in cell.made_by_other_code() if finished(f)), None)
            states[cell] = folder
        except UserError as error:
            states[cell] = error
    return states


def _run(state: Progressing, datasets: dict[str, Dataset], options: BenchOptions, console: Console) -> None:
    if not state.waiting:
        return
    total = len(state.waiting)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, TextColumn("{task.fields[left]}"), console=console, transient=True) as bar:
        task = bar.add_task("cells", total=total, left=state.left())
        for number, (cell, outcome) in enumerate(_outcomes(state, datasets, options), start=1):
            state.done(cell, outcome)
            bar.update(task, completed=number, left=state.left())
            told = f"FAILED: {outcome.error}" if outcome.error else f"{outcome.seconds:.1f} s"
            line = f"[{number}/{total}] {cell.name}: {told}; {state.left()}"
            bar.console.print(line, markup=False, soft_wrap=True)


def _outcomes(
    state: Progressing, datasets: dict[str, Dataset], options: BenchOptions
) -> Iterator[tuple[Cell, Outcome]]:
    waiting = list(state.waiting)
    if options.dask:
        from recsys.experiments.cluster import on_dask

        return on_dask(waiting, options.dask)
    if options.jobs > 1:
        return in_processes(waiting, min(options.jobs, len(waiting)))
    return in_turn(waiting, datasets)
