"""Columns of attributes as groups of users or items: one value a cell, several values a cell, or numbers."""

from __future__ import annotations

import numpy as np
import pandas as pd
import scipy.sparse as sp

from recsys.datasets.checks import floats
from recsys.datasets.content.columns import SEPARATOR, cells

CATEGORIES = 32
"""A column of no more values than this is categorical, also where they are numbers."""
PARTS = 3


def groups_of(column: pd.Series) -> tuple[list[str], sp.csr_array]:
    """The groups that a column puts its rows into.

    A cell holds values separated by "|"; where no cell does and the words of the cells are fewer than the cells
    differ (genres such as "Action Comedy"), the words are the values. A column of more than 32 different numbers is cut
    into three parts of about one size. A row with an empty cell is in no group.

    Returns:
        The groups' names, g of them, and (n, g) float64 CSR: 1 where the row is in the group.

    Example:
        >>> names, member = groups_of(pd.Series(["a|b", "b", ""]))
        >>> names, member.toarray().tolist()
        (['a', 'b'], [[1.0, 1.0], [0.0, 1.0], [0.0, 0.0]])
    """
    texts = pd.Series([text.strip() for text in cells(column)], dtype=object)
    filled = texts[texts != ""]
    numbers = floats(filled)
    if len(filled) and np.isfinite(numbers).all() and len(np.unique(numbers)) > CATEGORIES:
        values = np.full(len(texts), np.nan)
        values[filled.index] = numbers
        return parts_of(values)
    separator: str | None = SEPARATOR
    if not filled.str.contains(SEPARATOR, regex=False).any():
        words = {word for text in filled for word in text.split()}
        separator = None if len(words) < filled.nunique() else SEPARATOR
    rows = texts.str.split(separator).explode().str.strip()
    rows = rows[rows.notna() & (rows != "")]
    codes, names = pd.factorize(rows, sort=True)
    return [str(name) for name in names], _membership(rows.index.to_numpy(), codes, len(texts), len(names))


def parts_of(values: np.ndarray) -> tuple[list[str], sp.csr_array]:
    """Rows by a number, in three parts of about one size; fewer where values repeat so often that they do not tell
    three apart. NaN is in none. Returns as `groups_of`.

    Example:
        >>> parts_of(np.array([1, 2, 3, 4, 5, 6, np.nan]))[0]
        ['1 to 2', '3 to 4', '5 to 6']
    """
    values = np.asarray(values, dtype=np.float64)
    known = np.flatnonzero(np.isfinite(values))
    if not len(known):
        return [], sp.csr_array((len(values), 0))
    cuts = np.quantile(values[known], np.arange(1, PARTS) / PARTS, method="lower")
    codes = np.unique(np.searchsorted(cuts, values[known], side="left"), return_inverse=True)[1]
    ends = [(values[known][codes == code].min(), values[known][codes == code].max()) for code in set(codes)]
    names = [f"{low:g}" if low == high else f"{low:g} to {high:g}" for low, high in ends]
    return names, _membership(known, codes, len(values), len(names))


def _membership(rows: np.ndarray, codes: np.ndarray, n: int, groups: int) -> sp.csr_array:
    matrix = sp.coo_array((np.ones(len(rows)), (rows, codes)), shape=(n, groups)).tocsr()
    matrix.data[:] = 1.0  # a value named twice in a cell
    return matrix
