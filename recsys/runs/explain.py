"""What a model's gates weigh: the mean gate of each field, for warm and for cold users and items."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from rich.table import Table

from recsys import plots
from recsys.errors import UserError
from recsys.files import write_text
from recsys.models.base import Model
from recsys.optional_imports import require
from recsys.runs.run import Run
from recsys.runs.tables import make_table, number

GATES_FILE, FIGURE_FILE = "gates.csv", "gates.svg"
COLOURS = {"warm": plots.PALETTE[1], "cold": plots.PALETTE[0], "all": plots.PALETTE[-1]}


def check_explainable(model: Model, name: str) -> None:
    """UserError where the model has no gates to explain, or nothing can draw them."""
    if not hasattr(model, "field_gates") or not getattr(model.settings, "gates", True):
        raise UserError(
            f"{name} has no gates to explain; leave out --explain, or use --model aff with gates=true"
        )
    require("matplotlib", "plots")


def mean_gates(run: Run) -> pd.DataFrame:
    """One row for each field and group of a trained run.

    Returns:
        Frame with `of` (user, item or context), `field`, `group` (warm or cold; all of context), `gate`, the mean
        over the rows that have the field (NaN where none has it), `held`, the share that has it, and `rows`.

    Raises:
        UserError: the model has no gates.
    """
    check_explainable(run.model, run.config.model)
    run.model.eval()
    model: Any = run.model  # with `field_gates`, as was just checked
    gates_of: Mapping[str, Any] = model.field_gates(run.support("test"))
    lines = []
    for noun, gates in gates_of.items():
        everybody = np.ones(len(gates.values), dtype=bool)
        groups = {"all": everybody} if gates.warm is None else {"warm": gates.warm, "cold": ~gates.warm}
        for column, field in enumerate(gates.fields):
            for group, mask in groups.items():
                held = gates.present[mask, column]
                mean = float(gates.values[mask, column][held].mean()) if held.any() else np.nan
                share = float(held.mean()) if len(held) else np.nan
                lines.append((noun, field, group, mean, share, int(mask.sum())))
    return pd.DataFrame(lines, columns=["of", "field", "group", "gate", "held", "rows"])


def explain(run: Run, folder: Path) -> Table:
    """Write gates.csv and gates.svg into the run's folder, and give the table to print."""
    frame = mean_gates(run)
    write_text(folder / GATES_FILE, frame.to_csv(index=False))
    _draw(frame, folder / Path(FIGURE_FILE).stem)
    table = make_table(
        "mean gate of each field", ["field", "warm", "cold", "all"], f"kept in {folder / GATES_FILE}"
    )
    cells = frame.set_index(["of", "field", "group"])["gate"]
    for noun, field in frame[["of", "field"]].drop_duplicates().itertuples(index=False):
        values = [cells.get((noun, field, group), np.nan) for group in ("warm", "cold", "all")]
        table.add_row(f"{noun}: {field}", *(number(None if np.isnan(v) else v) for v in values))
    return table


def _draw(frame: pd.DataFrame, stem: Path) -> None:
    """Bars of the mean gates, a panel for each of users, items and context."""
    with plots.style():
        from matplotlib.figure import Figure

        panels = list(frame.groupby("of", sort=False))
        sizes = [part["field"].nunique() for _, part in panels]
        figure = Figure(figsize=(6, 0.45 * sum(sizes) + len(panels)), layout="constrained")
        ratios = {"height_ratios": sizes}
        axes = figure.subplots(len(panels), 1, squeeze=False, gridspec_kw=ratios, sharex=True)[:, 0]
        for axis, (noun, part) in zip(axes, panels, strict=True):
            _bars(axis, str(noun), part)
        axes[-1].set(xlim=(0, 1), xlabel="mean gate, over those that have the field")
        plots.save(figure, stem, kinds=("svg",))


def _bars(axis: Any, noun: str, part: pd.DataFrame) -> None:
    """One panel: a bar for each field and group."""
    groups, fields = part["group"].unique(), part["field"].unique()
    height = 0.8 / len(groups)
    for place, group in enumerate(groups):
        bars = part[part["group"] == group]
        middles = np.arange(len(bars)) + (place - (len(groups) - 1) / 2) * height
        axis.barh(middles, bars["gate"].fillna(0), height, label=group, color=COLOURS[group])
    axis.set_yticks(np.arange(len(fields)), fields)
    axis.invert_yaxis()
    axis.set_title(noun, loc="left")
    axis.legend()
