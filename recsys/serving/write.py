"""What a bundle's folder holds: written for a run by `recsys.runs.package`, and for what became of it since."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recsys.files import atomic
from recsys.serving.arrays import Writer
from recsys.serving.ids import Ids

if TYPE_CHECKING:
    import pandas as pd

ITEMS_FILE, USERS_FILE = "items.parquet", "users.parquet"
ARRAYS = ("part", "history", "before", "had", "warm", "bank")


def write_bundle(
    folder: Path,
    about: Mapping[str, Any],
    trained: Mapping[str, int],
    ids: Mapping[str, Ids],
    arrays: Mapping[str, Any],
    reading: Mapping[str, Any],
    frames: tuple[pd.DataFrame, pd.DataFrame],
) -> None:
    """Write a bundle's files to an empty folder, its manifest last.

    Args:
        about: the manifest's head.
        trained: "user" and "item" -> how many training knew; they stand first.
        ids: "user" and "item" -> all of them.
        arrays: `part`; `history`, (n_users, trained items) CSR, what each user is known to like; `before`, the part of
            it that training came with; `had`, (n_users, n_items) CSR, what nobody is recommended again; `warm` and
            `bank` of the trained items, in which new ones find their neighbours.
        reading: how files of new users and items are read: `encoders`, `id_columns` and `renames`.
        frames: attributes of all items, and the names of users' attributes.
    """
    writer = Writer(folder)
    for frame, name in zip(frames, (ITEMS_FILE, USERS_FILE), strict=True):
        with atomic(folder / name) as temporary:
            frame.reset_index(drop=True).to_parquet(temporary)
    manifest = {"about": dict(about), "trained": dict(trained)}
    manifest |= {name: writer.value(arrays[name]) for name in ARRAYS}
    manifest["ids"] = {noun: writer.value([each.names, each.order]) for noun, each in ids.items()}
    writer.close(manifest | dict(reading))
