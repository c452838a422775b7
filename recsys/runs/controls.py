"""Control runs that show what a model's content contributes: permuted, random or no content, and content alone."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recsys.datasets.dataset import Dataset
from recsys.errors import UserError
from recsys.inputs.corruption import CONTROLS, ContentCorruption
from recsys.models import MODELS
from recsys.runs.config import RunConfig, shipped_tuned

if TYPE_CHECKING:
    from rich.console import Console

    from recsys.runs.run import Run

CONTENT_ONLY = "contentknn"
"""The model that has nothing but content."""


def control_contents(model: Any) -> dict[str, ContentCorruption]:
    """What is done to content, by the control's name; none for a model class that does not read content."""
    return (
        {meaning: ContentCorruption(control=control) for control, meaning in CONTROLS.items()}
        if model.reads_content
        else {}
    )


def controls_of(config: RunConfig, run: Run) -> dict[str, RunConfig]:
    """The controls beside a run, by their label.

    Args:
        config: of the run, as it was asked for.
        run: prepared from it.

    Raises:
        UserError: the model does not read content.
    """
    contents = control_contents(MODELS.get(config.model))
    if not contents:
        raise UserError(f"{config.model} does not read content: it has no controls; leave out --controls")
    beside: dict[str, dict[str, Any]] = {
        f"{config.model}, {meaning}": {"content": content} for meaning, content in contents.items()
    }
    if config.model != CONTENT_ONLY:
        has_tuned = shipped_tuned(CONTENT_ONLY, run.dataset.name, run.config.split).is_file()
        beside[CONTENT_ONLY] = {
            "model": CONTENT_ONLY,
            "settings": {},
            "tuned": bool(config.tuned) and has_tuned,
            "published": False,
        }
    return {label: config.model_copy(update=changes) for label, changes in beside.items()}


def run_controls(
    controls: Mapping[str, RunConfig], dataset: Dataset, folder: Path, resume: bool, console: Console
) -> list[dict[str, Any]]:
    """Run the controls, each in a folder beside `folder`; what their metrics.json hold, under their labels."""
    from recsys.runs.run import execute, prepare

    results = []
    for label, config in controls.items():
        beside = folder.with_name(f"{folder.name}-{label.rpartition(', ')[2].lower().replace(' ', '-')}")
        metrics = execute(prepare(config, dataset), beside, resume=resume, console=console)
        results.append({**metrics, "model": label})
    return results
