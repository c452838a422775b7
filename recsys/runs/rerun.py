"""Repeating a run from its folder alone, and saying by how much the figures differ."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from rich.console import Console

from recsys.errors import UserError
from recsys.files import parse_json
from recsys.models.base import Model
from recsys.runs.artifacts import ENVIRONMENT_FILE, METRICS_FILE, new_folder, read_metrics
from recsys.runs.config import load_config
from recsys.runs.run import execute, prepare
from recsys.runs.tables import make_table

ROUNDING = 1e-9
"""Differences up to this are those of rounding: of another number of threads, or another machine."""


def run_again(
    folder: Path, out: Path | None, data_root: str | None, device: str | None, console: Console
) -> dict[str, tuple[float, float]]:
    """Repeat the run in `folder` in a new one and print what differs.

    Args:
        out: the new folder; None for `folder` with -rerun behind it.
        data_root, device: instead of those the run was made with.

    Returns:
        Figure -> (before, now), of those that are not equal.

    Raises:
        UserError: the folder holds no finished run.
    """
    config = load_config(folder)
    before = read_metrics(folder)
    if before is None:
        raise UserError(f"{folder} holds no finished run: it has no {METRICS_FILE}; finish it with --resume")
    changes = {"data_root": data_root, "device": device}
    run = prepare(config.model_copy(update={k: v for k, v in changes.items() if v is not None}))
    target = out or new_folder(folder.parent, f"{folder.name}-rerun")
    now = execute(run, target, console=console)
    for line in _changes(folder, target):
        console.print(line, markup=False, soft_wrap=True)
    old, new = dict(figures(before)), dict(figures(now))
    if not before["test"]:
        from recsys.training.weights import load_model

        new |= weight_sums(run.model)
        load_model(run.model, folder)
        old |= weight_sums(run.model)
    differing = {
        name: (old.get(name, math.nan), new.get(name, math.nan))
        for name in sorted(old.keys() | new.keys())
        if old.get(name) != new.get(name)
    }
    _tell(differing, len(old), console)
    console.print(f"kept in {target}", markup=False, soft_wrap=True)
    return differing


def figures(metrics: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, float]]:
    """Every number of a metrics.json by its path, but not how long things took."""
    for key, value in metrics.items():
        if key == "timing":
            continue
        name = f"{prefix} {key}".strip()
        if isinstance(value, Mapping):
            yield from figures(value, name)
        elif isinstance(value, int | float) and not isinstance(value, bool):
            yield name, value


def weight_sums(model: Model) -> dict[str, float]:
    """Each array's sum of magnitudes, which stand for the figures of a run without a test."""
    return {f"sum of |{name}|": float(array.double().abs().sum()) for name, array in model.arrays().items()}


def _tell(differing: Mapping[str, tuple[float, float]], total: int, console: Console) -> None:
    if not differing:
        console.print(f"equal: all {total} figures are the same to the last digit")
        return
    gaps = {name: abs(new - old) for name, (old, new) in differing.items()}
    order = sorted(gaps, key=lambda name: -math.inf if math.isnan(gaps[name]) else -gaps[name])
    table = make_table(
        "figures that differ, the largest differences first", ["figure", "before", "now", "difference"]
    )
    for name in order:
        if not gaps[name] <= ROUNDING:
            old, new = differing[name]
            table.add_row(name, f"{old:.6g}", f"{new:.6g}", f"{new - old:+.2g}")
    if table.row_count:
        console.print(table)
    rounded = len(differing) - table.row_count
    noise = f"; {rounded} more by rounding alone, below {ROUNDING:g}" if rounded else ""
    console.print(f"{table.row_count} of {total} figures differ{noise}", markup=False)


def beyond_rounding(differing: Mapping[str, tuple[float, float]]) -> bool:
    """Whether a figure differs by more than rounding does."""
    return any(not abs(new - old) <= ROUNDING for old, new in differing.values())


def _changes(before: Path, now: Path) -> Iterator[str]:
    """What the two runs rest on and do not share: data, split, versions, machine. What they took is no cause."""
    old, new = _read(before / ENVIRONMENT_FILE), _read(now / ENVIRONMENT_FILE)
    for key in sorted((old.keys() | new.keys()) - {"usage"}):
        if old.get(key) != new.get(key):
            yield f"changed: {key} was {_short(old.get(key))}, is {_short(new.get(key))}"


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 200 else text[:200] + "…"


def _read(path: Path) -> dict[str, Any]:
    try:
        values = parse_json(path)
        if isinstance(values, dict):
            return values
    except (OSError, ValueError):
        pass
    raise UserError(f"{path.parent} is not a finished run's: its {path.name} cannot be read")
