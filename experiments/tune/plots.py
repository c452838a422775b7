"""Figures of a scan: its history, the values along each setting, and how much each setting matters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from recsys import plots

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from optuna import Study
    from optuna.trial import FrozenTrial

LEAST = 4
"""Complete trials below which importances say nothing."""
_DOTS, _BEST = plots.PALETTE[0], plots.PALETTE[1]


def scan_plots(study: Study, folder: Path, metric: str) -> list[Path]:
    """Write history.svg, slice.svg and importance.svg; those that the trials allow.

    Args:
        metric: what the trials were compared by, as the figures name it.

    Raises:
        UserError: matplotlib is not installed, or the files cannot be written.
    """
    from optuna.importance import FanovaImportanceEvaluator, get_param_importances
    from optuna.trial import TrialState

    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    if not complete:
        return []
    varied = [n for n in complete[0].params if len({trial.params.get(n) for trial in complete}) > 1]
    with plots.style():
        figures = {"history": _history(complete, metric)}
        if varied:
            figures["slice"] = _slice(complete, varied, metric)
        if varied and len(complete) >= LEAST and len({trial.value for trial in complete}) > 1:
            evaluator = FanovaImportanceEvaluator(seed=0)
            shares = get_param_importances(study, evaluator=evaluator, params=varied)
            figures["importance"] = _importance(shares, metric)
        paths = [plots.save(figure, folder / name, kinds=("svg",)) for name, figure in figures.items()]
    return [path for written in paths for path in written]


def _history(trials: Sequence[FrozenTrial], metric: str) -> Figure:
    """Each trial's value, and the best one so far as steps."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(5, 3))
    axes = figure.subplots()
    numbers, values = [trial.number for trial in trials], _values(trials)
    axes.plot(numbers, values, "o", color=_DOTS, markersize=4, label="trial")
    axes.step(numbers, np.maximum.accumulate(values), where="post", color=_BEST, label="best so far")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set(xlabel="trial", ylabel=metric)
    axes.legend()
    return figure


def _values(trials: Sequence[FrozenTrial]) -> np.ndarray:
    return np.array([trial.value for trial in trials], dtype=np.float64)


def _slice(trials: Sequence[FrozenTrial], names: Sequence[str], metric: str) -> Figure:
    """The values along each setting that varied, one panel a setting."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(2.5 * len(names) + 0.5, 3))
    panels = figure.subplots(1, len(names), squeeze=False, sharey=True)[0]
    for panel, name in zip(panels, names, strict=True):
        having = [trial for trial in trials if name in trial.params]
        _values_along(panel, having, name)
        panel.set_xlabel(name)
    panels[0].set_ylabel(metric)
    return figure


def _values_along(axes: Axes, trials: Sequence[FrozenTrial], name: str) -> None:
    from optuna.distributions import CategoricalDistribution

    distribution = trials[0].distributions[name]
    settings = [trial.params[name] for trial in trials]
    if isinstance(distribution, CategoricalDistribution):
        choices = [choice for choice in distribution.choices if choice in settings]
        axes.set_xticks(range(len(choices)), [str(choice) for choice in choices])
        settings = [choices.index(setting) for setting in settings]
    elif getattr(distribution, "log", False):
        axes.set_xscale("log")
    axes.plot(settings, _values(trials), "o", color=_DOTS, markersize=4)


def _importance(shares: Mapping[str, float], metric: str) -> Figure:
    """The share of the values' variance that each setting accounts for, the largest on top."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5, 0.35 * len(shares) + 1))
    axes = figure.subplots()
    names = sorted(shares, key=lambda name: shares[name])
    bars = axes.barh(names, [shares[name] for name in names], color=_DOTS)
    axes.bar_label(bars, fmt="%.2f", padding=2)
    axes.margins(x=0.12)
    axes.set_xlabel(f"share of the variance of {metric}")
    return figure
