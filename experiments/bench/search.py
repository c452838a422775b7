"""Settings that a row of an experiment chooses itself, for each data set and split, on validation alone."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from recsys.datasets.dataset import Dataset
from recsys.errors import UserError
from recsys.experiments.bench.config import Experiment, Job, Splitting, make_jobs
from recsys.models import MODELS
from recsys.runs.artifacts import read_metrics


@dataclass
class Choice:
    """What one row takes on one data set and split.

    Attributes:
        candidates: the settings to choose from; the first of equal ones wins.
        jobs: the training of each candidate, on the first seeds.
        best: candidate -> its validation figure, of those that finished.
    """

    label: str
    dataset: str
    splitting: Splitting
    candidates: list[dict[str, Any]]
    jobs: list[Job]
    best: dict[int, float] = field(default_factory=dict)

    def read(self, folders: Mapping[Job, Path]) -> None:
        """Take the validation figures of the jobs that finished."""
        for number, job in enumerate(self.jobs):
            metrics = read_metrics(folders[job]) if job in folders else None
            if metrics is not None:
                self.best[number] = metrics["best"]

    @property
    def chosen(self) -> dict[str, Any] | None:
        """The candidate that is best on validation; None where none finished."""
        return self.candidates[max(self.best, key=lambda n: self.best[n])] if self.best else None

    def record(self) -> dict[str, Any]:
        """For results.json."""
        tried = [
            {"settings": self.candidates[number], "validation": figure}
            for number, figure in self.best.items()
        ]
        place = {"dataset": self.dataset, "split": self.splitting.protocol, "model": self.label}
        return place | {"chosen": self.chosen, "tried": tried}


def candidates(search: Mapping[str, list[Any]]) -> list[dict[str, Any]]:
    """Every combination of the values of the settings searched, in the file's order.

    Example:
        >>> candidates({"width": [8, 16], "layers": [2]})
        [{'width': 8, 'layers': 2}, {'width': 16, 'layers': 2}]
    """
    return [dict(zip(search, values, strict=True)) for values in itertools.product(*search.values())]


def make_choices(
    experiment: Experiment, datasets: Mapping[str, Dataset], out: Path, **places: str | None
) -> list[Choice]:
    """The rows that choose settings, on each data set and split, with a job for each candidate.

    A candidate is trained on the first seeds of the split and of the training. That run is the row's own at those
    seeds if the candidate is chosen.

    Raises:
        UserError, DataError: as for `make_jobs`; or a model without validation, which cannot choose.
    """
    for label in experiment.search:
        name = experiment.config(label).model
        if MODELS.get(name).closed_form:
            raise UserError(
                f"search of '{label}': {name} is fitted in closed form and has no validation figure to choose by; "
                "use recsys scan"
            )
    choices: list[Choice] = []
    for dataset, splitting in _places(experiment) if experiment.search else ():
        first = splitting.model_copy(update={"seeds": splitting.seeds[:1]})
        rows = {label: candidates(search) for label, search in experiment.search.items()}
        models = {
            f"{label}, candidate {number + 1}": with_settings(experiment.models[label], settings)
            for label, tried in rows.items()
            for number, settings in enumerate(tried)
        }
        changes = {"datasets": [dataset], "splits": [first], "seeds": experiment.seeds[:1], "models": models}
        plain = changes | {"missing": None, "controls": False, "search": {}}
        made = iter(make_jobs(experiment.model_copy(update=plain), datasets, out, **places))
        for label, tried in rows.items():
            jobs = [replace(next(made), label=label) for _ in tried]
            choices.append(Choice(label, dataset, splitting, tried, jobs))
    return choices


def jobs_of_choices(
    experiment: Experiment,
    choices: Sequence[Choice],
    datasets: Mapping[str, Dataset],
    out: Path,
    **places: str | None,
) -> list[Job]:
    """Every job of the experiment with the chosen settings; a row none of whose candidates finished is left out."""
    jobs = []
    for dataset, splitting in _places(experiment):
        models = dict(experiment.models)
        for choice in choices:
            if choice.dataset == dataset and choice.splitting is splitting:
                if choice.chosen is None:
                    del models[choice.label]
                else:
                    models[choice.label] = with_settings(models[choice.label], choice.chosen)
        changes = {"datasets": [dataset], "splits": [splitting], "models": models, "search": {}}
        jobs += make_jobs(experiment.model_copy(update=changes), datasets, out, **places)
    return jobs


def with_settings(row: Mapping[str, Any], settings: Mapping[str, Any]) -> dict[str, Any]:
    """A row of an experiment with further settings, which go before its own."""
    return {**row, "settings": row.get("settings", {}) | dict(settings)}


def _places(experiment: Experiment) -> Iterator[tuple[str, Splitting]]:
    return itertools.product(experiment.datasets, experiment.splits)
