"""Figures of a scan, drawn by Optuna: its history, the values along each setting, and how much each matters."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from recsys import plots

if TYPE_CHECKING:
    from optuna import Study

LEAST = 4
"""Complete trials below which importances say nothing."""


def scan_plots(study: Study, folder: Path, metric: str) -> list[Path]:
    """Write history.svg, slice.svg and importance.svg; those that the trials allow.

    Args:
        metric: what the trials were compared by, as the figures name it.

    Raises:
        UserError: matplotlib is not installed, or the files cannot be written.
    """
    from optuna.trial import TrialState

    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    if not complete:
        return []
    varied = [n for n in complete[0].params if len({trial.params.get(n) for trial in complete}) > 1]
    values = {trial.value for trial in complete}
    written = []
    with plots.style():
        from optuna.visualization import matplotlib as draw

        plots.without_screen()
        axes: dict[str, Any] = {"history": draw.plot_optimization_history(study, target_name=metric)}
        if varied:
            axes["slice"] = draw.plot_slice(study, params=varied, target_name=metric)
        if varied and len(complete) >= LEAST and len(values) > 1:
            axes["importance"] = draw.plot_param_importances(study, params=varied, target_name=metric)
        for name, drawn in axes.items():
            written += plots.save(plots.figure_of(drawn), folder / name, kinds=("svg",))
    return written
