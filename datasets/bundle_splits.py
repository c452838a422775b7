"""Splits by bundle: whole bundles train; of a validation or test bundle one part is given, the rest held out.

The given part of a bundle is its support: handed over when scores are asked for, never trained on. A bundle of
one item has nothing to hold out, and only trains.
"""

from __future__ import annotations

from typing import Annotated

import numpy as np

from recsys.datasets.bundles import BundleView
from recsys.datasets.dataset import TEST, TRAIN, VALID
from recsys.datasets.splits import UNUSED, _check_shares, _draw_cold, _parts, _rank_within
from recsys.errors import DataError

ValidBundles = Annotated[float, "share of the bundles that validate"]
TestBundles = Annotated[float, "share of the bundles that test"]


def predefined(view: BundleView, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """The publisher's own split and input parts."""
    if view.given is None or "label" not in view.interactions:
        raise DataError(f"'{view.name}' has no predefined split of bundles; use random or cold-item")
    return _with_support(view.interactions["label"].to_numpy(), view.given)


def random(
    view: BundleView,
    rng: np.random.Generator,
    *,
    valid: ValidBundles = 0.1,
    test: TestBundles = 0.1,
    given: Annotated[float, "share of a held-out bundle's items that are given"] = 0.5,
) -> dict[str, np.ndarray]:
    """Bundles at random: shares `valid` and `test`, the rest train. Of a held-out bundle's n items,
    floor(given * n), but at least one and not all, are given."""
    _check_shares(valid=valid, test=test)
    _check_shares(given=given)
    part = _draw_bundles(view, rng, valid, test)
    bundles = view.interactions["user"].to_numpy()
    rank, count = _rank_within(bundles, rng.random(len(bundles)))
    return _with_support(part[bundles], rank < np.clip(np.floor(given * count), 1, count - 1))


def cold_item(
    view: BundleView,
    rng: np.random.Generator,
    *,
    share: Annotated[float, "share of the items that are cold"] = 0.2,
    valid: ValidBundles = 0.1,
    test: TestBundles = 0.1,
) -> dict[str, np.ndarray]:
    """Held-out items that occur in no training bundle: a share of the items is cold, half of them for
    validation, half for test, and leaves the training bundles. Of a held-out bundle its part's cold items are
    the answers, its warm items are given; a bundle without either takes no part."""
    _check_shares(share=share)
    _check_shares(valid=valid, test=test)
    bundles, items = (view.interactions[c].to_numpy() for c in ("user", "item"))
    valid_pool, test_pool = _draw_cold(np.unique(items), view.n_items, share, rng)
    cold = (valid_pool | test_pool)[items]
    part = _draw_bundles(view, rng, valid, test)[bundles]
    answer = ((part == VALID) & valid_pool[items]) | ((part == TEST) & test_pool[items])
    complete = np.ones(view.n_users, dtype=bool)
    for rows in (answer, ~cold):
        complete &= np.bincount(bundles[rows], minlength=view.n_users) > 0
    used = np.where(part == TRAIN, ~cold, complete[bundles] & (answer | ~cold))
    return _with_support(np.where(used, part, UNUSED), ~answer) | {
        "valid_pool": valid_pool,
        "test_pool": test_pool,
    }


def _draw_bundles(view: BundleView, rng: np.random.Generator, valid: float, test: float) -> np.ndarray:
    """(n_bundles,) the part of each bundle; those of fewer than two items only train."""
    whole = rng.permutation(np.flatnonzero(view.lengths >= 2))
    n_test, n_valid = round(test * len(whole)), round(valid * len(whole))
    part = np.full(view.n_users, TRAIN)
    part[whole[:n_test]] = TEST
    part[whole[n_test : n_test + n_valid]] = VALID
    return part


def _with_support(part: np.ndarray, given: np.ndarray) -> dict[str, np.ndarray]:
    """The parts' row numbers: the given rows of validation and test bundles are their support."""
    support = {VALID: "valid_support", TEST: "test_support"}
    answers = np.where((part != TRAIN) & given, UNUSED, part)
    return _parts(answers) | {name: np.flatnonzero((part == n) & given) for n, name in support.items()}
