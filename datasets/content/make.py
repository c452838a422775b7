"""All modalities that a card, or a caller, asks for of the items' raw content."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from recsys.datasets.content import CONTENT
from recsys.datasets.content.encode import encode, gather, made_of
from recsys.datasets.content.encoder import facts_of
from recsys.datasets.content.files import Files, Inline
from recsys.datasets.content.spec import ContentSpec
from recsys.datasets.dataset import Dataset, Modality, Provenance
from recsys.errors import DataError


class Made(NamedTuple):
    """Modalities by name, notes on them, and how each was made."""

    modalities: dict[str, Modality]
    notes: list[str]
    provenance: dict[str, Provenance]


def files_of(spec: ContentSpec, folder: Path, anywhere: bool = False) -> Files | None:
    """Where the files are that the cells of a modality name; None of an encoder that reads none."""
    if not spec.reads_files:
        return None
    named = [folder / place for place in (spec.archive, spec.folder) if place]
    return Files(named or [folder], anywhere, deep=named)


def make_modalities(
    specs: Mapping[str, ContentSpec],
    items: pd.DataFrame | None,
    ids: np.ndarray,
    source: str,
    folder: Path,
    anywhere: bool = False,
) -> Made:
    """What the encoders make of the items' columns.

    Args:
        items: a row for each item, by our names.
        ids: raw ids of the items.
        source: where they are from, for messages.
        folder: where folders and archives of files lie.
        anywhere: whether cells may name files outside of it.
    """
    made = Made({}, [], {})
    for name, spec in specs.items():
        one = made_of(spec, name, items, ids, source, files_of(spec, folder, anywhere))
        made.modalities[name], made.provenance[name] = one.modality, one.provenance
        made.notes.extend(one.notes)
    return made


def without_raw(
    table: pd.DataFrame, specs: Mapping[str, ContentSpec], drop: Iterable[str] = ()
) -> pd.DataFrame:
    """The items' attributes: without columns that name files or hold vectors, which nobody reads, and those of `drop`.

    Raises:
        DataError: an encoder that is fitted to the catalogue reads a column of `drop`: new items could not be encoded.
    """
    dropped = set(drop)
    unread = set(dropped)
    for name, spec in specs.items():
        if spec.reads_files or spec.encoder == "vector":
            unread |= set(spec.columns_of(name))
        elif not facts_of(CONTENT.get(spec.encoder)).each and (
            read := [column for column in spec.columns_of(name) if column in dropped]
        ):
            raise DataError(
                f"drop: '{read[0]}' is read by content '{name}', and '{spec.encoder}' is fitted to it; keep it"
            )
    return table.drop(columns=[column for column in table if column in unread])


def encode_new(
    spec: ContentSpec,
    name: str,
    table: pd.DataFrame,
    ids: Sequence[str] | np.ndarray,
    dataset: Dataset,
    source: str,
    beside: Path | None,
) -> tuple[Modality | None, list[str]]:
    """New items' rows of a modality, by the encoder that made the catalogue's, and notes; None where no item has any.

    Args:
        table: a row for each new item, by our names.
        beside: the folder that file names are relative to, before the data set's own places; None: cells hold the
            files themselves, in base64.

    Raises:
        DataError: a cell that the encoder cannot read, or features of another width than the catalogue's.
    """
    texts = gather(spec, name, table, ids)
    own = dataset.modalities[name]
    fit_on = None
    if not facts_of(CONTENT.get(spec.encoder)).each and spec.encoder != "vector":
        n = len(own.mask)  # a bundle may have been given more items since training
        fit_on = gather(spec, name, dataset.item_attributes.iloc[:n], dataset.item_ids[:n])
    if not any(texts):
        return None, []
    files: Files | Inline | None = None
    if spec.reads_files:
        files = Inline() if beside is None else _places(spec, dataset, beside)
    made = encode(spec, name, texts, f"{source}: {name}", files=files, fit_on=fit_on, new=True)
    modality = made.modality
    if not modality.mask.any():
        return None, made.notes
    if modality.width != own.width:
        raise DataError(
            f"{source}: {name} is {modality.width} wide; the model was trained on {own.width} numbers an item"
        )
    return modality, made.notes


def _places(spec: ContentSpec, dataset: Dataset, beside: Path) -> Files:
    """Where new items' files may be: beside their table, then where the catalogue's are."""
    roots = [root for root in (beside, dataset.folder) if root and root.is_dir()]
    named = [root / place for root in roots for place in (spec.folder, spec.archive) if place]
    named = [place for place in named if place.exists()]
    return Files([*roots[:1], *named, *roots[1:]], anywhere=True, deep=named)
