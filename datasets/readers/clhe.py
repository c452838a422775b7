"""CLHE's folder: `count.json` (#U, #B, #I), `ui_full`, `bi_train`, `bi_valid_input`, `bi_valid_gt`,
`bi_test_input`, `bi_test_gt`, each a `.npy` of pairs or a `.txt` whose lines hold a row's number and then the
numbers of its items; `content_feature.pt`, `description_feature.pt`: a tensor with a row for each item.

`item_cf_feature.pt` is not read: it is trained on `ui_full`, and the engine trains its own on what a run may see.
The layout does not say who took which bundle, so no pair of `ui_full` can be traced to one.
"""

from __future__ import annotations

import re
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd

from recsys.datasets.assembly import assemble, make_modality
from recsys.datasets.bundles import checked_items
from recsys.datasets.cards import Card, NoOptions
from recsys.datasets.checks import Catalogue, row_numbers, too_sparse
from recsys.datasets.dataset import TEST, TRAIN, VALID, Bundles, Dataset
from recsys.datasets.files import is_there, load_npy, one_line, read_json, read_text
from recsys.datasets.readers import recognised_by
from recsys.errors import DataError

FEATURES = {"content": "content_feature.pt", "description": "description_feature.pt"}
PARTS = {
    "bi_train": (TRAIN, False),
    "bi_valid_input": (VALID, True),
    "bi_valid_gt": (VALID, False),
    "bi_test_input": (TEST, True),
    "bi_test_gt": (TEST, False),
}


def _counts(path: Path) -> tuple[int, int, int]:
    try:
        counts = read_json(path)
        return int(counts["#U"]), int(counts["#B"]), int(counts["#I"])
    except DataError:
        raise
    except (ValueError, KeyError, TypeError, OverflowError) as error:
        raise DataError(f'{path}: expected {{"#U": …, "#B": …, "#I": …}} ({one_line(error)})') from None


def _lines(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """(pairs, 2) text and the line of each."""
    tokens = [re.split(r"[,\s]+", line.strip()) for line in read_text(path).rstrip("\n").split("\n")]
    pairs = [(t[0], item, n) for n, t in enumerate(tokens, 1) for item in t[1:] if item]
    return np.array(pairs, dtype=object).reshape(-1, 3)[:, :2], np.array([n for *_, n in pairs], dtype=int)


def _pairs(folder: Path, stem: str, row: str, limits: tuple[int, int]) -> pd.DataFrame:
    path = folder / f"{stem}.npy"
    if is_there(path):
        pairs = load_npy(path)
        if pairs.ndim != 2 or pairs.shape[1] != 2:
            raise DataError(f"{path}: expected pairs, found shape {pairs.shape}")
        index = pd.RangeIndex(len(pairs), name="row")
    else:
        path = folder / f"{stem}.txt"
        pairs, lines = _lines(path)
        index = pd.Index(lines, name="line")
    return pd.DataFrame(
        {
            name: row_numbers(
                pd.Series(pairs[:, n], index=index, name=name), str(path), Catalogue(limits[n], "count.json")
            )
            for n, name in enumerate((row, "item"))
        },
        index=index,
    )


def _features(path: Path, n_items: int) -> np.ndarray:
    import torch

    try:
        if zipfile.is_zipfile(path):  # torch does not look at the checksums of the parts
            with zipfile.ZipFile(path) as archive:
                if part := archive.testzip():
                    raise ValueError(f"its part {part} is damaged")
        with warnings.catch_warnings(action="ignore"):  # of layouts that are in beta
            tensor = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise DataError(f"{path}: not a whole tensor ({one_line(error)}); fetch it again") from None
    if not isinstance(tensor, torch.Tensor) or tensor.ndim != 2 or len(tensor) != n_items:
        shape = tuple(tensor.shape) if isinstance(tensor, torch.Tensor) else type(tensor).__name__
        raise DataError(f"{path}: expected a tensor of {n_items:,} rows, found {shape}")
    plain = tensor.layout == torch.strided and not (
        tensor.is_meta or tensor.is_quantized or tensor.is_complex()
    )
    if not plain or tensor.numel() > tensor.untyped_storage().nbytes():
        kind = f"{tensor.dtype}, {tensor.layout}, on {tensor.device}"
        raise DataError(f"{path}: expected a dense tensor of real numbers, each of its own, found {kind}")
    return tensor.detach().float().numpy()


def recognises(folder: Path) -> bool:
    """A file count.json and training bundles."""
    return (folder / "count.json").is_file() and any(folder.glob("bi_train.*"))


@recognised_by(recognises)
def read(folder: Path, card: Card) -> Dataset:
    """The folder as a Dataset with its bundles and their published split. DataError where anything is amiss."""
    card.options_as(NoOptions)
    n_users, n_bundles, n_items = _counts(folder / "count.json")
    feedback = _pairs(folder, "ui_full", "user", (n_users, n_items))
    parts = [
        _pairs(folder, stem, "bundle", (n_bundles, n_items)).assign(label=np.int8(label), given=given)
        for stem, (label, given) in PARTS.items()
    ]
    frame = pd.concat(parts, ignore_index=True)
    for key, count in (("#U", n_users), ("#B", n_bundles), ("#I", n_items)):
        if count < 0 or too_sparse(count, len(feedback) + len(frame)):
            raise DataError(
                f"{folder / 'count.json'}: {key} is {count}, for {len(feedback) + len(frame):,} pairs"
            )
    twice = frame.drop_duplicates().duplicated(["bundle", "item"], keep=False)
    if twice.any():
        row = frame.drop_duplicates()[twice].iloc[0]
        raise DataError(
            f"{folder}: bundle {row['bundle']} with item {row['item']} lies in two parts; keep one"
        )
    items, notes = checked_items(frame, str(folder / "bi_*"))
    if empty := n_bundles - items["bundle"].nunique():
        notes.append(f"bi_*: {empty:,} bundles without an item take part in nothing")
    modalities = {}
    for name, file in FEATURES.items():
        if is_there(folder / file):
            modalities[name], more = make_modality(_features(folder / file, n_items), str(folder / file))
            notes += more
    return assemble(
        card.name,
        feedback,
        source=str(folder / "ui_full"),
        ids=(np.arange(n_users), np.arange(n_items)),
        modalities=modalities,
        notes=notes,
        bundles=Bundles(items, np.arange(n_bundles).astype(str)),
    )
