"""A card for a folder that has none, from what its files look like: a proposal with reasons, to be corrected."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from recsys.datasets.cards import CARD_FILE, Card, is_plain
from recsys.datasets.content.spec import ContentSpec
from recsys.datasets.guess.content import guess_beside, guess_content, guess_dropped, guess_features
from recsys.datasets.guess.roles import Entities, Interactions, guess_entities, guess_interactions
from recsys.datasets.guess.tables import Table, read_tables
from recsys.datasets.readers import guess_reader
from recsys.errors import DataError


@dataclass
class Guess:
    """A proposal.

    Attributes:
        card: the card.
        reasons: one line for each decision.
    """

    card: Card
    reasons: list[str] = field(default_factory=list)


def guess_card(folder: Path) -> Guess:
    """What a card of `folder` could say: the table of interactions and its columns, those of users and items, feature
    files, and the items' columns that can become modalities.

    Raises:
        DataError: the folder is not there, has a card, is in a format that needs none, or has no table of
            interactions (names each file's header).
    """
    if not folder.is_dir():
        raise DataError(f"there is no folder {folder}")
    if (folder / CARD_FILE).exists():
        raise DataError(f"{folder} has a {CARD_FILE} already; correct that one")
    if not is_plain(folder.resolve().name):
        raise DataError(f"{folder}: its name must be letters, digits, '.', '_' or '-'; rename it")
    if reader := guess_reader(folder):
        raise DataError(f"{folder} needs no card: the reader '{reader}' knows its form")
    reasons: list[str] = []
    tables = read_tables(folder, reasons)
    given = guess_interactions(folder, tables, reasons)
    parts = {part: table.file for part, table in given.parts.items()}
    files = list(parts.values()) or [given.table.file]
    entities = guess_entities(given, [t for t in tables if t.file not in files], reasons)
    options: dict[str, Any] = {
        "interactions": parts or given.table.file,
        "columns": given.columns,
        **given.table.how(),
        **({"positive_from": given.positive_from} if given.positive_from is not None else {}),
    }
    for key, (table, column, _) in entities.items():
        # What a card does not say of them is as the interactions have it.
        options[f"{key}s"] = {"file": table.file, "id": column} | table.how(given.table.sep or ",")
    if (share := min((one.share for one in entities.values()), default=1.0)) < 1:
        options["min_joined"] = math.floor(share * 1e4) / 1e4
    if "item" in entities:
        options |= _of_items(folder, entities["item"], options, reasons)
    if "user" in entities:
        table, column, _ = entities["user"]
        if drop := guess_dropped(table.typed(), column, reasons):
            options["users"]["drop"] = drop
    used = [*files, *(one.table.file for one in entities.values())]
    if rest := [table for table in tables if table.file not in used]:
        options["content"] = options.get("content", {}) | _beside(rest, given, entities, options, reasons)
    used += [one["file"] for one in options.get("features", {}).values()]
    contents = [ContentSpec.of(spec) for spec in options.get("content", {}).values()]
    used += [place for spec in contents for place in (spec.archive, spec.file) if place]
    left = sorted(p.name for p in folder.iterdir() if p.is_file() and p.name not in used)
    reasons += [f"not used: {', '.join(left)}"] if left else []
    name = folder.resolve().name
    card = Card(
        name=name,
        reader="table",
        title=name,
        options={key: value for key, value in options.items() if value},
        files=dict.fromkeys(used),
        modalities=(*options.get("features", {}), *options.get("content", {})),
    )
    return Guess(card, reasons)


def _beside(
    rest: list[Table],
    given: Interactions,
    entities: dict[str, Entities],
    options: dict[str, Any],
    reasons: list[str],
) -> dict[str, Any]:
    """What the tables that nothing else is read of say of the items."""
    taken = {*options.get("content", {}), *options.get("features", {})}
    id_column, ids = given.columns["item"], given.ids("item")
    if "item" in entities:
        items, id_column, _ = entities["item"]
        taken, ids = taken | set(map(str, items.frame)), ids | set(items.frame[id_column].astype(str))
    return guess_beside(rest, id_column, ids, given.table.sep or ",", taken, reasons)


def _of_items(folder: Path, given: Entities, options: dict[str, Any], reasons: list[str]) -> dict[str, Any]:
    """The options that say what the items' features are, and what their columns become."""
    table, column, _ = given
    features = guess_features(folder, len(table.frame), reasons)
    content, drop = guess_content(folder, table.typed(), column, table.frame[column], features, reasons)
    items = options["items"] | ({"drop": drop} if drop else {})
    return {"items": items, "features": features, "content": content}
