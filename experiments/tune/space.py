"""Search spaces: the ranges declared beside each setting, or those that a scan's file gives instead."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

import numpy as np
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from pydantic.fields import FieldInfo

from recsys.errors import UserError, nearest
from recsys.models.base import Model
from recsys.settings import Settings, build, short

RANGE_KEYS = ("low", "high", "log", "step")
Space = dict[str, BaseDistribution]


def search_space(
    model_class: type[Model], fixed: Mapping[str, Any], wanted: Mapping[str, Any] | None = None
) -> Space:
    """What a scan varies, by setting.

    Args:
        fixed: settings that the scan does not vary.
        wanted: setting -> None (its declared range), a list of choices, or {low, high, log, step}; None for
            every declared range.

    Raises:
        UserError: an unknown setting, no range, or a range with values that the setting refuses.
    """
    groups = _groups(model_class)
    fields = {name: (group, field) for group in groups for name, field in group.model_fields.items()}
    if wanted is None:
        wanted = {n: None for n, (_, f) in fields.items() if _declared(f) and n not in fixed}
    space: Space = {}
    for name, given in wanted.items():
        if name not in fields:
            raise UserError(f"search: there is no setting '{name}'{nearest(name, fields)}")
        if name in fixed:
            raise UserError(f"search: '{name}' is under settings too; give it in one place only")
        group, field = fields[name]
        space[name] = _distribution(name, field, _declared(field) if given is None else given)
        for value in _ends(space[name]):
            build(group, {name: value}, "search")
    if not space:
        raise UserError("nothing to search: no setting has a range; give some under `search`")
    return space


def _groups(model_class: type[Model]) -> list[type[Settings]]:
    if model_class.closed_form:
        return [model_class.Settings]
    from recsys.inputs.train_settings import TrainSettings

    return [model_class.Settings, TrainSettings]


def _declared(field: FieldInfo) -> Any:
    """What `setting(..., search=..., log=...)` declared: two numbers are a range, all else choices."""
    extra: Any = field.json_schema_extra
    if not isinstance(extra, dict) or "search" not in extra:
        return None
    search = list(extra["search"])
    numbers = field.annotation in (int, float) and not any(isinstance(v, bool) for v in search)
    if len(search) == 2 and numbers:
        return {"low": search[0], "high": search[1], "log": extra.get("log", False)}
    return search


def _distribution(name: str, field: FieldInfo, given: Any) -> BaseDistribution:
    if given is None:
        raise UserError(f"search: '{name}' declares no range; give a list of choices, or {{low, high}}")
    if isinstance(given, list):
        if not given or not all(isinstance(v, bool | int | float | str) for v in given):
            raise UserError(f"search: '{name}': expected plain choices, at least one, got {given}")
        return CategoricalDistribution(given)
    if not isinstance(given, dict) or field.annotation not in (int, float):
        raise UserError(f"search: '{name}': expected a list of choices{_or_range(field)}, got {given!r}")
    if unknown := sorted(key for key in given if key not in RANGE_KEYS):
        raise UserError(f"search: '{name}' has no '{unknown[0]}'{nearest(unknown[0], RANGE_KEYS)}")
    try:
        values: dict[str, Any] = {"log": False, "step": None} | given
        if field.annotation is int:
            return IntDistribution(
                int(values["low"]), int(values["high"]), bool(values["log"]), values["step"] or 1
            )
        return FloatDistribution(
            float(values["low"]), float(values["high"]), bool(values["log"]), values["step"]
        )
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise UserError(
            f"search: '{name}': expected {{low, high, log}}, got {short(given)} ({error})"
        ) from None


def _or_range(field: FieldInfo) -> str:
    return ", or {low, high, log, step}" if field.annotation in (int, float) else ""


def _ends(distribution: BaseDistribution) -> list[Any]:
    if isinstance(distribution, CategoricalDistribution):
        return list(distribution.choices)
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    return [distribution.low, distribution.high]


def grid(space: Space, points: int) -> list[dict[str, Any]]:
    """Every combination: all choices, and of each range at most `points` values, evenly spaced on its scale."""
    axes = [_points(distribution, points) for distribution in space.values()]
    return [dict(zip(space, values, strict=True)) for values in itertools.product(*axes)]


def _points(distribution: BaseDistribution, points: int) -> list[Any]:
    if isinstance(distribution, CategoricalDistribution):
        return list(distribution.choices)
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    low, high = distribution.low, distribution.high
    if distribution.step and not distribution.log and round((high - low) / distribution.step) < points:
        return [low + k * distribution.step for k in range(round((high - low) / distribution.step) + 1)]
    spaced = (np.geomspace if distribution.log else np.linspace)(low, high, points)
    if isinstance(distribution, IntDistribution):
        step = 1 if distribution.log else distribution.step
        return sorted({int(low + step * round((v - low) / step)) for v in spaced.tolist()})
    if distribution.step:
        return [low + distribution.step * round((v - low) / distribution.step) for v in spaced.tolist()]
    return [min(max(v, low), high) for v in spaced.tolist()]
