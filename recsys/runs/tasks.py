"""The tasks: what is ranked for whom. A task differs from another in what stands here, and nowhere else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from recsys.datasets.bundles import bundle_view
from recsys.datasets.dataset import Dataset
from recsys.evaluation.metrics import BUNDLE_METRICS, DEFAULT_METRICS

TaskName = Literal["recommend", "bundle"]


@dataclass(frozen=True)
class Task:
    """One way to look at a data set.

    Attributes:
        name: in `RunConfig.task`.
        entity: who is ranked for, in the singular; they stand in the users' place.
        metrics: what every run reports.
        view: the data set as the task sees it; DataError where it has no such thing.
        tests_new_users_apart: whether users without training interactions are a group of their own. Every tested
            bundle is one that training has not seen: there are no two groups of them.
    """

    name: TaskName
    entity: str
    metrics: tuple[str, ...]
    view: Callable[[Dataset], Dataset]
    tests_new_users_apart: bool = True


TASKS: dict[str, Task] = {
    task.name: task
    for task in (
        Task("recommend", "user", DEFAULT_METRICS, lambda dataset: dataset),
        Task("bundle", "bundle", BUNDLE_METRICS, bundle_view, tests_new_users_apart=False),
    )
}


def task_of(dataset: Dataset) -> Task:
    """The task that a data set is a view of."""
    return TASKS[dataset.task]
