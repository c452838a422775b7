"""Settings as tables: name, default, what is accepted and searched, and meaning."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from rich import box
from rich.table import Table

BASIC = {int: "integer", float: "number", str: "text", bool: "true or false"}


def plain_table(title: str, *columns: str) -> Table:
    """A table of texts whose last column wraps."""
    table = Table(
        title=title,
        title_justify="left",
        title_style="bold",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        collapse_padding=True,
    )
    for place, column in enumerate(columns):
        table.add_column(column, no_wrap=not place, overflow="fold")
    return table


def settings_tables(
    group: type[BaseModel], title: str, defaults: Mapping[str, Any] | None = None
) -> Iterator[Table]:
    """A table of a group of settings, then one of each group that lies within it.

    Args:
        defaults: what stands in place of the group's own defaults.
    """
    table = plain_table(title)
    for column, widest in (("setting", None), ("default", 14), ("accepts", 22), ("meaning", None)):
        table.add_column(column, no_wrap=column == "setting", overflow="fold", max_width=widest)
    inner = {}
    for name, field in group.model_fields.items():
        if within := _group_within(field.annotation):
            inner[name] = within
        default = (defaults or {}).get(name, field.get_default(call_default_factory=True))
        default = "required" if field.is_required() else _shown(default)
        table.add_row(name, default, _accepted(field), field.description or "")
    if table.row_count:
        yield table
    for name, (prefix, nested) in inner.items():
        yield from settings_tables(nested, f"{title}: {name}{prefix}")


def _group_within(annotation: Any) -> tuple[str, type[BaseModel]] | None:
    """The group of settings that a field holds, and the rest of its dotted path."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return "", annotation
    arguments = get_args(annotation)
    if get_origin(annotation) in (Union, UnionType):
        return next((group for a in arguments if (group := _group_within(a))), None)
    if get_origin(annotation) is dict and (group := _group_within(arguments[1])):
        return ".NAME" + group[0], group[1]
    return None


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, BaseModel):
        return "see below"
    if isinstance(value, Mapping):
        if any(isinstance(inner, BaseModel) for inner in value.values()):
            return ", ".join(value)
        return "{" + ", ".join(f"{key}: {_shown(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_shown, value)) + "]"
    if isinstance(value, float):
        return f"{value:.6g}"
    return "none" if value is None else str(value) or '""'


def _accepted(field: FieldInfo) -> str:
    """Range or choices, and on a second line what a scan tries."""
    bounds = {
        key: getattr(m, key) for m in field.metadata for key in ("ge", "gt", "le", "lt") if hasattr(m, key)
    }
    low, high = bounds.get("ge"), bounds.get("le")
    if low is not None and high is not None:
        text = f"{low:g} to {high:g}"
    elif low is not None:
        text = f"{low:g} or more"
    elif high is not None:
        text = f"{high:g} or less"
    elif "gt" in bounds:
        text = f"above {bounds['gt']:g}"
    else:
        text = _type(field.annotation)
    extra = field.json_schema_extra
    if not isinstance(extra, dict) or not isinstance(search := extra.get("search"), list):
        return text
    if len(search) == 2 and all(isinstance(v, int | float) and not isinstance(v, bool) for v in search):
        tried = f"{search[0]:g} to {search[1]:g}" + (", log" if extra.get("log") else "")
    else:
        tried = ", ".join(map(_shown, search))
    return f"{text}\nscan: {tried}"


def _type(annotation: Any) -> str:
    arguments = get_args(annotation)
    origin = get_origin(annotation)
    if annotation in BASIC:
        return BASIC[annotation]
    if origin is Literal:
        return ", ".join(map(str, arguments))
    if origin in (Union, UnionType):
        return " or ".join("none" if a is NoneType else _type(a) for a in arguments)
    if origin in (list, tuple):
        return "list of " + (_type(arguments[0]) if arguments else "values")
    if origin is dict or annotation is dict:
        return "mapping"
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return "settings"
    return _type(arguments[0]) if arguments else str(getattr(annotation, "__name__", annotation))
