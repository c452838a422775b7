"""Dataset, cards, readers, checks and splits. Splits by name: `SPLITS`; cards of data sets: `CARDS`."""

from pathlib import Path
from typing import Any

from recsys.registry import Registry, is_function

SPLITS = Registry(
    "split",
    "recsys.splits",
    {
        "predefined": "recsys.datasets.splits:predefined",
        "none": "recsys.datasets.splits:none",
        "random": "recsys.datasets.splits:random",
        "temporal": "recsys.datasets.splits:temporal",
        "leave-one-out": "recsys.datasets.splits:leave_one_out",
        "cold-item": "recsys.datasets.splits:cold_item",
        "cold-user": "recsys.datasets.splits:cold_user",
        "bundle:predefined": "recsys.datasets.bundle_splits:predefined",
        "bundle:none": "recsys.datasets.splits:none",
        "bundle:random": "recsys.datasets.bundle_splits:random",
        "bundle:cold-item": "recsys.datasets.bundle_splits:cold_item",
    },
    accepts=is_function,
    expected="a function split(dataset, rng, *, options)",
)
"""A split is a function `split(dataset, rng, *, options) -> parts`; see `recsys.datasets.splits`. Those of bundles have
the prefix `bundle:`, and are asked for without it."""


def _is_card(part: Any) -> bool:
    from recsys.datasets.cards import Card

    return isinstance(part, Card | Path | str)


CARDS = Registry(
    "data set",
    "recsys.datasets",
    {path.stem: path for path in sorted(Path(__file__).with_name("cards").glob("*.yaml"))},
    accepts=_is_card,
    expected="a Card or the path of its YAML file",
)
"""A data set is a `recsys.datasets.cards.Card`, or the path of its YAML file; its files may lie beside it."""
