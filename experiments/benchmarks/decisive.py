"""Whether a model finds the one attribute that decides taste: `python -m recsys.experiments.benchmarks.decisive`.

    python -m recsys.experiments.benchmarks.decisive [--seeds 0 1 2] [--models NAME ...]

Plants data in which each user likes some of 100 categories and takes items of these alone, whatever else they have, and
prints test NDCG@20 of cold items among cold ones: of chance, of a user's taste by category counted in the training part
(what can be known of it), of RecBole's DeepFM (extra `recbole`) and of AFF, as it is and without what finds the
category. The category is told once in words and once in numbers. Needs no data; a few minutes on one thread.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

import numpy as np
import pandas as pd

import recsys
from recsys.datasets.splits import make_split
from recsys.inputs.training_data import TrainingData

TOWERS: dict[str, Any] = {"product": False, "codes": False}
EPOCHS: dict[str, Any] = {"max_epochs": 120}
TUNED: dict[str, Any] = {"learning_rate": 0.004, "patience": 5}
"""What validation on ml-100k chose for AFF's training."""
MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "deepfm": (
        "recbole:DeepFM",
        {"max_epochs": 200, "eval_every": 10, "learning_rate": 0.003, "patience": 20},
    ),
    "two towers": ("aff", EPOCHS | TOWERS),
    "two towers, tuned training": ("aff", EPOCHS | TOWERS | TUNED),
    "product": ("aff", EPOCHS | {"codes": False}),
    "aff, tuned training": ("aff", EPOCHS | TUNED),
    "aff": ("aff", EPOCHS),
}
"""Row of the table -> model and settings; what is not said is the default."""


def planted(
    users: int = 400,
    items: int = 1000,
    *,
    categories: int = 100,
    liked: int = 3,
    taken: int = 20,
    numbers: bool = False,
    seed: int = 0,
) -> recsys.Dataset:
    """Users who take items of a few categories alone, at random; items' colour, maker and price say nothing.

    Args:
        categories: how many there are; each has as many items as the others.
        liked: how many of them a user likes.
        taken: items that a user takes, or all that are liked where these are fewer.
        numbers: name the categories by whole numbers, as texts, like a file's; else by words.
        seed: of everything drawn.

    Example:
        >>> data = planted(50, 200, categories=20)
        >>> data.n_items, data.item_attributes["category"].nunique()
        (200, 20)
    """
    rng = np.random.default_rng(seed)
    category = rng.permutation(np.arange(items) % categories)
    table = pd.DataFrame(
        {
            "item": [f"i{item}" for item in range(items)],
            "category": [f"{number}" if numbers else f"c{number}" for number in category],
            "colour": [f"colour{number}" for number in rng.integers(0, 10, items)],
            "maker": [f"maker{number}" for number in rng.integers(0, 50, items)],
            "price": rng.normal(size=items),
        }
    )
    pairs: list[tuple[str, str]] = []
    for user in range(users):
        choice = np.flatnonzero(np.isin(category, rng.choice(categories, liked, replace=False)))
        chosen = rng.choice(choice, min(taken, len(choice)), replace=False)
        pairs += [(f"u{user}", f"i{item}") for item in chosen]
    frame = pd.DataFrame(pairs, columns=["user", "item"])
    return recsys.Dataset.from_frame(frame, items=table, name="planted")


def counted(data: recsys.Dataset, split_seed: int = 0) -> np.ndarray:
    """(users, items) float32: how many training items of each item's category a user took, the split being
    cold-item."""
    training = TrainingData.of(data, make_split(data, "cold-item", split_seed))
    codes = pd.factorize(data.item_attributes["category"])[0]
    one_hot = np.eye(codes.max() + 1, dtype=np.float32)[codes]
    return np.asarray(training.interactions @ one_hot @ one_hot.T, dtype=np.float32)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="of data, split and model at once")
    parser.add_argument("--models", nargs="+", default=list(MODELS), choices=list(MODELS))
    options = parser.parse_args()
    for numbers in (False, True):
        print(f"categories told in {'numbers' if numbers else 'words'}")
        for seed in options.seeds:
            data = planted(numbers=numbers, seed=seed)
            bound = recsys.evaluate(counted(data, seed), data, split="cold-item", split_seed=seed).metrics
            print(f"  seed {seed}  chance {bound.chance.cold_pool['ndcg@20']:.4f}", end="")
            print(f"  counted {bound.cold_pool['ndcg@20']:.4f}")
            for name in options.models:
                model, settings = MODELS[name]
                start = time.perf_counter()
                run = recsys.train(model, data, split="cold-item", split_seed=seed, seed=seed, **settings)
                seconds = time.perf_counter() - start
                print(f"    {name:26} {run.metrics.cold_pool['ndcg@20']:.4f}  {seconds:.0f} s", flush=True)


if __name__ == "__main__":
    main()
