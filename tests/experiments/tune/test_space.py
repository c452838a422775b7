"""Search spaces: the ranges declared beside each setting, as a file overrides them."""

import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from recsys.errors import UserError
from recsys.experiments.tune.space import grid, search_space
from recsys.models.base import Model
from recsys.settings import Settings, setting


class Everything(Settings):
    rate: float = setting(0.1, low=0, high=1, search=(1e-3, 1.0), log=True)
    share: float = setting(0.5, low=0, high=1, search=(0.0, 1.0))
    layers: int = setting(2, low=0, high=10, search=(1, 4))
    kind: str = setting("a", search=["a", "b"])
    width: int = setting(4, search=[4, 8, 16])
    bias: bool = setting(True, search=[True, False])
    other: int = setting(1)


class Any(Model):
    Settings = Everything
    closed_form = True


def test_declared_ranges_become_typed_distributions():
    assert search_space(Any, {"width": 4}) == {
        "rate": FloatDistribution(1e-3, 1.0, log=True),
        "share": FloatDistribution(0.0, 1.0),
        "layers": IntDistribution(1, 4),
        "kind": CategoricalDistribution(["a", "b"]),
        "bias": CategoricalDistribution([True, False]),
    }


def test_a_file_overrides_the_ranges():
    wanted = {"rate": None, "layers": {"low": 1, "high": 9, "step": 2}, "other": [3, 5], "share": [0.5]}
    assert search_space(Any, {}, wanted) == {
        "rate": FloatDistribution(1e-3, 1.0, log=True),
        "layers": IntDistribution(1, 9, step=2),
        "other": CategoricalDistribution([3, 5]),
        "share": CategoricalDistribution([0.5]),
    }


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ({"ratte": None}, "no setting 'ratte'; did you mean 'rate'"),
        ({"other": None}, "'other' declares no range"),
        ({"rate": {"low": 0.1, "hihg": 1}}, "has no 'hihg'; did you mean 'high'"),
        ({"rate": {"low": 0.5, "high": 0.1}}, "expected {low, high, log}"),
        ({"rate": {"low": 0.0, "high": 0.1, "log": True}}, "expected {low, high, log}"),
        ({"rate": {"low": 0.1, "high": 7}}, "'rate' of search: .*less than or equal to 1"),
        ({"kind": {"low": 1, "high": 2}}, "expected a list of choices, got"),
        ({"layers": [1, 99]}, "'layers' of search"),
        ({"layers": []}, "at least one"),
        ({"layers": {"low": "x", "high": 3}}, "expected {low, high, log}"),
        ({"fixed": None}, "no setting 'fixed'"),
        ({"width": None}, "'width' is under settings too"),
        ({}, "nothing to search"),
    ],
)
def test_ranges_that_cannot_be(wanted, message):
    with pytest.raises(UserError, match=message):
        search_space(Any, {"width": 4}, wanted)


def test_a_grid_covers_choices_and_spreads_over_ranges():
    space = search_space(Any, {}, {"kind": None, "layers": {"low": 1, "high": 3}})
    assert grid(space, 4) == [{"kind": k, "layers": n} for k in "ab" for n in (1, 2, 3)]
    rates = [p["rate"] for p in grid(search_space(Any, {}, {"rate": None}), 4)]
    assert rates == pytest.approx([0.001, 0.01, 0.1, 1.0]) and rates[0] >= 0.001 and rates[-1] <= 1.0
    wide = search_space(Any, {}, {"layers": {"low": 0, "high": 10, "step": 2}})
    assert [p["layers"] for p in grid(wide, 3)] == [0, 4, 10] or [p["layers"] for p in grid(wide, 3)] == [
        0,
        6,
        10,
    ]
    assert [p["layers"] for p in grid(wide, 20)] == [0, 2, 4, 6, 8, 10]
