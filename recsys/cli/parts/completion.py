"""Shell completion: names of parts and settings, read from registries and sources; nothing heavy is imported."""

from __future__ import annotations

import os
from pathlib import Path

import typer

from recsys.cli.parts.kinds import KINDS
from recsys.cli.parts.source import field_names, keyword_names, setting_names
from recsys.registry import Registry

TRAINING = "recsys.training.loop:TrainSettings"
OF_BUNDLES = "bundle:"


def _matching(names: list[str], incomplete: str) -> list[str]:
    return [name for name in names if name.startswith(incomplete)]


def models(incomplete: str) -> list[str]:
    """Models by name."""
    return _matching(KINDS.get("models").names(), incomplete)


def datasets(context: typer.Context, incomplete: str) -> list[str]:
    """Data sets with a card, and the folders below the data root."""
    names = set(KINDS.get("datasets").names())
    root = context.params.get("data_root") or os.environ.get("RECSYS_DATA")
    if root and Path(root).is_dir():
        names |= {folder.name for folder in Path(root).iterdir() if folder.is_dir()}
    return _matching(sorted(names), incomplete)


def splits(context: typer.Context, incomplete: str) -> list[str]:
    """Splits of the task given on the line."""
    names = KINDS.get("splits").names()
    if context.params.get("task") == "bundle":
        names = [name.removeprefix(OF_BUNDLES) for name in names if name.startswith(OF_BUNDLES)]
    return _matching([name for name in names if not name.startswith(OF_BUNDLES)], incomplete)


def metrics(incomplete: str) -> list[str]:
    """Metrics, with the usual cut-offs where a name is whole."""
    name, at, _ = incomplete.partition("@")
    names = KINDS.get("metrics").names()
    if at and name in names:
        return _matching([f"{name}@{k}" for k in (5, 10, 20, 50)], incomplete)
    return _matching([f"{name}@" for name in names], incomplete)


def reranking(incomplete: str) -> list[str]:
    """Re-ranking steps by name."""
    return _matching(KINDS.get("reranking").names(), incomplete)


def settings(context: typer.Context, incomplete: str) -> list[str]:
    """Settings of the model given on the line, and of training."""
    registry: Registry = KINDS.get("models")
    target = registry.target(context.params.get("model") or "confluence")
    names = [*(setting_names(target) if target else []), *field_names(TRAINING)]
    return _matching([f"{name}=" for name in names], incomplete)


def split_options(context: typer.Context, incomplete: str) -> list[str]:
    """Options of the split given on the line."""
    prefix = OF_BUNDLES if context.params.get("task") == "bundle" else ""
    target = KINDS.get("splits").target(prefix + (context.params.get("split") or "random"))
    return _matching([f"{name}=" for name in (keyword_names(target) if target else [])], incomplete)


def kinds(incomplete: str) -> list[str]:
    """Kinds of parts."""
    return _matching(KINDS.names(), incomplete)


def parts(context: typer.Context, incomplete: str) -> list[str]:
    """Parts of the kind given on the line."""
    kind = context.params.get("kind") or ""
    return _matching(KINDS.get(kind).names(), incomplete) if kind in KINDS else []
