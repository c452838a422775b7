"""Hyperparameter scans: a YAML file in, the best setting out, by any number of workers that may be killed."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from rich.console import Console

from recsys.datasets.cards import load_dataset
from recsys.datasets.dataset import Dataset
from recsys.datasets.splits import default_protocol
from recsys.errors import UserError
from recsys.experiments.bench.config import find_file
from recsys.experiments.processes import duration, start_worker
from recsys.experiments.tune.config import Scan, ScanOptions, ScanPlan, monitor, read_scan, total
from recsys.experiments.tune.tuning import Tuning
from recsys.files import read_yaml, write_text
from recsys.models import MODELS
from recsys.optional_imports import require
from recsys.runs.config import RunConfig, resolve_settings, tuned_path
from recsys.runs.tasks import TASKS
from recsys.runs.versions import data_checksum
from recsys.settings import merge

if TYPE_CHECKING:
    from optuna import Study

    from recsys.experiments.tune.storage import StoredStudy

BEST_FILE, SCAN_FILE = "best.yaml", "scan.yaml"
RESTARTS = 10
"""So many killed workers are replaced before the scan gives up."""


def run_scan(name: str, options: ScanOptions, console: Console) -> dict[str, Any]:
    """Run a scan, or go on with it, until its budget is spent; write best.yaml and plots.

    Args:
        name: path of the YAML file, or name of a shipped scan.

    Returns:
        trial, value and settings of the best, and how the trials ended.

    Raises:
        UserError, DataError: something in the file cannot be, the storage does not answer, or no trial succeeds.
    """
    require("optuna", "scan")
    from recsys.experiments.tune.space import search_space
    from recsys.experiments.tune.storage import storage_errors_in_one_line

    path = find_file(name)
    scan = read_scan(path, options)
    dataset = load_dataset(scan.run.dataset, scan.run.data_root)
    scan = scan.model_copy(update={"run": with_tuned(scan, dataset)})
    model_class = MODELS.get(scan.run.model)
    resolve_settings(model_class, scan.run.settings)
    space = search_space(model_class, scan.run.settings, scan.search)
    tuning = Tuning.of(scan.run, dataset)
    split = tuning.config.split
    scan = scan.model_copy(update={"run": scan.run.model_copy(update={"split": split})})
    folder = options.out or Path("runs/scan") / f"{scan.run.model}-{dataset.name}-{split}"
    plan = ScanPlan(scan, folder.resolve(), options.storage)
    with storage_errors_in_one_line(options.storage):
        study = open_scan(plan, space, data_checksum(dataset))
        progress = ProgressLines(study, plan, console)
        del dataset
        if options.dask:
            from recsys.experiments.tune.on_cluster import scan_on_dask

            scan_on_dask(plan, work, options.dask, progress.print_new)
        elif options.workers > 1:
            _in_processes(plan, options.workers, progress.print_new)
        else:
            work(plan, tuning, study, progress.print_new)
        progress.print_new()
        return finish(study, plan, console)


def with_tuned(scan: Scan, dataset: Dataset) -> RunConfig:
    """The scan's run with the tuned settings that it asks for, but for those that are searched."""
    view = TASKS[scan.run.task].view(dataset)
    path = tuned_path(scan.run, view.name, scan.run.split or default_protocol(view))
    tuned = {k: v for k, v in read_yaml(path).items() if k not in (scan.search or {})} if path else {}
    return scan.run.model_copy(update={"settings": merge(tuned, scan.run.settings), "tuned": False})


def open_scan(plan: ScanPlan, space: dict[str, Any], data: str) -> StoredStudy:
    """The scan's study, new or old.

    Raises:
        UserError: the folder or database holds a scan of something else.
    """
    from optuna.distributions import distribution_to_json

    from recsys.experiments.tune.storage import open_study

    about = plan.scan.identity()
    about |= {"data": data, "search": {name: distribution_to_json(d) for name, d in space.items()}}
    study = open_study(plan.folder, plan.folder.name, plan.storage)
    there = study.user_attrs.get("scan")
    if there is None:
        # In this order: whoever finds the attribute takes the first trial to be queued already.
        if plan.scan.sampler != "grid":
            study.enqueue_trial(defaults(plan.scan, space), skip_if_exists=True)
        study.set_user_attr("scan", about)
    elif there != json.loads(json.dumps(about)):
        key = next(k for k in about if there.get(k) != json.loads(json.dumps(about[k])))
        raise UserError(
            f"{plan.folder} holds another scan: its {key} is {there.get(key)!r}, here it is {about[key]!r}; "
            f"choose another folder with --out"
        )
    if not (plan.folder / SCAN_FILE).exists():
        plan.folder.mkdir(parents=True, exist_ok=True)
        values = plan.scan.model_dump(exclude={"smoke"})
        write_text(plan.folder / SCAN_FILE, yaml.safe_dump(values, sort_keys=False))
    return study


def defaults(scan: Scan, space: dict[str, Any]) -> dict[str, Any]:
    """The model's own settings, as far as the space holds them: a scan's first trial, so that what it finds is
    no worse. The sampler chooses the others."""
    own, training = resolve_settings(MODELS.get(scan.run.model), scan.run.settings)
    values = own.model_dump() | (training.model_dump() if training else {})
    return {name: values[name] for name, d in space.items() if _holds(d, values[name])}


def _holds(distribution: Any, value: Any) -> bool:
    from optuna.trial import create_trial

    try:
        create_trial(value=0.0, params={"x": value}, distributions={"x": distribution})
    except ValueError:  # out of range, no choice, or no number
        return False
    return True


def work(
    plan: ScanPlan,
    tuning: Tuning | None = None,
    study: StoredStudy | None = None,
    after_trial: Callable[[], None] = lambda: None,
) -> None:
    """Be one worker of the scan until its budget is spent."""
    from recsys.experiments.tune.space import grid, search_space
    from recsys.experiments.tune.storage import open_study
    from recsys.experiments.tune.trials import Budget, Worker

    scan = plan.scan
    tuning = tuning or Tuning.of(plan.scan.run)
    study = study or open_study(plan.folder, plan.folder.name, plan.storage)
    space = search_space(MODELS.get(scan.run.model), scan.run.settings, scan.search)
    points = grid(space, scan.points) if scan.sampler == "grid" else None
    study.pruner = _pruner(scan)
    worker = Worker(
        study,
        tuning,
        space,
        plan.folder,
        points=points,
        sampler=lambda number: _sampler(scan.sampler, scan.run.seed, number),
        after_trial=after_trial,
    )
    worker.run(Budget(total(scan, points), scan.timeout))


def _sampler(name: str, seed: int, number: int) -> Any:
    import numpy as np
    import optuna

    seed = int(np.random.SeedSequence([seed, number]).generate_state(1)[0])
    return (optuna.samplers.TPESampler if name == "tpe" else optuna.samplers.RandomSampler)(seed=seed)


def _pruner(scan: Scan) -> Any:
    import optuna

    if scan.pruner == "none":
        return optuna.pruners.NopPruner()
    if scan.pruner == "median":
        return optuna.pruners.MedianPruner(n_startup_trials=5, n_warmup_steps=scan.warmup)
    training = resolve_settings(MODELS.get(scan.run.model), scan.run.settings)[1]
    epochs = training.max_epochs if training else 1
    return optuna.pruners.HyperbandPruner(min_resource=1, max_resource=epochs)


def _serve(connection: Connection, plan: ScanPlan) -> None:
    """A worker in a process of its own: sends the error that ended it, or an empty line."""
    from recsys.experiments.tune.storage import storage_errors_in_one_line

    try:
        with storage_errors_in_one_line(plan.storage):
            work(plan)
        connection.send("")
    except UserError as error:
        connection.send(str(error))


def _in_processes(plan: ScanPlan, workers: int, after_poll: Callable[[], None]) -> None:
    """Run `workers` workers; a killed one is replaced."""
    alive = dict(start_worker(_serve, workers, plan) for _ in range(workers))
    restarts = 0
    try:
        while alive:
            for connection, process in list(alive.items()):
                if not connection.poll(0.5 / workers):
                    continue
                del alive[connection]
                try:
                    if error := connection.recv():
                        raise UserError(error)
                except (EOFError, ConnectionError):
                    process.join()
                    restarts += 1
                    if restarts > RESTARTS:
                        raise UserError(
                            f"{restarts} workers died, the last with exit status {process.exitcode}; out of "
                            f"memory? Finished trials stay: run the command again with fewer --workers"
                        ) from None
                    alive |= dict([start_worker(_serve, workers, plan)])
            after_poll()
    finally:
        for process in alive.values():
            process.terminate()
            process.join()


class ProgressLines:
    """Prints a line for each trial that has ended since the last time, whoever ran it."""

    def __init__(self, study: Study, plan: ScanPlan, console: Console):
        from recsys.experiments.tune.trials import ended

        self.study, self.plan, self.console, self._ended = study, plan, console, ended
        before = [t for t in study.get_trials(deepcopy=False) if ended(t)]
        self._printed, self._before = {t.number for t in before}, len(before)
        self._goal, self._start, self._metric = self._budget(), time.monotonic(), monitor(plan)
        console.print(
            f"scan of {plan.title}: {len(before)} trials finished already; kept in {plan.folder}",
            markup=False,
            soft_wrap=True,
        )

    def _budget(self) -> int | None:
        from recsys.experiments.tune.space import grid, search_space

        scan = self.plan.scan
        space = search_space(MODELS.get(scan.run.model), scan.run.settings, scan.search)
        return total(scan, grid(space, scan.points) if scan.sampler == "grid" else None)

    def print_new(self) -> None:
        """Print what is new."""
        trials = [t for t in self.study.get_trials(deepcopy=False) if self._ended(t)]
        new = [t for t in trials if t.number not in self._printed]
        for trial in new:
            self._printed.add(trial.number)
            value = f"{self._metric} {trial.value:.4f}" if trial.value is not None else ""
            state = {"COMPLETE": value, "PRUNED": "pruned"}.get(trial.state.name)
            state = state or f"FAILED: {trial.user_attrs['error']}"
            settings = " ".join(
                f"{k}={v:.4g}" if isinstance(v, float) else f"{k}={v}" for k, v in trial.params.items()
            )
            of = f"/{self._goal}" if self._goal else ""
            self.console.print(
                f"[{len(self._printed)}{of}] trial {trial.number}: {state} with {settings}{self._left()}",
                markup=False,
                soft_wrap=True,
            )

    def _left(self) -> str:
        done = len(self._printed)
        if not self._goal or done >= self._goal:
            return ""
        fresh = max(1, done - self._before)
        return f"; about {duration((time.monotonic() - self._start) / fresh * (self._goal - done))} left"


def finish(study: Study, plan: ScanPlan, console: Console) -> dict[str, Any]:
    """Write best.yaml and the plots; return and print what was best."""
    from optuna.trial import TrialState

    trials = study.get_trials(deepcopy=False)
    complete = [t for t in trials if t.state is TrialState.COMPLETE]
    if not complete:
        raise UserError(f"no trial of {plan.folder} has finished; give the scan more trials or time")
    best = max(complete, key=lambda t: (t.value, -t.number))
    counts = {
        "complete": len(complete),
        "pruned": sum(t.state is TrialState.PRUNED for t in trials),
        "failed": sum("error" in t.user_attrs for t in trials),
    }
    settings = {**plan.scan.run.settings, **best.params}
    scan, metric = plan.scan, monitor(plan)
    ends = ", ".join(f"{count} {state}" for state, count in counts.items())
    head = (
        f"# {plan.title}, split seed {scan.run.split_seed}: validation {metric} "
        f"{best.value:.6f}\n# the best of {len(complete) + counts['pruned'] + counts['failed']} trials ({ends}), "
        f"trial {best.number}, sampler {scan.sampler}, pruner {scan.pruner}, seed {scan.run.seed}\n"
    )
    write_text(plan.folder / BEST_FILE, head + yaml.safe_dump(settings, sort_keys=True))
    plots = _plots(study, plan, metric)
    console.print(
        f"{ends}; best: trial {best.number}, {metric} {best.value:.4f}, with\n"
        f"{yaml.safe_dump(settings, sort_keys=True)}kept in {os.path.relpath(plan.folder / BEST_FILE)}{plots}",
        markup=False,
        soft_wrap=True,
    )
    return {"trial": best.number, "value": best.value, "settings": settings, "trials": counts}


def _plots(study: Study, plan: ScanPlan, metric: str) -> str:
    try:
        require("matplotlib", "plots")
    except UserError as error:
        return f"\nno plots: {error}"
    from recsys.experiments.tune.plots import scan_plots

    written = scan_plots(study, plan.folder, metric)
    return f"; plots: {', '.join(path.name for path in written)}" if written else ""
