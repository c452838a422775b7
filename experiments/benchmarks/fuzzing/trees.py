"""Damages of JSON and YAML files: of their trees of values, and of the text that stands for them."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import yaml

from recsys.experiments.benchmarks.fuzzing.damage import damage, pick
from recsys.experiments.benchmarks.fuzzing.values import JSON_KEYS, RAW_JSON, RAW_YAML, YAML_KEYS


def _places(value: Any) -> list[tuple[Any, Any]]:
    """(container, key) of everything in a tree."""
    found: list[tuple[Any, Any]] = []
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        found += [(value, key), *_places(inner)]
    return found


def _tree(path: Path) -> Any:
    text = path.read_text(encoding="utf-8")
    return json.loads(text) if path.suffix == ".json" else yaml.safe_load(text)


def _write_tree(path: Path, tree: Any, raw: str = "") -> None:
    """With `raw` in the place of the text RAW."""
    if path.suffix == ".json":
        text = json.dumps(tree).replace('"RAW"', raw)
    else:
        text = yaml.safe_dump(tree, sort_keys=False).replace("RAW", raw)
    path.write_bytes(text.encode("utf-8"))


@damage("json", "json", "json", "yaml", "yaml", "yaml", "yaml")
def odd_node(path, rng):
    tree = _tree(path)
    if places := _places(tree):
        container, key = pick(rng, places)
        container[key] = "RAW"
    else:
        tree = "RAW"
    _write_tree(path, tree, pick(rng, RAW_JSON if path.suffix == ".json" else RAW_YAML))


@damage("json", "yaml")
def retyped_node(path, rng):
    """A value that is easily taken for what belongs there."""
    tree = _tree(path)
    container, key = pick(rng, _places(tree) or [([0], 0)])
    own = container[key]
    container[key] = pick(rng, [True, False, None, str(own), [own], {"a": own}, 1.0, "1", -1, 1.5])
    _write_tree(path, tree)


@damage("json", "yaml")
def odd_key(path, rng):
    tree = _tree(path)
    named = [(c, k) for c, k in _places(tree) if isinstance(c, dict)]
    if not named:
        return
    container, key = pick(rng, named)
    container["RAW"] = container.pop(key)
    _write_tree(path, tree, pick(rng, JSON_KEYS if path.suffix == ".json" else YAML_KEYS))


@damage("json", "yaml")
def repeated_key(path, rng):
    tree = _tree(path)
    if not isinstance(tree, dict):
        return
    key = pick(rng, list(tree))
    more = {key: tree[pick(rng, list(tree))]}
    one, other = (json.dumps(t)[1:-1] if path.suffix == ".json" else yaml.safe_dump(t) for t in (tree, more))
    path.write_text(f"{{{one}, {other}}}" if path.suffix == ".json" else one + other)


@damage("json", "yaml")
def missing_key(path, rng):
    tree = _tree(path)
    if places := _places(tree):
        container, key = pick(rng, places)
        del container[key]
    _write_tree(path, tree)


@damage("json", "yaml")
def extra_key(path, rng):
    tree = _tree(path)
    if isinstance(tree, dict):
        pick(rng, [tree, *(c for c, _ in _places(tree) if isinstance(c, dict))])[
            pick(rng, ["seed", "x", "models"])
        ] = "RAW"
    _write_tree(path, tree, pick(rng, RAW_JSON if path.suffix == ".json" else RAW_YAML))


@damage("yaml")
def doubling(path, rng):
    """Lists that stand for a billion entries by reference."""
    names = "abcdefghijkl"
    lines = ["a: &a [x, x, x, x, x, x, x, x, x]"]
    lines += [f"{b}: &{b} [{', '.join([f'*{a}'] * 9)}]" for a, b in pairwise(names)]
    tree = _tree(path)
    key = pick(rng, list(tree))
    tree[key] = "RAW"
    text = yaml.safe_dump(tree, sort_keys=False).replace("RAW", "*l")
    path.write_text("\n".join(lines) + "\n" + text)


@damage("json", "yaml", whole=True)
def another_layout(path, rng):
    tree = _tree(path)
    if path.suffix == ".json":
        path.write_text(json.dumps(tree, indent=3) + "\n\n")
    else:
        path.write_text("# a comment\n" + yaml.safe_dump(tree, default_flow_style=True, sort_keys=True))
