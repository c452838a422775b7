"""Columns of categories, numbers and vectors to item features."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterable, Sequence
from typing import Annotated, Any

import numpy as np
import pandas as pd
import scipy.sparse as sp

from recsys.datasets.checks import floats, whole_numbers
from recsys.datasets.content.encoder import encoder
from recsys.datasets.content.features import reduced
from recsys.datasets.dataset import Modality
from recsys.errors import DataError

SEPARATOR = "|"
"""Between the values of one cell, where a card names no other."""
Separator = Annotated[str, "between the values of one cell"]
LONGEST_LIST = 100_000
"""Characters of a cell that may be a list."""
KNOTS = 9
AMOUNT = re.compile(r"\D{0,4}?\s*([+-]?\d{1,3}(?:,\d{3})+(?:\.\d+)?|[+-]?\d+(?:\.\d+)?)\s*\D{0,4}")
"""A number with a currency before or behind it, and perhaps commas between its thousands."""


def cells(column: pd.Series, separator: str = SEPARATOR) -> list[str]:
    """A column as encoders take it: text, "" where there is nothing; lists of numbers as JSON, of others joined by
    `separator`; whole numbers beside empty cells stay whole."""
    return [_cell(value, separator) for value in whole_numbers(column)]


def flat(values: Iterable[Any]) -> list[Any]:
    """A list's values, and those of lists in it, such as the steps of several paths, each once.

    Example:
        >>> flat([["Beauty", "Hair"], ["Beauty", "Nails"]]), flat([8, 8])
        (['Beauty', 'Hair', 'Nails'], [8, 8])
    """
    values = list(values)
    if not any(isinstance(one, (list, tuple)) for one in values):
        return values
    inner = [one if isinstance(one, (list, tuple)) else [one] for one in values]
    return list({str(value): value for one in inner for value in one}.values())


def _cell(value: object, separator: str) -> str:
    if isinstance(value, (list, tuple, np.ndarray)):
        values = flat(value)
        if values and all(isinstance(v, (int, float, np.number)) for v in values):
            return json.dumps([float(v) for v in values])
        return separator.join(str(v) for v in values)
    return "" if value is None or pd.isna(value) else str(value)


@encoder(width="at most `width`", revision="3", weights="none: the catalogue's values")
def category(
    texts: Sequence[str],
    *,
    width: int,
    seed: int,
    source: str,
    fit_on: Sequence[str] | None = None,
    separator: Separator = SEPARATOR,
) -> Modality:
    """Values separated by `separator`, or in a list such as "['a', 'b']", to (n_items, at most `width`) rows of unit
    length, with a column for each value, reduced by a truncated SVD where there are more values than that. Values that
    `fit_on` does not have count as none.

    Raises:
        DataError: no cell holds a value.
    """
    matrix, fitted = _matrices(texts, fit_on, separator, source)
    return reduced(_unit(matrix), width, seed, None if fitted is None else _unit(fitted))


@encoder(width="at most `width`", revision="3", weights="none: the catalogue's facts")
def facts(
    texts: Sequence[str],
    *,
    width: int,
    seed: int,
    source: str,
    fit_on: Sequence[str] | None = None,
    separator: Separator = SEPARATOR,
) -> Modality:
    """Statements on items, such as those of a knowledge graph, to (n_items, at most `width`) rows: the binary matrix of
    items and facts, reduced by a truncated SVD; an item of many facts has a longer row than one of few. Facts that
    `fit_on` does not have count as none.

    Raises:
        DataError: no item has a fact.
    """
    matrix, fitted = _matrices(texts, fit_on, separator, source)
    return reduced(matrix, width, seed, fitted)


def _matrices(
    texts: Sequence[str], fit_on: Sequence[str] | None, separator: str, source: str
) -> tuple[sp.csr_array, sp.csr_array | None]:
    """Items x values, 1 where an item has it: of `texts`, and of `fit_on` where that is another catalogue."""
    of_fitted = _values(texts if fit_on is None else fit_on, separator)
    vocabulary = {value: column for column, value in enumerate(sorted({v for row in of_fitted for v in row}))}
    if not vocabulary:
        raise DataError(f"{source}: no item has a value; expected values separated by '{separator}'")
    matrix = _indicators(_values(texts, separator), vocabulary)
    return matrix, None if fit_on is None else _indicators(of_fitted, vocabulary)


def _values(texts: Sequence[str], separator: str) -> list[list[str]]:
    return [sorted(set(values_of(text, separator))) for text in texts]


def values_of(cell: str, separator: str = SEPARATOR) -> list[str]:
    """The values in a cell: those between the separators, or those of a list as JSON and Python write it.

    Example:
        >>> values_of("Drama | War"), values_of("['60 minutes', 'dinner']"), values_of("[8, 27]")
        (['Drama', 'War'], ['60 minutes', 'dinner'], ['8', '27'])
    """
    read = as_list(cell)
    listed: Sequence[object] = cell.split(separator) if read is None else read
    return [value for one in listed if (value := _written(one))]


def as_list(cell: str) -> list[object] | None:
    """The texts and numbers of a list as JSON and Python write it, perhaps of lists; None of a cell that holds no such
    list."""
    text = cell.strip()
    if not (text.startswith("[") and text.endswith("]") and len(text) < LONGEST_LIST):
        return None
    try:
        values = ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return None
    values = flat(values) if isinstance(values, list) else [None]
    return values if all(isinstance(v, (str, int, float)) for v in values) else None


def _written(value: object) -> str:
    """A value as text; a whole number without its point."""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value).strip()


def _unit(matrix: sp.csr_array) -> sp.csr_array:
    """Rows of ones scaled to unit length."""
    counts = np.diff(matrix.indptr)
    matrix = matrix.copy()
    matrix.data = np.repeat(1 / np.sqrt(np.maximum(counts, 1)), counts).astype(np.float32)
    return matrix


def _indicators(rows: list[list[str]], vocabulary: dict[str, int]) -> sp.csr_array:
    known = [[vocabulary[value] for value in row if value in vocabulary] for row in rows]
    counts = np.array([len(row) for row in known])
    columns = np.array([column for row in known for column in row], dtype=np.int64)
    data = np.ones(len(columns), dtype=np.float32)
    indptr = np.concatenate([[0], np.cumsum(counts)])
    return sp.csr_array((data, columns, indptr), shape=(len(rows), len(vocabulary)))


@encoder(width="at most 9", revision="1", weights="none: the catalogue's quantiles")
def number(
    texts: Sequence[str], *, width: int, seed: int, source: str, fit_on: Sequence[str] | None = None
) -> Modality:
    """One number an item to its place among the others: (n_items, at most 9) rows that sum to 1, the shares of the two
    nearest quantiles of `fit_on`, so that an outlier is no further away than the last of the others. Prices such as
    "$1,299.00" or "9.50 EUR" are numbers.

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
    values = floats(pd.Series([_amount(text) for text in texts], dtype=object))
    bad = ~np.isfinite(values) & np.array([text.strip() != "" for text in texts], dtype=bool)
    if bad.any():
        raise DataError(f"{source}: '{texts[int(np.argmax(bad))]}' is not a finite number")
    return values


def _amount(text: str) -> str:
    """The number of a price."""
    match = AMOUNT.fullmatch(text.strip())
    return match[1].replace(",", "") if match else text


@encoder(width="the vectors' own", weights="none: the vectors as they are")
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
