"""citeulike-a's files: line u of `users.dat` is a count, then the items in user u's library; `item-tag.dat`
and `citations.dat` list each item's tags and linked items likewise; `tags.dat` names the tags.

Tags become the modality `tags` (TF-IDF, unit rows, sparse), links the modality `citations` (items x items,
either direction counts, an item that has links among its own, unit rows, sparse).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import scipy.sparse as sp

from recsys.datasets.assembly import assemble_rows
from recsys.datasets.cards import Card, NoOptions
from recsys.datasets.checks import Catalogue, check_catalogue, row_numbers
from recsys.datasets.content.features import normalise_rows
from recsys.datasets.dataset import Dataset
from recsys.datasets.files import is_there, read_text
from recsys.datasets.readers import first_line, recognised_by
from recsys.datasets.readers.lists import number_lines
from recsys.errors import DataError


def _read_lists(path: Path, what: str, limit: Catalogue | None = None) -> tuple[pd.DataFrame, int]:
    """Columns `row` and `what` of a file of counted lists, and its number of lines; the index holds lines."""
    flat, lengths = number_lines(path)
    numbers = row_numbers(flat.rename(what), str(path))
    start = np.cumsum(lengths) - lengths
    wrong = lengths == 0
    wrong[~wrong] = numbers[start[~wrong]] != lengths[~wrong] - 1
    if wrong.any():
        at = int(np.argmax(wrong))
        raise DataError(
            f"{path}: line {at + 1}: expected a count, then as many ids; found "
            f"'{' '.join(flat.loc[flat.index == at + 1]):.60}'"
        )
    entry = np.ones(len(numbers), dtype=bool)
    entry[start] = False
    ids = row_numbers(pd.Series(numbers[entry], index=flat.index[entry], name=what), str(path), limit)
    row = np.repeat(np.arange(len(lengths)), lengths - 1)
    return pd.DataFrame({"row": row, what: ids}, index=flat.index[entry]), len(lengths)


def _binary(rows: np.ndarray, columns: np.ndarray, shape: tuple[int, int]) -> sp.csr_array:
    matrix = sp.coo_array((np.ones(len(rows), dtype=np.float32), (rows, columns)), shape=shape).tocsr()
    matrix.data[:] = 1
    return matrix


def _tags(folder: Path) -> sp.csr_array:
    from sklearn.feature_extraction.text import TfidfTransformer

    path, names = folder / "item-tag.dat", folder / "tags.dat"
    limit = None
    if is_there(names):
        limit = Catalogue(len(read_text(names).rstrip("\n").split("\n")), str(names))
    frame, n_items = _read_lists(path, "tag", limit)
    width = limit.n_items if limit else int(frame["tag"].max()) + 1 if len(frame) else 1
    matrix = _binary(frame["row"].to_numpy(), frame["tag"].to_numpy(), (n_items, width))
    return sp.csr_array(TfidfTransformer().fit_transform(matrix))


def _citations(folder: Path) -> sp.csr_array:
    path = folder / "citations.dat"
    frame, n_items = _read_lists(path, "item")
    row_numbers(frame["item"], str(path), Catalogue(n_items, str(path)))
    frame = frame[frame["row"] != frame["item"]]
    one, other = frame["row"].to_numpy(), frame["item"].to_numpy()
    # An item that has links is among its own, so that it shares one with each item that it cites or that cites it.
    linked = np.union1d(one, other)
    rows, columns = np.concatenate([one, other, linked]), np.concatenate([other, one, linked])
    links = _binary(rows, columns, (n_items, n_items))
    return normalise_rows(links)


def recognises(folder: Path) -> bool:
    """A file users.dat whose first line is a count and as many whole numbers."""
    cells = first_line(folder / "users.dat").split()
    return bool(cells) and all(cell.isdecimal() for cell in cells) and int(cells[0]) == len(cells) - 1


@recognised_by(recognises)
def read(folder: Path, card: Card) -> Dataset:
    """The folder as a Dataset without labels. DataError where anything is amiss."""
    card.options_as(NoOptions)
    makers = {"tags": ("item-tag.dat", _tags), "citations": ("citations.dat", _citations)}
    features = {
        modality: (str(folder / file), make(folder))
        for modality, (file, make) in makers.items()
        if is_there(folder / file)
    }
    catalogue = check_catalogue({file: matrix for file, matrix in features.values()})
    path = folder / "users.dat"
    frame, n_users = _read_lists(path, "item", catalogue)
    frame = frame.rename(columns={"row": "user"})
    return assemble_rows(card.name, frame, source=str(path), features=features, n_users=n_users)
