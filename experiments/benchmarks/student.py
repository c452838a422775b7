"""What students of trained runs rank like, by their width: `python -m recsys.experiments.benchmarks.student RUN`.

    python -m recsys.experiments.benchmarks.student RUN [RUN ...] [--against RUN ...] [--widths 64 128 256] [--by NAME]

The RUNs are one teacher's, trained with different seeds on one split. Of the teacher, of its students of each width, of
the models that it is made of, each alone, and of those in `--against` (runs on the same split) it prints Recall@20 and
NDCG@20 of all answers and of cold items, and for the figure named by `--by` the 95% interval of each difference from
the widest student, over users and, from two seeds on, over seeds, corrected by Holm's procedure.
"""

from __future__ import annotations

import argparse
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from recsys.evaluation.evaluator import Evaluator
from recsys.experiments.stats.verdicts import compare
from recsys.models.base import Model
from recsys.models.confluence import Confluence
from recsys.models.student import Student, StudentSettings
from recsys.runs.run import Run, load_run, make_evaluator

GROUPS, METRICS = ("overall", "warm", "cold", "cold_pool"), ("recall@20", "ndcg@20")
OVERALL = "overall"


def measured(run: Run, model: Model, evaluator: Evaluator) -> tuple[pd.DataFrame, float]:
    """A model's values of each user in a run's test, with the seconds that ranking took."""
    start = time.perf_counter()
    evaluation = evaluator.evaluate(model.scorer(run.data.query_users(run.support("test"))))
    return evaluation.per_user, time.perf_counter() - start


def itself(run: Run) -> Iterator[tuple[str, Model, float]]:
    """A run's model alone, as `models_of`."""
    yield run.config.model, run.model, 0.0


def models_of(run: Run, widths: list[int]) -> Iterator[tuple[str, Model, float]]:
    """The teacher, its parts and its students by name, with the seconds that their making took."""
    yield from itself(run)
    if isinstance(run.model, Confluence):
        for name, models in run.model.components.items():
            yield f"{name}, a part", models[0], 0.0
    for width in widths:
        student = Student(StudentSettings(teacher=run.config.model, width=width), run.data, run.config.seed)
        student.learn_from(lambda: run.model)
        start = time.perf_counter()
        student.distil()
        yield f"student {width}", student, time.perf_counter() - start


def figures(
    folders: list[Path], models: Callable[[Run], Iterator[tuple[str, Model, float]]], data_root: str | None
) -> tuple[dict[str, dict[int, pd.DataFrame]], pd.DataFrame]:
    """Of each of a run's models each seed's values by user, and the mean seconds of its making and of its ranking."""
    values: dict[str, dict[int, pd.DataFrame]] = defaultdict(dict)
    seconds: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for folder in folders:
        run = load_run(folder, data_root)
        evaluator = make_evaluator(run.dataset, run.split, run.data, "test")
        for name, model, made in models(run):
            values[name][run.config.seed], ranked = measured(run, model, evaluator)
            seconds[name].append((made, ranked))
    means = {name: np.mean(each, axis=0) for name, each in seconds.items()}
    return values, pd.DataFrame(means, index=["made, s", "ranked, s"]).T


def table(values: dict[str, dict[int, pd.DataFrame]], reference: str, by: str) -> pd.DataFrame:
    """Means of each model, best first, and how it differs from the reference by the metric, or group:metric, `by`."""
    group, _, metric = by.rpartition(":")
    seeds = sorted(set.intersection(*(set(each) for each in values.values())))
    rows, matrices = {}, {}
    for name, each in values.items():
        frame = pd.concat([each[seed].assign(seed=seed) for seed in seeds])
        held = [one for one in GROUPS if (frame["group"] == one).any()]
        means = frame.groupby("group", observed=True)[list(METRICS)].mean()
        rows[name] = {f"{one} {kind}": means.loc[one, kind] for one in held for kind in METRICS}
        asked = frame[frame["group"] == (group or OVERALL)]
        matrices[name] = asked.pivot(index="seed", columns="user", values=metric).to_numpy()
    found = pd.DataFrame(rows).T
    for one in compare(matrices, np.random.default_rng(0), reference=reference):
        low, high = one.interval
        found.loc[one.model, f"{by} minus that of {reference}"] = f"{low:+.4f} to {high:+.4f}, {one.label}"
    order = [np.nanmean(matrices[name]) for name in found.index]
    return found.iloc[np.argsort(order)[::-1]]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("--against", type=Path, nargs="*", default=[])
    parser.add_argument("--data-root")
    parser.add_argument("--widths", type=int, nargs="+", default=[64, 128, 256])
    parser.add_argument("--by", default="ndcg@20", help="such as ndcg@20 or cold_pool:ndcg@20")
    options = parser.parse_args()
    values, seconds = figures(options.runs, partial(models_of, widths=options.widths), options.data_root)
    rivals, _ = figures(options.against, itself, options.data_root)
    found = table({**values, **rivals}, f"student {max(options.widths)}", options.by)
    print(found.join(seconds).round(4).to_markdown())


if __name__ == "__main__":
    main()
