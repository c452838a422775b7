"""Figures of a scan, as SVG: how much each setting matters, and the values along each of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recsys.files import atomic

if TYPE_CHECKING:
    from optuna import Study

LEAST = 4
"""Complete trials below which importances say nothing."""


def scan_plots(study: Study, folder: Path, metric: str) -> list[Path]:
    """Write history.svg, slice.svg and importance.svg; those that the trials allow."""
    import matplotlib
    from optuna.trial import TrialState
    from optuna.visualization import matplotlib as drawn

    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    if not complete:
        return []
    varied = [n for n in complete[0].params if len({t.params.get(n) for t in complete}) > 1]
    values = {t.value for t in complete}
    plots: dict[str, Callable[[], Any]] = {
        "history": lambda: drawn.plot_optimization_history(study, target_name=metric)
    }
    if varied:
        plots["slice"] = lambda: drawn.plot_slice(study, params=varied, target_name=metric)
    if varied and len(complete) >= LEAST and len(values) > 1:
        plots["importance"] = lambda: drawn.plot_param_importances(study, params=varied, target_name=metric)
    written = []
    with matplotlib.rc_context({"svg.hashsalt": "recsys", "figure.max_open_warning": 0}):
        matplotlib.use("Agg", force=True)
        for name, draw in plots.items():
            written.append(_save(draw(), folder / f"{name}.svg"))
    return written


def _save(axes: Any, path: Path) -> Path:
    import matplotlib.pyplot as plt
    import numpy as np

    figure = np.ravel(np.asarray(axes, dtype=object))[0].figure
    with atomic(path) as temporary:
        figure.savefig(temporary, format="svg", bbox_inches="tight", metadata={"Date": None})
    plt.close(figure)
    return path
