"""How often the verdicts of `recsys bench` and `recsys.compare` call a model better or worse than itself.

    python -m recsys.experiments.benchmarks.same_model [--models bpr,lightgcn,vbpr,cm3] [--comparisons 100]

Each model is trained on ml-100k once for each of a grid of split seeds and training seeds (`--splits`, `--trainings`).
Two groups of runs without a run in common are then drawn from the grid, again and again, and compared as if they were
two models. Three ways to draw them:

* `training`: one split for all, as with `seeds: [0, 1, 2]`; every run has a training seed of its own.
* `both`: each seed has a split of its own, on which both groups are tested, as with `splits: {seeds: [0, 1, 2]}`.
* `split`: every run has a split of its own, so that the groups are tested on different interactions.

Prints how many comparisons in a hundred say better or worse. Verdicts are made to do so in 5 of 100 at most. From one
seed each nobody may be called better; exit status 1 where somebody is, or where there are more than 6 of 100 from two
or more. The comparisons of one model share its runs, so a count varies somewhat more than that of as many coins.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from recsys.datasets.dataset import Dataset
from recsys.experiments.bench.results import matrices, read_scored
from recsys.experiments.stats.verdicts import Rules, compare
from recsys.runs.config import RunConfig
from recsys.runs.run import execute, prepare

METRIC = "ndcg@20"
MODELS = {
    "bpr": {"max_epochs": 5, "batch_size": 4096, "learning_rate": 0.01},
    "lightgcn": {"max_epochs": 5, "batch_size": 4096, "learning_rate": 0.01},
    "vbpr": {"max_epochs": 5, "batch_size": 4096, "learning_rate": 0.01},
    "cm3": {"max_epochs": 2, "batch_size": 4096, "learning_rate": 0.01, "width": 16},
}
"""Models and short trainings of them: how good they are does not matter, how much their seeds differ does."""
WAYS = ("training", "both", "split")
SEEDS = (1, 2, 3)
ALLOWED = 0.06
RULES = Rules(resamples=1000)
"""The rules of a benchmark, but for a tenth of its resamples: labels need fewer digits than the intervals shown."""


def trained(model: str, dataset: Dataset, splits: int, trainings: int) -> np.ndarray:
    """(splits, trainings, n_users) float64 values of each run, NaN where a user was not counted."""
    draws = [(split, training) for split in range(splits) for training in range(trainings)]
    scored = []
    with tempfile.TemporaryDirectory(prefix="recsys-same-") as place:
        for split, seed in draws:
            config = RunConfig(
                model=model,
                dataset=dataset.name,
                split="random",
                split_seed=split,
                seed=seed,
                settings=MODELS[model],
                device="cpu",
            )
            folder = Path(place) / f"{split}-{seed}"
            execute(prepare(config, dataset), folder)
            scored.append(read_scored(folder, model, (split, seed)))
    return matrices(scored, draws, METRIC)[model].reshape(splits, trainings, -1)


def two_groups(
    pool: np.ndarray, way: str, seeds: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Two groups of runs without a run in common, (seeds, n_users) each, drawn from `pool` in one of `WAYS`."""
    splits, trainings, _ = pool.shape
    if way == "training":
        drawn = pool[rng.integers(splits), rng.permutation(trainings)[: 2 * seeds]]
    elif way == "both":
        places = rng.permutation(splits)[:seeds]
        pairs = np.array([rng.permutation(trainings)[:2] for _ in places])
        drawn = np.concatenate([pool[places, pairs[:, 0]], pool[places, pairs[:, 1]]])
    else:
        places = rng.permutation(splits)[: 2 * seeds]
        drawn = pool[places, rng.integers(trainings, size=2 * seeds)]
    return drawn[:seeds], drawn[seeds:]


def verdicts_on_itself(
    pool: np.ndarray, way: str, seeds: int, comparisons: int, rng: np.random.Generator, rules: Rules
) -> Counter[str]:
    """Label -> how often it was given to two groups of one model's runs."""
    labels: Counter[str] = Counter()
    for _ in range(comparisons):
        one, other = two_groups(pool, way, seeds, rng)
        labels[compare({"one": one, "other": other}, rng, rules)[0].label] += 1
    return labels


def table(
    pools: dict[str, np.ndarray],
    comparisons: int,
    rng: np.random.Generator,
    rules: Rules = RULES,
    seeds: Sequence[int] = SEEDS,
) -> dict[tuple[str, int], dict[str, Counter[str]]]:
    """(way, seeds) -> model -> labels, of as many comparisons of each model."""
    return {
        (way, number): {
            model: verdicts_on_itself(pool, way, number, comparisons, rng, rules)
            for model, pool in pools.items()
        }
        for way in WAYS
        for number in seeds
    }


def claims(labels: Counter[str]) -> int:
    """How often somebody was called better."""
    return labels["better"] + labels["worse"]


def main(arguments: list[str] | None = None) -> int:
    from recsys.datasets.cards import load_dataset

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", default=",".join(MODELS))
    parser.add_argument("--splits", type=int, default=8)
    parser.add_argument("--trainings", type=int, default=6)
    parser.add_argument("--comparisons", type=int, default=100, help="of each model")
    parser.add_argument("--seed", type=int, default=0, help="of what is drawn")
    options = parser.parse_args(arguments)
    names = options.models.split(",")
    dataset = load_dataset("ml-100k")
    pools = {name: trained(name, dataset, options.splits, options.trainings) for name in names}
    print(f"{'differ in':12s}{'seeds':>6s}" + "".join(f"{name:>12s}" for name in names) + f"{'of 100':>10s}")
    bad = False
    for (way, seeds), row in table(pools, options.comparisons, np.random.default_rng(options.seed)).items():
        share = sum(map(claims, row.values())) / (options.comparisons * len(row))
        bad |= share > (ALLOWED if seeds > 1 else 0)
        counts = "".join(f"{claims(labels):12d}" for labels in row.values())
        print(f"{way:12s}{seeds:6d}{counts}{100 * share:10.1f}", flush=True)
    return int(bad)


if __name__ == "__main__":
    sys.exit(main())
