"""Training again for use: on all interactions, with the epochs and the calibration that a tested run arrived at."""

from __future__ import annotations

from pathlib import Path

from recsys.datasets.splits import EVERYTHING
from recsys.errors import UserError
from recsys.runs.artifacts import read_history, read_metrics
from recsys.runs.config import Refit, RunConfig
from recsys.runs.run import Run
from recsys.training.filenames import ONLY_STAGE


def refit_config(run: Run, folder: Path) -> RunConfig:
    """The trained run of `folder` once more on split "none": same model, data, settings and seed.

    Each of its trainings takes as many epochs as were best on validation, and what was calibrated there is kept. No
    test figure comes from it.

    Raises:
        UserError: the folder holds no finished run, or one that held nothing out itself.
    """
    metrics = read_metrics(folder)
    if metrics is None:
        raise UserError(f"{folder} holds no finished run; finish it with --resume")
    if not metrics["test"]:
        raise UserError(f"{folder} was itself trained on everything; give the tested run that it came from")
    refit = Refit(
        run=folder.resolve().name,
        epochs=best_epochs(folder, metrics.get("best_epoch"), run.config.settings.get("monitor", "")),
        calibrated={name: buffer.flatten().tolist() for name, buffer in run.model.calibration().items()},
    )
    changes = {"split": EVERYTHING, "split_options": {}, "refit": refit, "metrics": []}
    return run.config.model_copy(update=changes)


def best_epochs(folder: Path, best_epoch: int | None, monitor: str) -> dict[str, int]:
    """Stage -> epochs to its best one, counted from 1; "model" of a model that is trained as one, nothing of one in
    closed form."""
    if best_epoch is None:
        return {}
    history = read_history(folder)
    if history is None or "stage" not in history:
        return {ONLY_STAGE: best_epoch + 1}
    epochs = {}
    for stage, rows in history.groupby("stage", sort=False):
        # A stage may go by a metric of its own.
        metrics = [name for name in rows if "@" in name and rows[name].notna().any()]
        by = monitor if monitor in metrics else metrics[0]
        epochs[str(stage)] = int(rows[by].reset_index(drop=True).idxmax()) + 1
    return epochs
