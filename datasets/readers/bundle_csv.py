"""BundleRec's folder: `bundle_item.csv`, `user_item.csv`, `user_bundle.csv`, `item_titles.csv`,
`item_categories.csv`, `bundle_intent.csv`, each an id column, another id or text, and for users a timestamp.

Titles and category paths become the modalities `title` and `category`: TF-IDF, reduced to `width` columns, or
vectors of a sentence encoder. Bundles without items, known from the users or intents only, are left out and
counted in a note; bundles of one item stay (they can only train).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict, NonNegativeInt

from recsys.datasets.assembly import Attributes, align, assemble
from recsys.datasets.bundles import checked_items, known_positions
from recsys.datasets.cards import Card, Seed
from recsys.datasets.checks import need_columns, number_ids, positions, to_tokens
from recsys.datasets.content.encode import ContentEncoder, run_encoder
from recsys.datasets.dataset import Bundles, Dataset
from recsys.datasets.files import is_there, read_delimited
from recsys.datasets.readers import recognised_by
from recsys.datasets.times import to_timestamps
from recsys.errors import DataError

BUNDLE, ITEM, USER = "bundle ID", "item ID", "user ID"
TEXTS = {"title": ("item_titles.csv", "titles"), "category": ("item_categories.csv", "categories")}


class BundleOptions(BaseModel):
    """The card's `options`.

    Attributes:
        width: columns of each text modality; 0 keeps the sparse TF-IDF itself.
        text: name of the content encoder; `sentence` needs `pip install recsys[text]`.
        seed: of the reduction.
    """

    model_config = ConfigDict(extra="forbid")

    width: NonNegativeInt = 256
    text: ContentEncoder = "tfidf"
    seed: Seed = 0


def _read(folder: Path, file: str, columns: tuple[str, ...]) -> pd.DataFrame:
    frame = read_delimited(folder / file, ",", text=columns, quoted=True)
    need_columns(frame.columns, columns, str(folder / file))
    return frame


def _texts(folder: Path, ids: np.ndarray) -> pd.DataFrame:
    """Columns `title`, `category` in the order of `ids`; "" where an item has none."""
    made = {}
    for name, (file, column) in TEXTS.items():
        if is_there(folder / file):
            table = _read(folder, file, (ITEM, column))
            rows = align(table[[ITEM, column]], ITEM, ids, str(folder / file))
            made[name] = rows[column].str.strip("[]") if name == "category" else rows[column]
    return pd.DataFrame(made, index=range(len(ids)))


def _catalogue(folder: Path, pairs: pd.DataFrame, feedback: pd.DataFrame) -> np.ndarray:
    tokens = [to_tokens(frame[ITEM], "an item column") for frame in (pairs, feedback)]
    for file, column in TEXTS.values():
        if is_there(folder / file):
            tokens.append(to_tokens(_read(folder, file, (ITEM, column))[ITEM], str(folder / file)))
    return number_ids(*tokens)


def _bundles(
    folder: Path, pairs: pd.DataFrame, items: np.ndarray, users: np.ndarray
) -> tuple[Bundles, list[str]]:
    source = str(folder / "bundle_item.csv")
    ids = number_ids(to_tokens(pairs[BUNDLE], source))
    frame = pd.DataFrame(
        {
            "bundle": known_positions(pairs, BUNDLE, ids, source, "the bundles"),
            "item": known_positions(pairs, ITEM, items, source, "the catalogue"),
        }
    )
    frame, notes = checked_items(frame, source)
    owners = _read(folder, "user_bundle.csv", (USER, BUNDLE))
    tokens = to_tokens(owners[BUNDLE], str(folder / "user_bundle.csv"))
    at = positions(ids, tokens)
    empty = set(tokens[at < 0])
    who = known_positions(owners, USER, users, str(folder / "user_bundle.csv"), "user_item.csv")
    owned = pd.DataFrame({"user": who, "bundle": at})[at >= 0]
    attributes = pd.DataFrame(index=range(len(ids)))
    if is_there(folder / "bundle_intent.csv"):
        intents = _read(folder, "bundle_intent.csv", (BUNDLE, "intent"))
        attributes["title"] = align(intents, BUNDLE, ids, str(folder / "bundle_intent.csv"))["intent"]
        empty |= set(intents[BUNDLE].astype(str)) - set(ids.astype(object))
    if empty:
        notes.append(f"bundle_item.csv: {len(empty):,} bundles without an item left out")
    return Bundles(frame, ids, owned.drop_duplicates(ignore_index=True), attributes), notes


def recognises(folder: Path) -> bool:
    """A file bundle_item.csv."""
    return (folder / "bundle_item.csv").is_file()


@recognised_by(recognises)
def read(folder: Path, card: Card) -> Dataset:
    """The folder as a Dataset: the users' items as interactions, and its bundles. DataError where anything is
    amiss."""
    options = card.options_as(BundleOptions)
    pairs = _read(folder, "bundle_item.csv", (BUNDLE, ITEM))
    feedback, source = _read(folder, "user_item.csv", (USER, ITEM)), str(folder / "user_item.csv")
    if feedback.empty:
        raise DataError(f"{source} holds no interactions; expected at least one row")
    items, users = _catalogue(folder, pairs, feedback), number_ids(to_tokens(feedback[USER], source))
    columns = {
        "user": known_positions(feedback, USER, users, source, "the users"),
        "item": known_positions(feedback, ITEM, items, source, "the catalogue"),
    }
    times: list[str] = []
    if "timestamp" in feedback:
        columns["timestamp"], times = to_timestamps(feedback["timestamp"], source)
    bundles, notes = _bundles(folder, pairs, items, users)
    texts = _texts(folder, items)
    modalities = {
        name: run_encoder(
            options.text,
            texts[name].tolist(),
            str(folder / TEXTS[name][0]),
            width=options.width,
            seed=options.seed,
        )
        for name in texts
    }
    return assemble(
        card.name,
        pd.DataFrame(columns, index=feedback.index),
        source=source,
        ids=(users, items),
        modalities=modalities,
        attributes=Attributes(None, texts),
        notes=[*times, *notes],
        bundles=bundles,
    )
