"""Splits: which interactions train, validate and test, and which users and items are cold.

A protocol is a function `split(dataset, rng, *, options) -> parts`, found by name in `recsys.datasets.SPLITS`. Parts
are row numbers of the interactions: `train`, `valid`, `test`, and where they are needed `valid_support`,
`test_support`, `valid_pool`, `test_pool` (see `Split`); a protocol that gives no `valid`, or neither it nor
`test`, means to hold none out. An option is a keyword with a default, annotated with its
meaning. Every split proves itself before anyone sees it: no pair in two parts, no cold user or item in train, no empty
part.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields
from typing import Annotated, Any, get_args, get_type_hints

import numpy as np
from pydantic import BeforeValidator

from recsys.datasets import SPLITS
from recsys.datasets.bundles import BundleView
from recsys.datasets.dataset import TEST, TRAIN, VALID, Dataset
from recsys.errors import DataError, nearest
from recsys.settings import hint

NO_ROWS = np.empty(0, dtype=np.int64)
OF_BUNDLES = "bundle:"
"""Prefix of the names of protocols that split a bundle view."""
EVERYTHING = "none"
"""The protocol that holds nothing out."""
PARTS = ("train", "valid", "test", "valid_support", "test_support")
POOLS = ("valid_pool", "test_pool")
UNUSED = -1
"""Part number of a row that no part holds."""
ValidShare = Annotated[float, "share of the interactions that validate"]
TestShare = Annotated[float, "share of the interactions that test"]


def _number(value: Any) -> Any:
    """YAML reads 1e-3 as text; a number is meant."""
    try:
        return float(value) if isinstance(value, str) else value
    except ValueError:
        return value


SplitOption = Annotated[bool | float | str, BeforeValidator(_number)]
"""The value of an option of a protocol, in configurations."""
WarmValidShare = Annotated[float, "share of the warm interactions that validate; 0 for none"]
WarmTestShare = Annotated[float, "share of the warm interactions that test; 0 for none"]
HEAD_SHARE = 0.2
"""Head items are the most popular fifth of the warm items; tail items are the other warm ones."""


@dataclass(frozen=True, eq=False)
class Split:
    """Row numbers into `Dataset.interactions`, disjoint, sorted.

    Attributes:
        protocol, seed: how the split was made.
        train, valid, test: int64 row numbers.
        cold_users: (n_users,) bool, users without a training interaction.
        cold_items: (n_items,) bool, items without a training interaction.
        valid_pool, test_pool: (n_items,) bool, the items that "ranked among cold items" ranks in that part.
        valid_support, test_support: interactions handed over at evaluation time only (cold-user protocol):
            a cold user's history, never trained on, never counted as an answer.
        without: those of "valid" and "test" that the protocol means to be empty.
        notes: what should be known of the split.
    """

    protocol: str
    seed: int
    train: np.ndarray
    valid: np.ndarray
    test: np.ndarray
    cold_users: np.ndarray
    cold_items: np.ndarray
    valid_pool: np.ndarray
    test_pool: np.ndarray
    valid_support: np.ndarray = field(default_factory=lambda: NO_ROWS)
    test_support: np.ndarray = field(default_factory=lambda: NO_ROWS)
    without: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for part in fields(self):
            value = getattr(self, part.name)
            if isinstance(value, np.ndarray):
                value.setflags(write=False)

    @property
    def known(self) -> np.ndarray:
        """Rows that are known of users by the time of the test: none of their items can be an answer any more."""
        return np.concatenate([self.train, self.valid, self.test_support])

    def check(self, dataset: Dataset) -> None:
        """Raise DataError: a pair in two parts, a cold user or item in train, or a part that is empty without being
        meant to be."""
        for part in ("train", "valid", "test"):
            if part not in self.without and not len(getattr(self, part)):
                raise DataError(
                    f"split '{self.protocol}' of '{dataset.name}' leaves the {part} part empty; use another "
                    f"split, or data with more interactions"
                )
        rows = np.concatenate([self.train, self.valid, self.test, self.valid_support, self.test_support])
        users = dataset.interactions["user"].to_numpy()
        items = dataset.interactions["item"].to_numpy()
        pairs = users[rows] * dataset.n_items + items[rows]
        unique, counts = np.unique(pairs, return_counts=True)
        if len(unique) < len(pairs):
            user, item = divmod(int(unique[counts > 1][0]), dataset.n_items)
            raise DataError(
                f"split '{self.protocol}' of '{dataset.name}': user {dataset.user_ids[user]} with item "
                f"{dataset.item_ids[item]} lies in two parts; give each pair to one part"
            )
        if self.cold_users[users[self.train]].any() or self.cold_items[items[self.train]].any():
            raise DataError(f"split '{self.protocol}' of '{dataset.name}' trains on a cold user or item")


def head_items(counts: np.ndarray) -> np.ndarray:
    """(n_items,) bool: the most popular fifth of the items with training interactions.

    Args:
        counts: (n_items,) training interactions.
    """
    order = np.argsort(-counts, kind="stable")
    head = np.zeros(len(counts), dtype=bool)
    head[order[: round(HEAD_SHARE * np.count_nonzero(counts))]] = True
    return head


def none(dataset: Dataset, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Nothing is held out: all interactions train, for use. Nothing can be chosen or tested on it."""
    return {"train": np.arange(len(dataset.interactions))}


def predefined(
    dataset: Dataset,
    rng: np.random.Generator,
    *,
    valid: Annotated[
        float,
        "share of the training part that validates where the publisher has no validation part; 0 for none",
    ] = 0.1,
) -> dict[str, Any]:
    """The publisher's own split: the rows' `label`.

    Where no row is labelled as validation, share `valid` of each user's training rows is drawn for it, from users with
    three or more.
    """
    _check_shares(or_none=True, valid=valid)
    if "label" not in dataset.interactions:
        raise DataError(
            f"'{dataset.name}' has no predefined split; use one of: "
            + ", ".join(p for p in protocols(dataset) if p != "predefined")
        )
    part = dataset.interactions["label"].to_numpy()
    if (part == VALID).any():
        return _parts(part)
    rows = np.flatnonzero(part == TRAIN)
    users = dataset.interactions["user"].to_numpy()[rows]
    drawn = rows[_hold_out(users, rng.random(len(rows)), valid, 0) == VALID]
    parts = _parts(np.where(np.isin(np.arange(len(part)), drawn), VALID, part))
    if not valid:
        del parts["valid"]
        return parts
    drew = f"{len(drawn):,} of its {len(rows):,} training rows were drawn for it"
    return parts | {"notes": [f"'{dataset.name}' has no validation part: {drew}"]}


def random(
    dataset: Dataset, rng: np.random.Generator, *, valid: ValidShare = 0.1, test: TestShare = 0.1
) -> dict[str, np.ndarray]:
    """Each user's interactions at random: share `valid` for validation, share `test` for test, the rest to train.

    A user with at least three interactions gives at least one to each part; one with fewer only trains.
    """
    _check_shares(valid=valid, test=test)
    users = dataset.interactions["user"].to_numpy()
    return _parts(_hold_out(users, rng.random(len(users)), valid, test))


def temporal(
    dataset: Dataset,
    rng: np.random.Generator,
    *,
    valid: ValidShare = 0.1,
    test: TestShare = 0.1,
    each_user: Annotated[
        bool, "cut each user's own history, for times that are only an order within it, such as positions"
    ] = False,
) -> dict[str, np.ndarray]:
    """Two cuts in time for all users: the last share `test` is the test, the share `valid` before it validation.

    Rows of one instant stay together, so the shares are met as nearly as the timestamps allow. With `each_user` the
    last shares of each user's own interactions are taken, at least one for each part from users with three or more, who
    otherwise only train; rows of one instant are then told apart at random.
    """
    _check_shares(valid=valid, test=test)
    time = _timestamps(dataset, "temporal")
    if each_user:
        users = dataset.interactions["user"].to_numpy()
        return _parts(_hold_out(users, -_by_time(dataset, rng.random(len(users))), valid, test))
    n = len(time)
    first_test = np.sort(time)[n - max(1, round(test * n))]
    before = np.sort(time[time < first_test])
    first_valid = before[-max(1, round(valid * n)) :][0] if len(before) else first_test
    return _parts(np.where(time >= first_test, TEST, np.where(time >= first_valid, VALID, TRAIN)))


def leave_one_out(dataset: Dataset, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Each user's last interaction is the test, the one before validation; at random where there are no timestamps.

    A user with fewer than three interactions only trains.
    """
    users = dataset.interactions["user"].to_numpy()
    rank, count = _rank_within(users, _by_time(dataset, rng.random(len(users))))
    part = np.where(rank == count - 1, TEST, np.where(rank == count - 2, VALID, TRAIN))
    part[count < 3] = TRAIN
    return _parts(part)


def cold_item(
    dataset: Dataset,
    rng: np.random.Generator,
    *,
    share: Annotated[float, "share of the items that are cold"] = 0.2,
    support: Annotated[int, "training interactions that a cold item keeps"] = 0,
    reserved: Annotated[
        int, "first interactions of a cold item that are never answers; `support` at least"
    ] = 0,
    valid: WarmValidShare = 0.1,
    test: WarmTestShare = 0.1,
) -> dict[str, np.ndarray]:
    """A share of the items is cold: no training interactions, or `support` of them. Half validation, half test.

    The other items' interactions are split as `random` does, so that one run reports warm and cold items; with
    valid = 0 and test = 0 they all train, and only cold items are asked about. The first
    `reserved` interactions of an item held out (as many as `support` at least, by timestamp, or at random without; at
    most all but one) are never answers, so that splits that differ in `support` alone ask the same.
    """
    _check_shares(share=share)
    _check_shares(or_none=True, valid=valid, test=test)
    reserved = _check_reserved("support", support, reserved)
    users = dataset.interactions["user"].to_numpy()
    items = dataset.interactions["item"].to_numpy()
    valid_pool, test_pool = _draw_cold(np.unique(items), dataset.n_items, share, rng)
    part = np.full(len(items), UNUSED)
    warm = ~(valid_pool | test_pool)[items]
    part[warm] = _hold_out(users[warm], rng.random(int(warm.sum())), valid, test)
    rank, count = _rank_within(items, _by_time(dataset, rng.random(len(items))))
    answers = rank >= np.minimum(reserved, count - 1)
    part[valid_pool[items] & answers] = VALID
    part[test_pool[items] & answers] = TEST
    part[~warm & ~answers & (rank < support)] = TRAIN
    return _parts(part) | {"valid_pool": valid_pool, "test_pool": test_pool}


def cold_user(
    dataset: Dataset,
    rng: np.random.Generator,
    *,
    share: Annotated[float, "share of the users that are cold"] = 0.2,
    support: Annotated[int, "interactions of a cold user that are handed over at evaluation"] = 5,
    reserved: Annotated[
        int, "first interactions of a cold user that are never answers; `support` at least"
    ] = 0,
    valid: WarmValidShare = 0.1,
    test: WarmTestShare = 0.1,
) -> dict[str, np.ndarray]:
    """A share of the users is cold: no training interactions. Half of them for validation, half for test.

    Of a cold user's interactions the first `support` (by timestamp, or at random without; at most all but
    one) are handed over at evaluation time, the rest are the answers. The other users split as in `random`, where
    `valid` and `test` are not 0.
    The first `reserved` (as many as `support` at least) are never answers, so that splits that differ in
    `support` alone ask the same.
    """
    _check_shares(share=share)
    _check_shares(or_none=True, valid=valid, test=test)
    reserved = _check_reserved("support", support, reserved)
    users = dataset.interactions["user"].to_numpy()
    valid_users, test_users = _draw_cold(np.unique(users), dataset.n_users, share, rng)
    noise = rng.random(len(users))
    rank, count = _rank_within(users, _by_time(dataset, noise))
    answers = rank >= np.minimum(reserved, count - 1)
    supports = ~answers & (rank < support)
    warm = ~(valid_users | test_users)[users]
    part = np.full(len(users), UNUSED)
    part[warm] = _hold_out(users[warm], noise[warm], valid, test)
    part[valid_users[users] & answers] = VALID
    part[test_users[users] & answers] = TEST
    return _parts(part) | {
        "valid_support": np.flatnonzero(valid_users[users] & supports),
        "test_support": np.flatnonzero(test_users[users] & supports),
    }


def protocols(dataset: Dataset) -> list[str]:
    """Names of the protocols that can be asked for: of a bundle view those that split by bundle."""
    if isinstance(dataset, BundleView):
        return [name.removeprefix(OF_BUNDLES) for name in SPLITS if name.startswith(OF_BUNDLES)]
    return [name for name in SPLITS if not name.startswith(OF_BUNDLES)]


def split_options(function: Callable[..., Any]) -> dict[str, tuple[Any, str]]:
    """Options of a protocol: name -> its default and its meaning."""
    hints = get_type_hints(function, include_extras=True)
    options = {}
    for option in inspect.signature(function).parameters.values():
        if option.kind is option.KEYWORD_ONLY:
            noted = [note for note in get_args(hints.get(option.name))[1:] if isinstance(note, str)]
            options[option.name] = (option.default, noted[0] if noted else "")
    return options


def default_protocol(dataset: Dataset) -> str:
    """`predefined` where the data set comes with its own split, else `random`."""
    return "predefined" if "label" in dataset.interactions else "random"


def make_split(dataset: Dataset, protocol: str, seed: int = 0, **options: Any) -> Split:
    """Split `dataset` by the named protocol; the same seed gives the same split.

    Raises:
        DataError: an unknown protocol or option, a part without rows, or a split that does not prove itself.
    """
    bundles = isinstance(dataset, BundleView)
    if protocol not in (known := protocols(dataset)):
        what = "split of bundles" if bundles else "split"
        raise DataError(f"there is no {what} '{protocol}'{nearest(protocol, known)}")
    function = SPLITS.get(OF_BUNDLES + protocol if bundles else protocol)
    known_options = split_options(function)
    for key in options:
        if key not in known_options:
            raise DataError(f"split '{protocol}' has no option '{key}'{_options_near(key, known_options)}")
    given = function(dataset, np.random.default_rng(seed), **options)
    notes = tuple(given.pop("notes", ())) if isinstance(given, dict) else ()
    parts = _checked(given, protocol, dataset)
    without = tuple(part for part in ("valid", "test") if part not in parts)
    parts |= dict.fromkeys(without, NO_ROWS)
    users = dataset.interactions["user"].to_numpy()[parts["train"]]
    items = dataset.interactions["item"].to_numpy()[parts["train"]]
    cold_users = np.bincount(users, minlength=dataset.n_users) == 0
    cold_items = np.bincount(items, minlength=dataset.n_items) == 0
    pools = {"valid_pool": cold_items.copy(), "test_pool": cold_items.copy()}
    split = Split(
        protocol,
        seed,
        cold_users=cold_users,
        cold_items=cold_items,
        **(pools | parts),
        without=without,
        notes=notes,
    )
    split.check(dataset)
    return split


def _options_near(key: str, known: Iterable[str]) -> str:
    return hint(key, list(known)) if known else "; it has none"


def _checked(parts: Any, protocol: str, dataset: Dataset) -> dict[str, np.ndarray]:
    """What a protocol gave, as sorted int64 row numbers and bool pools.

    Raises:
        DataError: a part is missing, unknown, or not what its name says.
    """
    if not isinstance(parts, Mapping) or "train" not in parts or ("valid" in parts and "test" not in parts):
        raise DataError(f"split '{protocol}' must give a dict of row numbers with train, valid and test")
    if unknown := sorted(parts.keys() - {*PARTS, *POOLS}):
        raise DataError(
            f"split '{protocol}' returned a part '{unknown[0]}'{nearest(unknown[0], PARTS + POOLS)}"
        )
    checked = {}
    for name, value in parts.items():
        value = np.asarray(value)
        if name in POOLS and (value.dtype != bool or value.shape != (dataset.n_items,)):
            raise DataError(f"split '{protocol}': {name} must be bool of shape ({dataset.n_items},)")
        if name in PARTS:
            if value.ndim != 1 or (value.size and not np.issubdtype(value.dtype, np.integer)):
                raise DataError(f"split '{protocol}': {name} must be row numbers of the interactions")
            value = np.sort(value.astype(np.int64))
            if len(value) and not 0 <= value[0] <= value[-1] < len(dataset.interactions):
                raise DataError(
                    f"split '{protocol}': {name} holds a row number that the interactions do not have"
                )
        checked[name] = value
    return checked


def _parts(part: np.ndarray) -> dict[str, np.ndarray]:
    names = {TRAIN: "train", VALID: "valid", TEST: "test"}
    return {name: np.flatnonzero(part == number) for number, name in names.items()}


def _hold_out(users: np.ndarray, order: np.ndarray, valid: float, test: float) -> np.ndarray:
    """Part of each row: of each user's rows in `order`, the first go to test, the next to valid."""
    rank, count = _rank_within(users, order)
    enough = count >= 3
    n_test = np.where(enough & (test > 0), np.maximum(1, np.floor(test * count)), 0)
    n_valid = np.where(enough & (valid > 0), np.maximum(1, np.floor(valid * count)), 0)
    return np.where(rank < n_test, TEST, np.where(rank < n_test + n_valid, VALID, TRAIN))


def _rank_within(groups: np.ndarray, order: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For each row its 0-based rank by `order` within its group, and the group's size."""
    sorted_rows = np.lexsort((np.arange(len(groups)), order, groups))
    sizes = np.bincount(groups, minlength=1)
    starts = np.cumsum(sizes) - sizes
    rank = np.empty(len(groups), dtype=np.int64)
    rank[sorted_rows] = np.arange(len(groups)) - starts[groups[sorted_rows]]
    return rank, sizes[groups]


def _by_time(dataset: Dataset, noise: np.ndarray) -> np.ndarray:
    """An order of the rows: by timestamp where there is one, then by `noise`."""
    if "timestamp" not in dataset.interactions:
        return noise
    return np.lexsort((noise, dataset.interactions["timestamp"].to_numpy())).argsort()


def _draw_cold(
    candidates: np.ndarray, n: int, share: float, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Two disjoint bool masks over n entities: the cold half for validation, the cold half for test."""
    drawn = rng.permutation(candidates)[: round(share * len(candidates))]
    masks = np.zeros((2, n), dtype=bool)
    masks[0, drawn[: len(drawn) // 2]] = True
    masks[1, drawn[len(drawn) // 2 :]] = True
    return masks[0], masks[1]


def _timestamps(dataset: Dataset, protocol: str) -> np.ndarray:
    if "timestamp" not in dataset.interactions:
        raise DataError(f"split '{protocol}' needs timestamps, and '{dataset.name}' has none; use 'random'")
    return np.asarray(dataset.interactions["timestamp"])


def _check_shares(*, or_none: bool = False, **shares: float) -> None:
    for name, value in shares.items():
        if not 0 < value < 1 and not (or_none and value == 0):
            raise DataError(f"split option {name}={value}: expected a share between 0 and 1")
    if sum(shares.values()) >= 1:
        raise DataError(f"split options {shares} leave nothing to train on; expected a sum below 1")


def _check_reserved(name: str, given: int, reserved: int) -> int:
    for key, value in ((name, given), ("reserved", reserved)):
        if value < 0 or value != int(value):
            raise DataError(f"split option {key}={value}: expected 0 or more interactions")
    return max(given, reserved)
