"""The files that people write, described by the code that reads them: JSON Schema for editors, a page for people."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator
from typing import Any

from pydantic import BaseModel

Schema = dict[str, Any]
ATTRIBUTE = re.compile(r"^ {4}(\w[\w, ]*?): (.*?)(?=^ {4}\S|\Z)", re.MULTILINE | re.DOTALL)
TITLES = {
    "card": "A data set's card: `card.yaml`",
    "experiment": "An experiment of `recsys bench`",
    "scan": "A scan of `recsys scan`",
}


def meanings(doc: str) -> dict[str, str]:
    """What a class's docstring says of its fields, below "Attributes:".

    Example:
        >>> meanings("A shop.\\n\\nAttributes:\\n    name: what it is\\n        called.\\n    x, y: its place.")
        {'name': 'what it is called.', 'x': 'its place.', 'y': 'its place.'}
    """
    _, _, attributes = doc.partition("Attributes:\n")
    meanings = {}
    for names, text in ATTRIBUTE.findall(attributes.partition("\n\n")[0] + "\n"):
        for name in names.split(","):
            meanings[name.strip()] = " ".join(text.split())
    return meanings


def _described(model: type[BaseModel]) -> Schema:
    """pydantic's schema of a model, with the meanings that stand in docstrings at the fields."""
    schema = model.model_json_schema()
    for part in (schema, *schema.get("$defs", {}).values()):
        doc = part.get("description", "")
        part["description"] = " ".join(doc.partition("\n\n")[0].split())
        for field, meaning in meanings(doc).items():
            if field in part.get("properties", {}):
                part["properties"][field].setdefault("description", meaning)
    return schema


def options_of(reader: str) -> type[BaseModel] | None:
    """The model of a reader's options; None where it has none."""
    from recsys.datasets.readers import READERS

    module = inspect.getmodule(READERS.get(reader))
    for name, value in vars(module).items():
        own = inspect.isclass(value) and value.__module__ == getattr(module, "__name__", "")
        if own and issubclass(value, BaseModel) and name.endswith("Options"):
            return value
    return None


def card_schema() -> Schema:
    """Of a card: its own keys, and below `options` those of its reader."""
    from recsys.datasets.cards import Card
    from recsys.datasets.content import CONTENT
    from recsys.datasets.content.encoder import encoder_options
    from recsys.datasets.readers import READERS

    schema = _described(Card)
    schema["properties"]["reader"]["enum"] = list(READERS.builtin)
    schema["allOf"], parts = [], schema.setdefault("$defs", {})
    for reader in READERS.builtin:
        model = options_of(reader)
        options = {"maxProperties": 0} if model is None else {"$ref": f"#/$defs/{model.__name__}"}
        if model is not None:
            own = _described(model)
            parts |= own.pop("$defs", {})
            parts[model.__name__] = own
        when = {"properties": {"reader": {"const": reader}}}
        schema["allOf"].append({"if": when, "then": {"properties": {"options": options}}})
    for name in CONTENT.builtin:
        for option, (default, meaning) in encoder_options(CONTENT.get(name)).items():
            kind = {"bool": "boolean", "int": "integer", "float": "number"}.get(
                type(default).__name__, "string"
            )
            described = {"type": kind, "description": f"{meaning} (encoder {name})"}
            parts["ContentSpec"]["properties"].setdefault(option, described)
    return schema


def experiment_schema() -> Schema:
    """Of an experiment; names stand for rows and splits of which nothing else is said."""
    from recsys.experiments.bench.config import Experiment

    schema = _described(Experiment)
    names = {"type": "array", "items": {"type": "string"}}
    del schema["properties"]["search"]  # in the file it is a key of a row
    rows = schema["properties"]["models"]
    labels = {key: rows.pop(key) for key in ("description", "title") if key in rows}
    rows["additionalProperties"] = {"type": ["object", "null"]}
    schema["properties"]["models"] = labels | {"anyOf": [names, dict(rows)]}
    for part in (schema, *schema["$defs"].values()):
        split = part.get("properties", {}).get("splits")
        for holder in [] if split is None else [split, *split.get("anyOf", [])]:
            if "items" in holder:
                holder["items"] = {"anyOf": [{"type": "string"}, holder["items"]]}
    return schema


def scan_schema() -> Schema:
    """Of a scan; the data set of its run is ml-100k where none is named."""
    from recsys.experiments.tune.config import Scan

    schema = _described(Scan)
    run = schema["$defs"]["RunConfig"]
    run["required"] = [name for name in run.get("required", []) if name != "dataset"]
    return schema


SCHEMAS: dict[str, Callable[[], Schema]] = {
    "card": card_schema,
    "experiment": experiment_schema,
    "scan": scan_schema,
}


def schema_of(kind: str) -> Schema:
    """The JSON Schema (2020-12) of a kind of file.

    Example:
        >>> schema_of("scan")["properties"]["sampler"]["enum"]
        ['tpe', 'random', 'grid']
    """
    draft = {"$schema": "https://json-schema.org/draft/2020-12/schema"}
    return draft | SCHEMAS[kind]() | {"title": TITLES[kind].replace("`", "")}


def page() -> str:
    """All of it as a page of the docs."""
    parts = [
        "# Files: cards, experiments, scans\n\nEvery key of the files that people write. `recsys schema --page` writes "
        "this page from the code that reads them; `recsys schema card` prints a JSON Schema, with which an editor "
        "completes and checks them.\n"
    ]
    for kind, title in TITLES.items():
        parts.append(f"## {title}\n")
        schema = schema_of(kind)
        parts += list(_tables(schema, ""))
        readers = {
            part["then"]["properties"]["options"].get("$ref", ""): part for part in schema.get("allOf", ())
        }
        titles = {
            ref.rpartition("/")[2]: p["if"]["properties"]["reader"]["const"] for ref, p in readers.items()
        }
        for name, part in schema.get("$defs", {}).items():
            heading = f"`options` of the reader `{titles[name]}`" if name in titles else f"`{name}`"
            parts += list(_tables(part, f"### {heading}\n"))
    return "\n".join(parts)


def _tables(part: Schema, heading: str) -> Iterator[str]:
    if not part.get("properties"):
        return
    yield f"{heading}\n{part.get('description', '')}\n" if heading else f"{part.get('description', '')}\n"
    rows = ["| key | kind | default | meaning |", "| --- | --- | --- | --- |"]
    for key, field in part["properties"].items():
        needed = key in part.get("required", ())
        default = "needed" if needed else _shown(field.get("default"))
        cells = [f"`{key}`", _kind(field), default, " ".join(str(field.get("description", "")).split())]
        rows.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    yield "\n".join(rows) + "\n"


def _shown(value: Any) -> str:
    return "" if value in (None, "", [], {}) else f"`{value}`" if not isinstance(value, dict) else ""


def _kind(field: Schema) -> str:
    """A field's type in words."""
    if "$ref" in field:
        return f"`{field['$ref'].rpartition('/')[2]}`"
    if "enum" in field:
        return ", ".join(f"`{value}`" for value in field["enum"])
    if "const" in field:
        return f"`{field['const']}`"
    if "anyOf" in field:
        return " or ".join(dict.fromkeys(_kind(one) for one in field["anyOf"] if one.get("type") != "null"))
    kind = field.get("type", "any")
    if kind == "array":
        return f"list of {_kind(field['items'])}" if isinstance(field.get("items"), dict) else "list"
    if kind == "object":
        inner = field.get("additionalProperties")
        return f"name to {_kind(inner)}" if isinstance(inner, dict) and inner else "mapping"
    if isinstance(kind, list):
        return " or ".join(one for one in kind if one != "null")
    return {"string": "text", "integer": "whole number", "boolean": "true or false"}.get(kind, str(kind))
