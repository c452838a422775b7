"""Several models, and lists made elsewhere, in one table with verdicts."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pandas as pd

from recsys.api.evaluate import Evaluated
from recsys.api.models import ModelMaker, ModelSpec, spec_of
from recsys.api.train import dataset_of, place_of
from recsys.api.trained_run import keep_data
from recsys.datasets.dataset import Dataset
from recsys.datasets.splits import default_protocol
from recsys.errors import UserError
from recsys.experiments.bench.config import Experiment, Splitting, check_experiment
from recsys.experiments.bench.results import Scored
from recsys.experiments.bench.runner import BenchOptions, run_experiment
from recsys.experiments.bench.tables import latex, markdown
from recsys.runs.artifacts import MASK
from recsys.runs.tasks import TASKS
from recsys.settings import build
from recsys.terminal import PlainConsole

Row = str | ModelSpec | ModelMaker | Evaluated


@dataclass(frozen=True, eq=False)
class Comparison:
    """Models side by side on one test.

    Attributes:
        results: everything, as in a benchmark's results.json: means over seeds with intervals, verdicts, effect sizes.
        folder: where the runs are, to be resumed or reported on with `recsys report`.

    Stability: stable.

    Example:
        >>> import recsys
        >>> compared = recsys.compare(["pop", "itemknn"], recsys.toy_data(), split="random", metrics=["recall@10"])
        >>> compared.table.columns.tolist(), compared.failed
        (['recall@10', 'ndcg@20', 'verdict', 'seeds'], {})
    """

    results: dict[str, Any]
    folder: Path
    _temporary: TemporaryDirectory[str] | None = None

    @property
    def table(self) -> pd.DataFrame:
        """A row for each model, best first: means over users and seeds, the verdict on the deciding metric, seeds."""
        table = self._only
        rows = {
            row["model"]: {column: row["columns"].get(column, {}).get("mean") for column in table["columns"]}
            | {
                "verdict": row["columns"].get(table["decide_by"], {}).get("verdict", ""),
                "seeds": row["seeds"],
            }
            for row in table["rows"]
        }
        return pd.DataFrame.from_dict(rows, orient="index").rename_axis("model")

    @property
    def verdicts(self) -> pd.DataFrame:
        """Of each model, on the deciding metric: mean, its 95% interval, the difference to the reference with its
        interval and corrected p-value, and the verdict."""
        table, lines = self._only, {}
        for row in table["rows"]:
            cell = row["columns"].get(table["decide_by"], {})
            against = cell.get("against", {})
            lines[row["model"]] = {
                "mean": cell.get("mean"),
                "interval": tuple(cell.get("interval", ())),
                "reference": against.get("reference", ""),
                "difference": against.get("difference"),
                "difference_interval": tuple(against.get("interval", ())),
                "p": against.get("p_holm"),
                "verdict": cell.get("verdict", ""),
            }
        return pd.DataFrame.from_dict(lines, orient="index").rename_axis("model")

    @property
    def _only(self) -> dict[str, Any]:
        table: dict[str, Any] = self.results["tables"][0]
        return table

    @property
    def failed(self) -> dict[str, str]:
        """Run -> why it failed."""
        failed: dict[str, str] = self.results["failed"]
        return failed

    def to_markdown(self) -> str:
        """The tables as Markdown."""
        return markdown(self.results)

    def to_latex(self) -> str:
        """The tables as LaTeX, for the package booktabs."""
        return latex(self.results)

    def __repr__(self) -> str:
        return str(self.table.to_string(float_format="{:.4f}".format))

    def _repr_html_(self) -> str:
        return str(self.table.to_html(float_format="{:.4f}".format))


def compare(
    models: Iterable[Row] | Mapping[str, Row],
    data: Dataset | str,
    *,
    seeds: Sequence[int] = (0, 1, 2),
    split: str = "",
    split_options: Mapping[str, Any] | None = None,
    split_seeds: Sequence[int] = (0,),
    task: str = "recommend",
    tuned: bool = False,
    metrics: Iterable[str] = (),
    mask: str = MASK,
    decide_by: str = "ndcg@20",
    reference: str = "",
    margin: float = 0.01,
    device: str = "auto",
    folder: str | Path | None = None,
    processes: int = 1,
    progress: bool = False,
) -> Comparison:
    """Train and test every model under every seed, and say which differ, by paired tests over users and seeds.

    Args:
        models: names, models with settings, or results of `recsys.evaluate` on the same test; as a list, or by the name
            that each has in the table. What was evaluated stands for every seed, since nothing of it is drawn.
        data, split, split_options, task, mask, device: as in `recsys.train`.
        seeds, split_seeds: of the models and their training; of the split. Every pair is run. With one of each nobody
            is called better: how much the seeds differ is not known.
        tuned: take the settings that ship for each model on this data set and split.
        metrics: columns to show, such as "recall@5" or "cold:ndcg@20"; empty: those usual for the split.
        decide_by: the column that orders the table and that verdicts are about.
        reference: the row that all others are compared with; empty: whichever is best.
        margin: differences below this share of the mean count as none.
        folder: where the runs go; those finished there are not run again. None: a temporary folder.
        processes: runs at once.
        progress: show the runs on standard error.

    Raises:
        UserError, DataError: something that cannot be; nothing has run then. A run that fails is in `failed`.

    Stability: stable.

    Example:
        >>> import recsys
        >>> compared = recsys.compare(["pop", recsys.EASE(content=0.5)], recsys.toy_data(), split="random")
        >>> list(compared.table.index)
        ['ease (content=0.5)', 'pop']
    """
    dataset = dataset_of(data)
    rows = _rows(models)
    given = {name: row for name, row in rows.items() if isinstance(row, Evaluated)}
    temporary = None if folder else TemporaryDirectory(prefix="recsys-")
    out = Path(temporary.name if temporary else str(folder))
    place = place_of(dataset)
    if dataset.origin is None:
        place = {"dataset": keep_data(dataset, out), "data_root": None}
    columns = list(metrics)
    experiment: Experiment = build(
        Experiment,
        {
            "title": f"{', '.join(rows)} on {dataset.name}",
            "run": {"task": task, "mask": mask, "device": device},
            "models": {
                name: {"model": row.name, "settings": dict(row.settings), "tuned": tuned}
                for name, row in rows.items()
                if isinstance(row, ModelSpec)
            },
            "datasets": [place["dataset"]],
            "splits": [Splitting(protocol=split, options=dict(split_options or {}), seeds=list(split_seeds))],
            "seeds": list(seeds),
            "columns": [*columns, *([decide_by] if columns and decide_by not in columns else [])],
            "decide_by": decide_by,
            "reference": reference,
            "margin": margin,
        },
        "compare",
    )
    check_experiment(experiment, "compare", given)
    for name, row in given.items():
        _check_same_test(name, row, dataset, experiment)
    options = BenchOptions(out=out, processes=processes, data_root=place["data_root"])
    console = PlainConsole(stderr=True, quiet=not progress)
    draws = [(split_seed, seed) for split_seed in split_seeds for seed in seeds]
    beside = [
        _scored(name, row, draw)
        for name, row in given.items()
        for draw in draws
        if draw[0] == row.config.split_seed
    ]
    results = run_experiment(experiment, {place["dataset"]: dataset}, out, options, console, beside=beside)
    return Comparison(results, out, temporary)


def _rows(models: Iterable[Row] | Mapping[str, Row]) -> dict[str, ModelSpec | Evaluated]:
    """Name in the table -> what stands there."""
    if isinstance(models, (str, ModelSpec, ModelMaker, Evaluated)):
        raise UserError("compare takes several models; give a list, such as ['pop', 'ease']")
    if isinstance(models, Mapping):
        return {
            str(name): row if isinstance(row, Evaluated) else spec_of(row) for name, row in models.items()
        }
    rows: dict[str, ModelSpec | Evaluated] = {}
    for given in models:
        row = given if isinstance(given, Evaluated) else spec_of(given)
        name = row.name if isinstance(row, Evaluated) else row.label
        if name in rows:
            raise UserError(
                f"two rows are called '{name}'; give them names: compare({{'one': ..., 'two': ...}}, ...)"
            )
        rows[name] = row
    return rows


def _check_same_test(name: str, row: Evaluated, dataset: Dataset, experiment: Experiment) -> None:
    """UserError where lists were evaluated on another test than the models will be."""
    splitting = experiment.splits[0]
    here = {
        "dataset": dataset.name,
        "task": experiment.task,
        "split": splitting.protocol or default_protocol(TASKS[row.config.task].view(dataset)),
        "split_options": splitting.options,
        "mask": experiment.run.get("mask", MASK),
    }
    there = row.config.model_dump(include=set(here)) | {"dataset": row.metrics.values["dataset"]}
    for key, value in here.items():
        if there[key] != value:
            raise UserError(
                f"'{name}' was evaluated with {key} {there[key]!r}, the models with {value!r}; evaluate it so"
            )
    if row.config.split_seed not in splitting.seeds:
        raise UserError(
            f"'{name}' was evaluated with split_seed {row.config.split_seed}, the models with {splitting.seeds}"
        )


def _scored(name: str, row: Evaluated, draw: tuple[int, int]) -> Scored:
    digest = hashlib.sha256(pd.util.hash_pandas_object(row.per_user).to_numpy().tobytes())
    return Scored(name, draw, Path(), row.metrics.values, row.per_user, digest.hexdigest())
