"""The data sets that runs were made with: loaded once, described, and checked against what the runs recorded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np

from recsys.datasets.cards import load_dataset
from recsys.datasets.dataset import Dataset, Provenance
from recsys.datasets.splits import Split, make_split
from recsys.errors import UserError
from recsys.experiments.bench.results import Draw
from recsys.experiments.report.collect import Group, StoredRun
from recsys.runs.tasks import TASKS
from recsys.runs.versions import data_checksum

_SPLITS: WeakKeyDictionary[Dataset, dict[tuple, Split]] = WeakKeyDictionary()
"""Each split that was made, for as long as its data set is there: several parts of a page ask for it."""


@dataclass(frozen=True, eq=False)
class Source:
    """A data set as the runs name it.

    Attributes:
        name: as in the tables.
        checksums: SHA-256 that the runs recorded of it, each once; more than one where it changed between runs.
        dataset: None where it cannot be read here.
        trouble: why it cannot be used to explore the runs; empty where it can.
    """

    name: str
    checksums: tuple[str, ...]
    dataset: Dataset | None
    trouble: str

    def facts(self) -> dict[str, Any]:
        """What the page says of it."""
        facts: dict[str, Any] = {"name": self.name, "checksums": self.checksums, "trouble": self.trouble}
        if self.dataset is None:
            return facts
        dataset = self.dataset
        sizes = [
            f"{dataset.n_users:,} users",
            f"{dataset.n_items:,} items",
            f"{len(dataset.interactions):,} interactions",
        ]
        if dataset.bundles is not None:
            sizes.append(f"{len(dataset.bundles.ids):,} bundles")
        kinds = [
            f"{name} ({modality.mask.mean():.0%} of items, made from {_made(dataset.provenance[name])})"
            for name, modality in dataset.modalities.items()
        ]
        return facts | {"sizes": ", ".join(sizes), "modalities": ", ".join(kinds) or "none"}


def _made(made: Provenance) -> str:
    """What a modality was made of and by what, with the first digits of its content's checksum."""
    of = f": {made.made_of}" if made.made_of else ""
    options = "".join(
        f", {key} {value}" for key, value in made.options.items() if key not in ("columns", "names")
    )
    sha = f", sha256 {made.content_sha256[:8]}" if made.content_sha256 else ""
    return f"{made.made_from}{of}{', by ' + made.made_by if made.made_by else ''}{options}{sha}"


def open_sources(groups: Sequence[Group], data_root: str | None) -> dict[str, Source]:
    """The data set of each group, by its name. One that cannot be read here is there without its data."""
    runs: dict[str, list[StoredRun]] = {}
    for group in groups:
        runs.setdefault(group.dataset, []).extend(group.runs)
    return {name: _open(name, group_runs, data_root) for name, group_runs in runs.items()}


def _open(name: str, runs: Sequence[StoredRun], data_root: str | None) -> Source:
    sums = sorted({str(s) for run in runs if (s := run.environment.get("data_sha256"))})
    config = runs[0].config
    try:
        dataset = load_dataset(config.dataset, data_root or config.data_root)
    except UserError as error:
        return Source(name, tuple(sums), None, f"it cannot be read here: {error}")
    if sums and data_checksum(dataset) not in sums:
        return Source(name, tuple(sums), dataset, "it has other content here than when the runs were made")
    return Source(name, tuple(sums), dataset, "")


def view_of(source: Source, group: Group) -> Dataset:
    """The data set as the group's task sees it; UserError where it cannot be used."""
    if source.dataset is None or source.trouble:
        raise UserError(f"{source.name}: {source.trouble}")
    return TASKS[group.task].view(source.dataset)


def split_of(dataset: Dataset, group: Group, split_seed: int) -> Split:
    """The split that a run of the group was trained on."""
    made = _SPLITS.setdefault(dataset, {})
    key = group.split, split_seed, tuple(sorted(group.options.items()))
    if key not in made:
        made[key] = make_split(dataset, group.split, split_seed, **group.options)
    return made[key]


def activity(source: Source, group: Group) -> dict[Draw, np.ndarray]:
    """(n_users,) training interactions of each user, by the group's seeds; empty for bundles and without data."""
    if group.task == "bundle":
        return {}
    try:
        dataset = view_of(source, group)
        users = dataset.interactions["user"].to_numpy()
        counts = {
            seed: np.bincount(users[split_of(dataset, group, seed).train], minlength=dataset.n_users)
            for seed in {draw[0] for draw in group.draws}
        }
    except UserError:
        return {}
    return {draw: counts[draw[0]] for draw in group.draws}
