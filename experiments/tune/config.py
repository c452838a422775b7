"""A scan's YAML file, the options beside it, and the plan that every worker gets."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from recsys.errors import UserError
from recsys.experiments.bench.config import read_yaml
from recsys.experiments.tune.tuning import MONITOR
from recsys.models import MODELS
from recsys.runs.run import RunConfig, resolve_settings
from recsys.settings import Settings, build, setting


class Scan(Settings):
    """The file: what to tune on what, and how."""

    model: str = setting(meaning="name of the model")
    task: Literal["recommend", "bundle"] = setting(
        "recommend", "recommend items to users, or complete bundles"
    )
    dataset: str = setting("ml-100k", "name of the data set, or path of its card")
    split: str = setting("", "split protocol; empty: predefined where the data set has one, else random")
    split_options: dict[str, float] = setting({}, "options of the protocol")
    split_seed: int = setting(0, "seed of the split", low=0)
    seed: int = setting(0, "seed of the model, its training, and the sampler", low=0)
    settings: dict[str, Any] = setting({}, "settings that stay as they are")
    search: dict[str, Any] | None = setting(
        None, "setting -> nothing (its declared range), choices, or {low, high, log}; empty: all declared"
    )
    sampler: Literal["tpe", "random", "grid"] = setting("tpe", "how settings are chosen")
    points: int = setting(4, "values of a range in a grid", low=2, high=100)
    pruner: Literal["none", "median", "hyperband"] = setting("median", "how hopeless trials end early")
    warmup: int = setting(10, "epochs before the median pruner looks", low=0)
    trials: int | None = setting(30, "trials in all, by all workers", low=1)
    timeout: float | None = setting(None, "seconds after which a worker takes no new trial", low=0)
    smoke: dict[str, Any] = setting({}, "what --smoke puts in place of the keys above")


@dataclass(frozen=True)
class ScanOptions:
    """How to run a scan.

    Attributes:
        out: its folder; None for runs/scan/<model>-<data set>-<split>.
        workers: processes on this machine.
        storage: postgresql://…, or empty for a journal file in the folder.
        dask: address of a Dask scheduler, or local:N; empty for none.
        overrides: keys of the file to replace; those that are None are not.
    """

    out: Path | None = None
    workers: int = 1
    storage: str = ""
    dask: str = ""
    smoke: bool = False
    data_root: str | None = None
    device: str = "auto"
    overrides: tuple[tuple[str, Any], ...] = ()


@dataclass(frozen=True)
class Plan:
    """A scan resolved, as every worker gets it."""

    scan: Scan
    folder: Path
    storage: str
    data_root: str | None
    device: str

    def config(self) -> RunConfig:
        """The run that trials vary."""
        s = self.scan
        return RunConfig(
            model=s.model,
            task=s.task,
            dataset=s.dataset,
            split=s.split,
            split_options=s.split_options,
            split_seed=s.split_seed,
            seed=s.seed,
            settings=s.settings,
            data_root=self.data_root,
            device=self.device,
        )


def read_scan(path: Path, smoke: bool, overrides: dict[str, Any]) -> Scan:
    """The scan in a file.

    Raises:
        UserError: not YAML, an unknown key (the nearest is offered), or a value that cannot be.
    """
    values = read_yaml(path)
    scan = build(Scan, values | overrides, path.name)
    if smoke:
        if not scan.smoke:
            raise UserError(f"{path.name} has no smoke section; add one, or leave out --smoke")
        scan = build(Scan, values | scan.smoke | overrides, f"smoke of {path.name}")
    if scan.trials is None and scan.timeout is None and scan.sampler != "grid":
        raise UserError(f"{path.name}: trials and timeout are both empty; give one of them")
    return scan


def monitor(plan: Plan) -> str:
    """The validation metric that trials are judged by."""
    training = resolve_settings(MODELS.get(plan.scan.model), plan.scan.settings)[1]
    return training.monitor if training else MONITOR


def total(scan: Scan, points: list[dict[str, Any]] | None = None) -> int | None:
    """Trials that the scan ends with; None where only time bounds it."""
    if points is None:
        return scan.trials
    return min(scan.trials or len(points), len(points))
