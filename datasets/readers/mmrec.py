"""MMRec's folder: `NAME.inter` (tab-separated `userID itemID x_label`) and any number of `*_feat.npy`.

Ids are row numbers of the feature files; `x_label` is 0 train, 1 valid, 2 test.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from recsys.datasets.assembly import assemble_rows
from recsys.datasets.cards import Card, NoOptions
from recsys.datasets.checks import check_catalogue, need_columns, row_numbers, to_labels, to_numbers
from recsys.datasets.dataset import Dataset
from recsys.datasets.files import feature_files, read_delimited
from recsys.datasets.readers import first_line, recognised_by
from recsys.datasets.times import to_timestamps
from recsys.errors import DataError


def inter_file(folder: Path, name: str) -> Path:
    """`<name>.inter`, or the folder's only `.inter` file."""
    if (path := folder / f"{name}.inter").is_file():
        return path
    tables = sorted(folder.glob("*.inter"))
    if len(tables) != 1:
        raise DataError(
            f"{folder}: expected {name}.inter, found {', '.join(p.name for p in tables) or 'none'}"
        )
    return tables[0]


def inter_header(folder: Path) -> list[str]:
    """Columns of the folder's first `.inter` file that is of MMRec or of RecBole; empty where there is none."""
    for path in sorted(folder.glob("*.inter")):
        columns = first_line(path).split()
        if "userID" in columns or any(":token" in column for column in columns):
            return columns
    return []


def recognises(folder: Path) -> bool:
    """A `.inter` file with a column userID."""
    return "userID" in inter_header(folder)


@recognised_by(recognises)
def read(folder: Path, card: Card) -> Dataset:
    """The folder as a Dataset; each `X_feat.npy` is the modality `X`. DataError where anything is amiss."""
    card.options_as(NoOptions)
    path = inter_file(folder, card.name)
    source = str(path)
    raw = read_delimited(path)
    need_columns(raw.columns, ("userID", "itemID", "x_label"), source)
    features = feature_files(folder)
    catalogue = check_catalogue(dict(features.values()))
    columns = {
        "user": row_numbers(raw["userID"], source),
        "item": row_numbers(raw["itemID"], source, catalogue),
        "label": to_labels(raw["x_label"], source),
    }
    notes: list[str] = []
    if "rating" in raw:
        columns["rating"] = to_numbers(raw["rating"], source)
    if "timestamp" in raw:
        columns["timestamp"], notes = to_timestamps(raw["timestamp"], source)
    frame = pd.DataFrame(columns, index=raw.index)
    return assemble_rows(card.name, frame, source=source, features=features, notes=notes)
