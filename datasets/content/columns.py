"""Columns of categories, numbers and vectors to item features."""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np
import pandas as pd
import scipy.sparse as sp

from recsys.datasets.checks import floats, whole_numbers
from recsys.datasets.content.features import reduced
from recsys.datasets.dataset import Modality
from recsys.errors import DataError

SEPARATOR = "|"
"""Between the values of one cell."""
KNOTS = 9


def cells(column: pd.Series) -> list[str]:
    """A column as encoders take it: text, "" where there is nothing; lists of numbers as JSON, of others joined by
    "|"; whole numbers beside empty cells stay whole."""
    return [_cell(value) for value in whole_numbers(column)]


def _cell(value: object) -> str:
    if isinstance(value, (list, tuple, np.ndarray)):
        values = list(value)
        if values and all(isinstance(v, (int, float, np.number)) for v in values):
            return json.dumps([float(v) for v in values])
        return SEPARATOR.join(str(v) for v in values)
    return "" if value is None or pd.isna(value) else str(value)


def category(
    texts: Sequence[str], *, width: int, seed: int, source: str, fit_on: Sequence[str] | None = None
) -> Modality:
    """Values separated by "|" to (n_items, at most `width`) rows of unit length, with a column for each value, reduced
    by a truncated SVD where there are more values than that. Values that `fit_on` does not have count as none.

    Raises:
        DataError: no cell holds a value.
    """
    of_fitted = _values(texts if fit_on is None else fit_on)
    vocabulary = {value: column for column, value in enumerate(sorted({v for row in of_fitted for v in row}))}
    if not vocabulary:
        raise DataError(f"{source}: no item has a value; expected categories separated by '{SEPARATOR}'")
    matrix = _indicators(_values(texts), vocabulary)
    return reduced(matrix, width, seed, None if fit_on is None else _indicators(of_fitted, vocabulary))


def _values(texts: Sequence[str]) -> list[list[str]]:
    return [sorted({v.strip() for v in text.split(SEPARATOR)} - {""}) for text in texts]


def _indicators(rows: list[list[str]], vocabulary: dict[str, int]) -> sp.csr_array:
    known = [[vocabulary[value] for value in row if value in vocabulary] for row in rows]
    counts = np.array([len(row) for row in known])
    columns = np.array([column for row in known for column in row], dtype=np.int64)
    data = np.repeat(1 / np.sqrt(np.maximum(counts, 1)), counts).astype(np.float32)
    indptr = np.concatenate([[0], np.cumsum(counts)])
    return sp.csr_array((data, columns, indptr), shape=(len(rows), len(vocabulary)))


def number(
    texts: Sequence[str], *, width: int, seed: int, source: str, fit_on: Sequence[str] | None = None
) -> Modality:
    """One number an item to its place among the others: (n_items, at most 9) rows that sum to 1, the shares of the two
    nearest quantiles of `fit_on`, so that an outlier is no further away than the last of the others.

    Raises:
        DataError: a cell that is no number, or no number at all.
    """
    from sklearn.preprocessing import SplineTransformer

    own = _numbers(texts, source)
    fitted = own if fit_on is None else _numbers(fit_on, source)
    known = fitted[np.isfinite(fitted)]
    if not len(known):
        raise DataError(f"{source}: no item has a number")
    mask = np.isfinite(own)
    knots = np.unique(np.quantile(known, np.linspace(0, 1, KNOTS)))
    if len(knots) == 1:
        return Modality(mask.astype(np.float32)[:, None], mask)
    splines = SplineTransformer(degree=1, knots=knots[:, None], extrapolation="constant").fit(known[:, None])
    features = splines.transform(np.where(mask, own, known[0])[:, None]).astype(np.float32)
    features[~mask] = 0
    return Modality(np.ascontiguousarray(features), mask)


def _numbers(texts: Sequence[str], source: str) -> np.ndarray:
    """(n,) float64, NaN for an empty cell."""
    values = floats(pd.Series(texts, dtype=object))
    bad = ~np.isfinite(values) & np.array([text.strip() != "" for text in texts], dtype=bool)
    if bad.any():
        raise DataError(f"{source}: '{texts[int(np.argmax(bad))]}' is not a finite number")
    return values


def vector(
    texts: Sequence[str], *, width: int, seed: int, source: str, fit_on: Sequence[str] | None = None
) -> Modality:
    """JSON lists of numbers, all of one length, as they are; a row of zeros, or an empty cell, counts as missing.

    Raises:
        DataError: a cell that is no list of numbers, or of another length than the others.
    """
    rows = [_vector(text, source) for text in texts]
    lengths = [len(row) for row in rows if row] or [
        len(row) for row in (_vector(text, source) for text in fit_on or ()) if row
    ]
    if not lengths:
        raise DataError(f"{source}: no item has a vector; expected lists of numbers")
    length = lengths[0]
    if odd := next((n for n in lengths if n != length), None):
        raise DataError(f"{source}: a vector has {odd} numbers, others have {length}; expected one length")
    features = np.array([row or [0.0] * length for row in rows], dtype=np.float32).reshape(len(rows), length)
    return Modality(features, np.asarray(features.any(axis=1)))


def _vector(text: str, source: str) -> list[float]:
    if not text.strip():
        return []
    try:
        values = json.loads(text)
        finite = isinstance(values, list) and np.isfinite(np.array(values, dtype=np.float64)).all()
    except (ValueError, TypeError):
        finite = False
    if not finite:
        raise DataError(f"{source}: '{text[:40]}' is not a list of finite numbers, such as [0.1, 0.7]")
    return values
