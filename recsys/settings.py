"""Typed settings: each declared once, with default, range and meaning; a mistyped key is an error."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import NoneType, UnionType
from typing import Any, ClassVar, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator
from pydantic_core import PydanticUndefined

from recsys.errors import UserError, nearest
from recsys.files import parse_yaml
from recsys.renamed import RENAMED

LARGEST, LONGEST = 2**53, 4096
"""Whole numbers stay below the first; texts are at most as long as the second, which no path exceeds."""


class Settings(BaseModel):
    """Base of all settings. Frozen; unknown keys are refused; values are checked against their ranges."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True, allow_inf_nan=False)

    others: ClassVar[Any] = Any
    """The type of what stands under a name that is no field's, in a group that takes such names."""

    @classmethod
    def written_out(cls, value: Any) -> Any:
        """What a `value` in this group's place is short for, so that a dotted key can change a part; else itself."""
        return value

    @field_validator("*")
    @classmethod
    def _of_sensible_size(cls, value: Any) -> Any:
        if isinstance(value, int) and abs(value) >= LARGEST:
            raise ValueError(f"expected a whole number below {LARGEST:,}")
        if isinstance(value, str) and len(value) > LONGEST:
            raise ValueError(f"expected at most {LONGEST:,} characters")
        return value


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
    extra: dict[str, Any] | None = {"search": list(search), "log": log} if search is not None else None
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
            values[key.strip()] = parse_yaml(text)
        except ValueError:
            raise UserError(
                f"{option} {assignment:.200}: '{text:.80}' is not a YAML value; quote it"
            ) from None
    return values


def merge(*layers: Mapping[str, Any]) -> dict[str, Any]:
    """One mapping of several: a key given again counts from where it is given last, so that `a: {...}` in a later
    layer drops an earlier `a.b`, and a later `a.b` changes an earlier `a`."""
    merged: dict[str, Any] = {}
    for layer in layers:
        for key, value in layer.items():
            merged.pop(key, None)
            merged[key] = value
    return merged


def expand(group: type[Settings], values: Mapping[str, Any]) -> dict[str, Any]:
    """`values` with dotted keys, which reach into a nested setting, put in their places, in order.

    `components.ease.weight` changes that one value of what `values` say of `components` before it, or of the
    default. Names that `group` does not have are kept: `build` refuses them.

    Raises:
        UserError: a dotted key leads into something that holds no settings, such as a number.

    Example:
        >>> class Inner(Settings):
        ...     low: int = 1
        ...     high: int = 9
        >>> class Outer(Settings):
        ...     limits: Inner = Inner()
        >>> expand(Outer, {"limits.low": 3})
        {'limits': {'low': 3, 'high': 9}}
    """
    expanded: dict[str, Any] = {}
    for key, value in values.items():
        *path, last = key.split(".")
        place, annotation = expanded, group
        for name in path:
            inner = _plain(place[name] if name in place else _default(annotation, name))
            annotation = _annotation_at(annotation, name)
            if (own := _group_of(annotation)) is not None:
                inner = own.written_out(inner)
            place[name] = inner = {} if inner is None else inner
            if not isinstance(inner, dict):
                raise UserError(f"setting '{key}': '{name}' is {inner!r} and holds no settings by name")
            place = inner
        place[last] = value
    return expanded


def _plain(value: Any) -> Any:
    """A copy with mappings in place of settings."""
    if isinstance(value, BaseModel):
        return value.model_dump()
    return {k: _plain(v) for k, v in value.items()} if isinstance(value, Mapping) else value


def _default(annotation: Any, name: str) -> Any:
    """What the setting `name` is where nobody sets it; nothing in a mapping or an unknown place."""
    group = _group_of(annotation)
    field = group.model_fields.get(name) if group else None
    return {} if field is None or field.is_required() else field.get_default(call_default_factory=True)


def divide(values: Mapping[str, Any], **groups: type[Settings]) -> dict[str, dict[str, Any]]:
    """Give each key of `values` to the one group that declares it, a dotted one to that of its first name.

    Raises:
        UserError: a key that no group declares (the new name of a renamed one, or the nearest known, is offered).
    """
    parts: dict[str, dict[str, Any]] = {name: {} for name in groups}
    for key, value in values.items():
        head = key.partition(".")[0]
        owners = [name for name, group in groups.items() if head in group.model_fields]
        if not owners:
            known = [field for group in groups.values() for field in group.model_fields]
            raise UserError(f"there is no setting '{head}'{hint(head, known)}")
        parts[owners[0]][key] = value
    return parts


def build(group: type[Settings], values: Mapping[str, Any], where: str) -> Any:
    """Make the settings, dotted keys expanded, or raise a UserError in one line that names key, value and what was
    expected."""
    values = expand(group, values)
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
            raise UserError(f"{where} has no setting '{key}'{hint(str(first['loc'][-1]), known)}") from None
        raise UserError(
            f"setting '{key}' of {where}: {first['msg'].removeprefix('Value error, ')}, got {short(first['input'])}"
        ) from None


def short(value: Any) -> str:
    """A value as a message quotes it."""
    try:
        text = repr(value)
    except ValueError:  # an integer of more digits than Python prints
        text = f"{type(value).__name__} of thousands of digits"
    return text if len(text) <= 80 else f"{text[:60]}… ({len(text):,} characters)"


def hint(name: str, known: Sequence[str]) -> str:
    """The new name of a setting that was renamed, where it is among the known ones; else the nearest known ones."""
    new = RENAMED.get(name, "")
    return f"; it is `{new}` now" if new.partition(".")[0] in known else nearest(name, known)


def _fields_at(group: type[Settings], path: Sequence[Any]) -> list[str]:
    """Names of the fields of the group that lies at `path` within `group`, through mappings of groups too."""
    annotation: Any = group
    for name in path:
        annotation = _annotation_at(annotation, name)
    inner = _group_of(annotation)
    return list(inner.model_fields) if inner else []


def _annotation_at(annotation: Any, name: Any) -> Any:
    """The type of what `name` holds in a value of type `annotation`: a field's, or a mapping's or list's values'."""
    group = _group_of(annotation)
    if group is None:
        return next(iter(get_args(annotation)[-1:]), Any)
    return group.model_fields[name].annotation if name in group.model_fields else group.others


def _group_of(annotation: Any) -> type[Settings] | None:
    """The group of settings that `annotation` is, or is beside None; None where it is something else."""
    if get_origin(annotation) in (Union, UnionType):
        annotation = next((a for a in get_args(annotation) if a is not NoneType), None)
    return annotation if isinstance(annotation, type) and issubclass(annotation, Settings) else None
