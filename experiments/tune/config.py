"""A scan's YAML file, the options beside it, and the plan that every worker gets."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from recsys.errors import UserError, nearest
from recsys.experiments.tune.tuning import MONITOR
from recsys.files import read_yaml
from recsys.models import MODELS
from recsys.runs.config import PLACES, RunConfig, resolve_settings
from recsys.settings import Settings, build, setting


class Scan(Settings):
    """The file: which run to tune, and how. The run's `seed` is also the sampler's."""

    run: RunConfig = setting(meaning="the run that trials vary; its settings stay as they are")
    search: dict[str, Any] | None = setting(
        None, "setting -> null (its declared range), choices, or {low, high, log}; empty: all declared"
    )
    sampler: Literal["tpe", "random", "grid"] = setting("tpe", "how settings are chosen")
    points: int = setting(4, "values that a grid takes of each range", low=2, high=100)
    pruner: Literal["none", "median", "hyperband"] = setting(
        "median", "how unpromising trials are stopped early"
    )
    warmup: int = setting(10, "epochs before the median pruner may stop a trial", low=0)
    trials: int | None = setting(30, "trials of all workers together", low=1)
    timeout: float | None = setting(None, "seconds after which a worker starts no new trial", low=0)
    smoke: dict[str, Any] = setting({}, "what --smoke puts in place of the keys above")

    def identity(self) -> dict[str, Any]:
        """What makes two scans the same; how long they go on, and where, does not."""
        values = self.model_dump(exclude={"trials", "timeout", "smoke", "search", "run"})
        return self.run.model_dump(exclude=set(PLACES)) | values


@dataclass(frozen=True)
class ScanOptions:
    """How to run a scan.

    Attributes:
        out: its folder; None for runs/scan/<model>-<data set>-<split>.
        workers: processes on this machine.
        storage: postgresql://…, or empty for a journal file in the folder.
        dask: address of a Dask scheduler, or local:N; empty for none.
        run: fields of the file's run to replace (model, dataset, data_root, device); those that are None are not.
        overrides: other keys of the file to replace; those that are None are not.
    """

    out: Path | None = None
    workers: int = 1
    storage: str = ""
    dask: str = ""
    smoke: bool = False
    run: tuple[tuple[str, Any], ...] = ()
    overrides: tuple[tuple[str, Any], ...] = ()


@dataclass(frozen=True)
class ScanPlan:
    """A scan resolved, as every worker gets it."""

    scan: Scan
    folder: Path
    storage: str

    @property
    def title(self) -> str:
        """What people call it."""
        run = self.scan.run
        return f"{run.model} on {run.dataset}, {run.split}"

    def on_device(self, device: str) -> ScanPlan:
        """The plan of a worker that trains elsewhere."""
        run = self.scan.run.model_copy(update={"device": device})
        return replace(self, scan=self.scan.model_copy(update={"run": run}))


def read_scan(path: Path, options: ScanOptions) -> Scan:
    """The scan in a file, with what `options` replace.

    Raises:
        UserError: not YAML, an unknown key (the nearest is offered), or a value that cannot be.
    """
    values = read_yaml(path)
    scan = _built(values, options, path.name)
    if options.smoke:
        if not scan.smoke:
            raise UserError(f"{path.name} has no smoke section; add one, or leave out --smoke")
        small = scan.smoke | {"run": values["run"] | (scan.smoke.get("run") or {})}
        scan = _built(values | small, options, f"smoke of {path.name}")
    if scan.trials is None and scan.timeout is None and scan.sampler != "grid":
        raise UserError(f"{path.name}: trials and timeout are both empty; give one of them")
    return scan


def _built(values: dict[str, Any], options: ScanOptions, where: str) -> Scan:
    for key in values:
        if key in RunConfig.model_fields and key not in Scan.model_fields:
            raise UserError(f"{where}: `{key}` belongs under `run`: the run that the scan varies")
        if key not in Scan.model_fields:
            raise UserError(f"{where} has no setting '{key}'{nearest(key, Scan.model_fields)}")
    run = values.get("run")
    if not isinstance(run, dict):
        raise UserError(
            f"{where}: expected `run` with the fields of a run: model, dataset, split, settings, ..."
        )
    given = {key: value for key, value in options.run if value is not None}
    run = build(RunConfig, {"dataset": "ml-100k"} | run | given, f"run of {where}")
    overrides = {key: value for key, value in options.overrides if value is not None}
    return build(Scan, values | overrides | {"run": run}, where)


def monitor(plan: ScanPlan) -> str:
    """The validation metric that trials are judged by."""
    training = resolve_settings(MODELS.get(plan.scan.run.model), plan.scan.run.settings)[1]
    return training.monitor if training else MONITOR


def total(scan: Scan, points: list[dict[str, Any]] | None = None) -> int | None:
    """Trials that the scan ends with; None where only time bounds it."""
    if points is None:
        return scan.trials
    return min(scan.trials or len(points), len(points))
