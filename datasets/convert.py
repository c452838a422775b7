"""Write any Dataset as a folder of Parquet and NumPy files with a card, which the `table` reader reads back."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import scipy.sparse as sp
import yaml

from recsys.datasets.cards import CARD_FILE, Card, is_plain
from recsys.datasets.dataset import Dataset
from recsys.datasets.files import one_line
from recsys.errors import DataError
from recsys.files import sha256


def _write_entities(
    folder: Path, key: str, ids: np.ndarray, attributes: pd.DataFrame, names: tuple[str, ...]
) -> dict[str, str]:
    """`users.parquet` or `items.parquet`: the raw ids in order, then the attributes."""
    id_column = names[-1] if names else f"{key}_id"
    while id_column in attributes.columns:
        id_column = "_" + id_column
    table = pd.DataFrame({id_column: ids.astype(str)})
    if attributes.shape[1]:
        table = pd.concat([table, attributes.reset_index(drop=True)], axis=1)
    table.to_parquet(folder / f"{key}s.parquet", index=False)
    return {"file": f"{key}s.parquet", "id": id_column}


def _write_tables(dataset: Dataset, folder: Path) -> dict[str, Any]:
    """All data files; returns the card's options."""
    frame = dataset.interactions
    frame = frame.assign(user=dataset.user_ids[frame["user"]], item=dataset.item_ids[frame["item"]])
    columns = {column: column for column in frame.columns}
    names = {noun: own[0] for noun, own in dataset.id_columns.items()}
    if len({*(columns | names).values()}) == len(columns):
        columns |= names
    frame = frame.rename(columns=columns)
    frame.to_parquet(folder / "interactions.parquet", index=False)
    features = {}
    for name, modality in dataset.modalities.items():
        file, mask = f"{name}_feat.{'npz' if modality.is_sparse else 'npy'}", f"{name}_mask.npy"
        if modality.is_sparse:
            sp.save_npz(folder / file, sp.csr_array(modality.features))
        else:
            np.save(folder / file, modality.features)
        np.save(folder / mask, modality.mask)
        features[name] = {"file": file, "mask": mask, "made_of": modality.made_of}
    ids = dataset.id_columns
    return {
        "interactions": "interactions.parquet",
        "columns": columns,
        "users": _write_entities(
            folder, "user", dataset.user_ids, dataset.user_attributes, ids.get("user", ())
        ),
        "items": _write_entities(
            folder, "item", dataset.item_ids, dataset.item_attributes, ids.get("item", ())
        ),
        "features": features,
        "content": {name: spec.short() for name, spec in dataset.encoders.items()},
        "aliases": {noun: dict(names) for noun, names in dataset.renames.items() if names},
        "numbering": "file",
    }


def convert(dataset: Dataset, folder: str | Path, like: Card | None = None) -> Card:
    """Write `dataset` to a new folder, all of it or nothing.

    Args:
        folder: must not exist; its last part becomes the data set's name.
        like: card of the source, whose title, licence, citation, homepage are kept.

    Returns:
        The card written, as `card.yaml`.

    Raises:
        DataError: the folder exists, its name is no plain name, the data set has bundles, or it cannot be written.
    """
    folder = Path(folder).absolute()
    if folder.exists():
        raise DataError(f"{folder} exists already; name a new folder, or move that one away")
    if not is_plain(folder.name):
        raise DataError(f"{folder}: the name must be letters, digits, '.', '_' or '-'")
    if dataset.bundles is not None:
        raise DataError(
            f"'{dataset.name}' has bundles, which the converted form cannot hold; copy its folder as it is"
        )
    if bad := [name for name in dataset.modalities if not is_plain(name)]:
        raise DataError(f"modality '{bad[0]}' cannot be part of a file's name; rename it")
    temporary = None
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}-"))
        written = temporary / folder.name
        written.mkdir()
        options = _write_tables(dataset, written)
        kept = like.model_dump(include={"title", "public", "licence", "citation", "homepage"}) if like else {}
        card = Card(
            name=folder.name,
            reader="table",
            options=options,
            files={path.name: sha256(path) for path in sorted(written.iterdir())},
            modalities=tuple(dataset.modalities),
            provenance=dataset.provenance,
            get=f"run `run.py data convert {dataset.name} {folder.name}` again",
            **kept,
        )
        text = yaml.safe_dump(card.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
        (written / CARD_FILE).write_text(text, encoding="utf-8")
        os.replace(written, folder)
    except (OSError, ValueError) as error:  # ValueError: an attribute that Parquet cannot hold
        raise DataError(f"{folder} cannot be written ({one_line(error)}); nothing was left there") from None
    finally:
        if temporary:
            shutil.rmtree(temporary, ignore_errors=True)
    return card
