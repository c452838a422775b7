"""A simulated month: what an update, a warm start and a training from nothing are worth, and what they cost.

    OMP_NUM_THREADS=1 python -m recsys.experiments.benchmarks.updates --out docs/results/updates.md

ml-100k is cut in time into four parts of equal size (the split `temporal`). A model is trained on the first. Before
each later part is asked about, all that came before it has arrived, users and items among it, and is met in four ways:

* nothing: the bundle of the first part answers on; whoever is new to it has no history.
* update: `recsys update` folds what came into the bundle, part after part. Nothing is trained.
* warm start: the training before goes on on all that there is by now (`recsys train --warm-start`), for a quarter of
  the epochs.
* retrain: a training from nothing on all that there is by now.

The epochs of a model are those that were best on the last tenth of the first part, chosen once, by the first seed. Each
way gives a bundle, and bundles are what is measured: on the users active in the part, who look for what they took in
it, without what they had before. Items that nobody took before cannot be found by any of them, and count. Intervals and
differences are those of users with a history by then, paired, over users and seeds, corrected for the number of
comparisons (`recsys.experiments.stats`). Costs are seconds of the processor, from the data in memory to the bundle on
disk.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from recsys.datasets.cards import load_dataset
from recsys.datasets.dataset import Dataset
from recsys.datasets.splits import make_split
from recsys.evaluation.evaluator import Evaluator
from recsys.experiments.stats.verdicts import Rules, compare, estimates
from recsys.files import write_text
from recsys.inputs.requests import NewItems
from recsys.runs.artifacts import kept_bundle
from recsys.runs.config import RunConfig
from recsys.runs.package import keep_bundle
from recsys.runs.run import execute, prepare
from recsys.runs.warm_start import warm_start_of
from recsys.serving.bundle import ServingBundle, load_bundle
from recsys.serving.parts import LOWEST

PARTS = 4
METRICS = ("recall@20", "ndcg@20")
SETTINGS: dict[str, dict[str, Any]] = {
    "ease": {"regularisation": 217.45},
    "lightgcn": {"layers": 1, "learning_rate": 0.0025, "reg": 2.8e-5, "batch_size": 512},
    "mmhcl": {"anchors": 256, "k": 13, "layers": 3, "learning_rate": 0.002, "batch_size": 512},
}
"""Models and settings, near those that searches on the random split found."""
CLOSED = ("ease",)
MOST_EPOCHS, PATIENCE, SHARE = 100, 15, 4
"""Epochs at most, validations without improvement, and by what a warm start has fewer."""


class BundleScorer:
    """The scores of a bundle for the users and items of a whole data set; items that it lacks are lowest."""

    def __init__(self, bundle: ServingBundle, dataset: Dataset):
        self.bundle, self.n_items, self.device = bundle, dataset.n_items, torch.device("cpu")
        self._users = bundle.users.rows(dataset.user_ids)
        self._ids, self._items = dataset.user_ids, bundle.items.rows(dataset.item_ids)

    def __call__(self, users: np.ndarray) -> torch.Tensor:
        bundle, scores = self.bundle, np.full((len(users), self.n_items), LOWEST, np.float32)
        known, held = self._users[users] >= 0, self._items >= 0
        nobody = bundle.matrix([np.empty(0, np.int64)] * int((~known).sum()))
        asked = [(known, bundle.recipients(self._ids[users[known]].tolist()))] if known.any() else []
        asked += [(~known, bundle.strangers([""] * nobody.shape[0], nobody))] if nobody.shape[0] else []
        for rows, recipients in asked:
            scores[np.ix_(rows, held)] = bundle.part.scores(recipients.query)[:, self._items[held]]
        return torch.from_numpy(scores)


def parts_of(dataset: Dataset, n: int = PARTS) -> list[np.ndarray]:
    """Rows of the interactions in `n` parts of time of about equal size, by the split `temporal`."""
    later = [make_split(dataset, "temporal", valid=0.01, test=1 - part / n).test for part in range(1, n)]
    begin = [np.arange(len(dataset.interactions)), *later]
    return [np.setdiff1d(one, other) for one, other in zip(begin, [*later, np.empty(0, int)], strict=True)]


def restricted(dataset: Dataset, rows: np.ndarray) -> Dataset:
    """The data set with some of its interactions, and the users and items among them alone."""
    frame = dataset.interactions.iloc[rows]
    (user, users), (item, items) = (
        (np.searchsorted(held := np.unique(frame[noun]), frame[noun]), held) for noun in ("user", "item")
    )
    own = frame.assign(user=user, item=item).sort_values(["user", "item"], ignore_index=True)
    attributes = {
        name: table.iloc[held].reset_index(drop=True) if len(table) else table
        for name, table, held in (
            ("user_attributes", dataset.user_attributes, users),
            ("item_attributes", dataset.item_attributes, items),
        )
    }
    return replace(
        dataset,
        interactions=own,
        user_ids=dataset.user_ids[users],
        item_ids=dataset.item_ids[items],
        modalities={name: modality.rows(items) for name, modality in dataset.modalities.items()},
        origin=None,
        **attributes,
    )


def arrived(
    dataset: Dataset, rows: np.ndarray, bundle: ServingBundle
) -> tuple[pd.DataFrame, NewItems | None]:
    """Interactions of a part, by raw ids, and the items among them that the bundle lacks; where it cannot take new
    items, the interactions without them."""
    frame = dataset.interactions.iloc[rows]
    items = np.unique(frame["item"])
    new = items[bundle.items.rows(dataset.item_ids[items]) < 0]
    if bundle.about["refuses_items"]:
        frame, new = frame[~frame["item"].isin(new)], new[:0]
    named = pd.DataFrame({"user": dataset.user_ids[frame["user"]], "item": dataset.item_ids[frame["item"]]})
    if not len(new):
        return named, None
    modalities = {name: modality.rows(new) for name, modality in dataset.modalities.items()}
    attributes = dataset.item_attributes.iloc[new].reset_index(drop=True)
    return named, NewItems(dataset.item_ids[new].astype(str), modalities, attributes)


def trained(
    model: str, data: Dataset, folder: Path, seed: int, epochs: int, start: Path | None = None
) -> Path:
    """A training on all of `data`; the folder of its bundle."""
    settings = SETTINGS[model] if model in CLOSED else {**SETTINGS[model], "max_epochs": epochs}
    config = RunConfig(
        model=model,
        dataset=data.name,
        split="none",
        seed=seed,
        settings=settings,
        warm_start=warm_start_of(start) if start else None,
        device="cpu",
    )
    run = prepare(config, data)
    execute(run, folder)
    keep_bundle(run, folder)
    kept = kept_bundle(folder)
    assert kept is not None
    return kept


def best_epochs(model: str, data: Dataset, folder: Path, most: int) -> int:
    """The epochs that are best on the last tenth of `data`, chosen by a training on what is before it."""
    if model in CLOSED:
        return 1
    config = RunConfig(
        model=model,
        dataset=data.name,
        split="temporal",
        split_options={"valid": 0.1, "test": 0.001},
        settings=SETTINGS[model] | {"max_epochs": most, "patience": PATIENCE},
        device="cpu",
    )
    return int(execute(prepare(config, data), folder)["best_epoch"]) + 1


def folded(dataset: Dataset, rows: np.ndarray, old: Path, folder: Path) -> Path:
    """An update of the bundle `old`; its folder."""
    bundle = load_bundle(old)
    return bundle.updated(*arrived(dataset, rows, bundle)).save(folder)


def timed(make: Callable[[], Path]) -> tuple[Path, float]:
    """What `make` gives, and the seconds of the processor that it took."""
    begin = time.process_time()
    return make(), time.process_time() - begin


def month(
    model: str, dataset: Dataset, parts: Sequence[np.ndarray], seed: int, epochs: int, root: Path
) -> Iterator[tuple[int, dict[str, tuple[Path, float]]]]:
    """Part after part that is asked about, and way -> the folder of its bundle and its cost."""
    base = timed(partial(trained, model, restricted(dataset, parts[0]), root / "base", seed, epochs))
    ways = {"nothing": base, "update": base}
    before = root / "base"
    for number in range(1, len(parts)):
        if number > 1:
            so_far = restricted(dataset, np.concatenate(parts[:number]))
            place, old = root / str(number), ways["update"][0]

            place.mkdir()
            anew, some = place / "retrain", place / "warm"
            ways = {
                "nothing": (base[0], 0.0),
                "update": timed(partial(folded, dataset, parts[number - 1], old, place / "update")),
            }
            if model not in CLOSED:
                few, start = -(-epochs // SHARE), before
                ways["warm start"] = timed(partial(trained, model, so_far, some, seed, few, start))
                before = some
            ways["retrain"] = timed(partial(trained, model, so_far, anew, seed, epochs))
        yield number, ways


def measured(
    dataset: Dataset, parts: Sequence[np.ndarray], number: int, folder: Path
) -> dict[str, dict[str, np.ndarray]]:
    """Group -> metric -> (n_users,) values of a bundle on a part, NaN for who is not asked about in it."""
    known = dataset.matrix(np.concatenate(parts[:number]))
    returning = np.diff(known.indptr) > 0
    evaluator = Evaluator(
        dataset.matrix(parts[number]), known, user_groups={"returning": returning}, metrics=METRICS
    )
    found = evaluator.evaluate(BundleScorer(load_bundle(folder), dataset)).per_user
    values: dict[str, dict[str, np.ndarray]] = {}
    for group, rows in found.groupby("group", observed=True):
        values[str(group)] = {}
        for metric in METRICS:
            every = np.full(dataset.n_users, np.nan)
            every[rows["user"]] = rows[metric]
            values[str(group)][metric] = every
    return values


def rows_of(
    part: str,
    found: Mapping[str, Mapping[str, Mapping[str, np.ndarray]]],
    costs: Mapping[str, float],
    rules: Rules,
) -> list[str]:
    """Rows of Markdown of one part: each way's figures, and how the NDCG@20 of users with a history differs from that
    of doing nothing and of retraining.

    Args:
        found: group -> metric -> way -> (n_seeds, n_users).
    """
    rng = np.random.default_rng(0)
    recall, ndcg = (found["returning"][metric] for metric in METRICS)
    means = estimates(ndcg, rng, rules)
    against = {
        reference: {one.model: one for one in compare(ndcg, rng, rules, reference=reference)}
        for reference in ("nothing", "retrain")
    }

    def difference(way: str, reference: str) -> str:
        if way == reference:
            return ""
        verdict = against[reference][way]
        low, high = verdict.interval
        label = f", {verdict.label}" if verdict.n_seeds > 1 else ""
        return f"{verdict.difference:+.4f} ({low:+.4f} to {high:+.4f}){label}"

    lines = []
    for way in ndcg:
        low, high = means[way].interval
        cells = [
            part,
            way,
            *(f"{np.nanmean(found['overall'][metric][way]):.4f}" for metric in METRICS),
            f"{np.nanmean(recall[way]):.4f}",
            f"{means[way].mean:.4f}",
            f"{low:.4f} to {high:.4f}",
            *(difference(way, reference) for reference in ("nothing", "retrain")),
            f"{costs[way]:.2f}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def simulated(
    model: str, dataset: Dataset, seeds: Sequence[int], most: int = MOST_EPOCHS, rules: Rules | None = None
) -> list[str]:
    """One model's month, as Markdown."""
    parts = parts_of(dataset)
    seeds = seeds[:1] if model in CLOSED else seeds
    kept: dict[int, dict[str, dict[str, dict[str, list[np.ndarray]]]]] = {}
    costs: dict[int, dict[str, list[float]]] = {}
    with tempfile.TemporaryDirectory(prefix="recsys-updates-") as place:
        epochs = best_epochs(model, restricted(dataset, parts[0]), Path(place) / "chosen", most)
        for seed in seeds:
            for number, ways in month(model, dataset, parts, seed, epochs, Path(place) / str(seed)):
                for way, (folder, cost) in ways.items():
                    costs.setdefault(number, {}).setdefault(way, []).append(cost)
                    for group, figures in measured(dataset, parts, number, folder).items():
                        for metric, values in figures.items():
                            of = kept.setdefault(number, {}).setdefault(group, {}).setdefault(metric, {})
                            of.setdefault(way, []).append(values)
    stacked = {
        number: {
            group: {metric: {way: np.stack(v) for way, v in ways.items()} for metric, ways in metrics.items()}
            for group, metrics in groups.items()
        }
        for number, groups in kept.items()
    }
    return [*_head(model, stacked, costs, epochs, len(seeds)), *_table(stacked, costs, rules or Rules()), ""]


def _head(model: str, found: Mapping, costs: Mapping, epochs: int, seeds: int) -> list[str]:
    users = {
        number: [int((~np.isnan(next(iter(groups[g][METRICS[1]].values()))[0])).sum()) for g in groups]
        for number, groups in found.items()
    }
    recall, ndcg = (np.nanmean(found[1]["returning"][metric]["nothing"]) for metric in METRICS)
    asked = "; ".join(f"part {n + 1}: {every}, {known} of them" for n, (every, known) in users.items())
    trains = "closed form" if model in CLOSED else f"{epochs} epochs, {-(-epochs // SHARE)} of a warm start"
    return [
        f"## {model}",
        "",
        f"Seeds: {seeds}; {trains}. The first training took {np.mean(costs[1]['nothing']):.2f} CPU s. Users asked "
        f"about, and with a history by then: {asked}. Part 2, before which nothing has come since the training: "
        f"recall@20 {recall:.4f}, ndcg@20 {ndcg:.4f} of users with a history.",
        "",
    ]


def _table(found: Mapping, costs: Mapping, rules: Rules) -> list[str]:
    columns = [
        *("part", "", "recall@20, all users", "ndcg@20, all users", "recall@20, with a history"),
        *("ndcg@20, with a history", "95% interval", "against nothing", "against retrain", "CPU s"),
    ]
    lines = [f"| {' | '.join(columns)} |", f"| --- | --- |{' ---: |' * (len(columns) - 2)}"]
    for number in sorted(found)[1:]:
        cost = {way: float(np.mean(each)) for way, each in costs[number].items()}
        lines += rows_of(str(number + 1), found[number], cost, rules)
    return lines


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", default=",".join(SETTINGS))
    parser.add_argument("--dataset", default="ml-100k")
    parser.add_argument("--data-root")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=MOST_EPOCHS, help="at most")
    parser.add_argument("--out", type=Path, help="write a page, with the reading that it has")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    dataset = load_dataset(options.dataset, options.data_root)
    lines: list[str] = []
    for model in options.models.split(","):
        found = simulated(model, dataset, range(options.seeds), options.epochs)
        print("\n".join(found), flush=True)
        lines += found
    if options.out:
        write_text(options.out, page(lines, options.out))


READING = "## Reading"


def page(tables: Sequence[str], old: Path) -> str:
    """The page with new tables; what a person has written of them stays at its end."""
    assert __doc__ is not None
    _, command, *about = __doc__.split("\n\n")
    reading = old.read_text(encoding="utf-8").partition(READING)[2] if old.is_file() else "\n"
    head = ["# A simulated month", "", "```sh", command.strip(), "```", "", "\n\n".join(about).strip(), ""]
    return "\n".join([*head, *tables, READING + reading])


if __name__ == "__main__":
    main()
