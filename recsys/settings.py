"""Typed settings: each declared once, with default, range and meaning; a mistyped key is an error."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, get_args

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import PydanticUndefined

from recsys.errors import UserError, nearest


class Settings(BaseModel):
    """Base of all settings. Frozen; unknown keys are refused; values are checked against their ranges."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True, allow_inf_nan=False)


def setting(
    default: Any = PydanticUndefined,
    meaning: str = "",
    *,
    low: float | None = None,
    high: float | None = None,
    search: Sequence[Any] | None = None,
    log: bool = False,
) -> Any:
    """Declare one hyperparameter.

    Args:
        default: its value where nobody sets it.
        meaning: one line for people.
        low, high: the range that is accepted, ends included.
        search: what a scan tries: (low, high) of a number, or a list of more or fewer than two choices.
        log: whether a scan draws the number on a logarithmic scale.
    """
    extra = {"search": list(search), "log": log} if search is not None else None
    return Field(default, description=meaning, ge=low, le=high, json_schema_extra=extra)


def parse_assignments(assignments: Sequence[str], option: str = "--set") -> dict[str, Any]:
    """Turn `["layers=3", "lr=1e-3"]`, given with `option`, into a dict; values are read as YAML.

    Raises:
        UserError: an assignment without `=`, or a value that is not YAML.
    """
    values: dict[str, Any] = {}
    for assignment in assignments:
        key, equals, text = assignment.partition("=")
        if not equals or not key.strip():
            raise UserError(f"{option} {assignment}: expected key=value, for example --set max_epochs=10")
        try:
            values[key.strip()] = yaml.safe_load(text)
        except yaml.YAMLError:
            raise UserError(f"{option} {assignment}: '{text}' is not a YAML value; quote it") from None
    return values


def divide(values: Mapping[str, Any], **groups: type[Settings]) -> dict[str, dict[str, Any]]:
    """Give each key of `values` to the one group that declares it.

    Raises:
        UserError: a key that no group declares (the nearest known names are offered).
    """
    parts: dict[str, dict[str, Any]] = {name: {} for name in groups}
    for key, value in values.items():
        owners = [name for name, group in groups.items() if key in group.model_fields]
        if not owners:
            known = [field for group in groups.values() for field in group.model_fields]
            raise UserError(f"there is no setting '{key}'{nearest(key, known)}")
        parts[owners[0]][key] = value
    return parts


def build(group: type[Settings], values: Mapping[str, Any], where: str) -> Any:
    """Make the settings, or raise a UserError in one line that names key, value and what was expected."""
    for key, value in values.items():
        field = group.model_fields.get(key)
        if field is not None and isinstance(value, bool) and field.annotation in (int, float):
            raise UserError(f"setting '{key}' of {where}: expected a number, got {value}")
    try:
        return group(**values)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        if first["type"] == "extra_forbidden":
            known = _fields_at(group, first["loc"][:-1])
            raise UserError(
                f"{where} has no setting '{key}'{nearest(str(first['loc'][-1]), known)}"
            ) from None
        raise UserError(f"setting '{key}' of {where}: {first['msg']}, got {first['input']!r}") from None


def _fields_at(group: type[BaseModel], path: Sequence[Any]) -> list[str]:
    """Names of the fields of the group that lies at `path` within `group`, through mappings of groups too."""
    current: Any = group
    for part in path:
        if isinstance(current, type) and issubclass(current, BaseModel):
            current = current.model_fields[part].annotation
        else:
            current = get_args(current)[-1]
    while get_args(current):
        current = next((a for a in get_args(current) if a is not type(None)), None)
    return list(current.model_fields) if isinstance(current, type) and issubclass(current, BaseModel) else []
