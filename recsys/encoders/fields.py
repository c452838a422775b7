"""Columns of attributes and of times as content: what a model reads beside the modalities."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import scipy.sparse as sp

from recsys.datasets.checks import floats
from recsys.datasets.dataset import Modality
from recsys.errors import UserError, nearest

if TYPE_CHECKING:
    from recsys.inputs.training_data import TrainingData

CATEGORIES = 32
"""A column of no more values than this is categorical, also where they are numbers."""
KNOTS = 16
RARE = 3
"""A word that fewer rows than this hold is left out: nothing could be learned of it."""
HOURS, DAYS = 24, 7


class Words:
    """A column's words, or its categories, as rows of ones and zeros; the vocabulary is that of `column`."""

    def __init__(self, column: pd.Series):
        counts = Counter(word for text in column for word in dict.fromkeys(_words(text)))
        self.vocabulary = {w: n for n, w in enumerate(sorted(w for w, c in counts.items() if c >= RARE))}

    @classmethod
    def known(cls, words: Sequence[str]) -> Words:
        """With this vocabulary, in this order."""
        made = object.__new__(cls)
        made.vocabulary = {word: n for n, word in enumerate(words)}
        return made

    def __len__(self) -> int:
        return len(self.vocabulary)

    def __call__(self, column: pd.Series) -> Modality:
        """A row without any known word lacks the field."""
        known = [sorted({self.vocabulary[w] for w in _words(t) if w in self.vocabulary}) for t in column]
        lengths = np.array([len(f) for f in known], dtype=np.int64)
        indices = np.array([w for f in known for w in f], dtype=np.int32)
        indptr = np.concatenate([[0], np.cumsum(lengths)])
        ones = np.ones(len(indices), dtype=np.float32)
        return Modality(sp.csr_array((ones, indices, indptr), shape=(len(column), len(self))), lengths > 0)


class Numbers:
    """A number as its place between the two nearest of at most 16 knots, which are quantiles of `column`."""

    def __init__(self, column: pd.Series):
        values = floats(column)
        values = values[np.isfinite(values)]
        self.knots = np.unique(np.quantile(values, np.linspace(0, 1, KNOTS)))

    @classmethod
    def known(cls, knots: np.ndarray) -> Numbers:
        """With these knots, in ascending order."""
        made = object.__new__(cls)
        made.knots = np.asarray(knots)
        return made

    def __len__(self) -> int:
        return len(self.knots)

    def __call__(self, column: pd.Series) -> Modality:
        """Numbers beyond the outer knots count as these; a row without a number lacks the field."""
        values = floats(column)
        known = np.isfinite(values)
        place = np.interp(np.where(known, values, self.knots[0]), self.knots, np.arange(len(self)))
        rows = np.maximum(0, 1 - np.abs(place[:, None] - np.arange(len(self)))) * known[:, None]
        return Modality(rows.astype(np.float32), known)


class Codes:
    """Whole numbers in two ways side by side: as `Numbers`, and as categories, of the values that enough rows hold.

    A number may be a quantity, such as a year, or a code, whose neighbours have nothing in common with it: knots alone
    make one of a hundred categories look like the next six.
    """

    def __init__(self, column: pd.Series):
        self.numbers, self.categories = Numbers(column), Words(_whole_texts(column))

    def __len__(self) -> int:
        return len(self.numbers) + len(self.categories)

    def __call__(self, column: pd.Series) -> Modality:
        """A row without a number lacks the field."""
        numbers, categories = self.numbers(column), self.categories(_whole_texts(column))
        sides = [sp.csr_array(numbers.features), sp.csr_array(categories.features)]
        return Modality(sp.csr_array(sp.hstack(sides)), numbers.mask)


class AttributeFields:
    """The columns of a frame that say something, each with how it is read.

    What there is to read, the vocabulary of a column of words and the knots of one of numbers, is learned on some
    rows alone. An item's `title` is left out: its words are a modality's business.

    Args:
        frame: one row for each user or item.
        learned_on: (n,) bool, the rows to learn from.
        names: columns to read; empty: all that have anything to say.
        noun: "user" or "item", for the error.
        codes: read whole numbers as categories too.

    Raises:
        UserError: a column that is not there.
    """

    def __init__(
        self,
        frame: pd.DataFrame,
        learned_on: np.ndarray,
        names: Sequence[str],
        noun: str,
        codes: bool = False,
    ):
        for name in names:
            if name not in frame:
                raise UserError(f"there is no {noun} attribute '{name}'{nearest(name, list(frame))}")
        self.coders: dict[str, Words | Numbers | Codes] = {}
        for name in names or [c for c in frame if c != "title"]:
            coder = _coder(frame[name][learned_on], codes)
            if len(coder) > 1:
                self.coders[str(name)] = coder

    def __iter__(self):
        return iter(self.coders)

    def read(self, frame: pd.DataFrame | None, n: int) -> dict[str, Modality]:
        """Each field's rows; a column that the frame lacks is missing for all n rows."""
        return read_fields(self.coders, frame, n)


def read_fields(
    coders: Mapping[str, Words | Numbers | Codes], frame: pd.DataFrame | None, n: int
) -> dict[str, Modality]:
    """As `AttributeFields.read`, by coders that are there already."""
    frame = pd.DataFrame(index=range(n)) if frame is None else frame
    empty = pd.Series([""] * n)
    return {name: code(frame.get(name, empty)) for name, code in coders.items()}


def _coder(column: pd.Series, codes: bool) -> Words | Numbers | Codes:
    filled = column[column.notna() & (column.astype(str) != "")]
    numeric = floats(filled)
    number = len(filled) > 0 and not np.isnan(numeric).any() and len(np.unique(numeric)) > CATEGORIES
    if not number:
        return Words(filled)
    return Codes(filled) if codes and (numeric == np.round(numeric)).all() else Numbers(filled)


def _whole_texts(column: pd.Series) -> pd.Series:
    """Whole numbers as texts that are equal where the numbers are; others as none."""
    values = floats(column)
    return pd.Series(["" if not np.isfinite(v) or v % 1 else str(int(v)) for v in values])


def _words(text: object) -> list[str]:
    return [] if pd.isna(text) else str(text).split()


def time_fields(seconds: np.ndarray) -> Mapping[str, np.ndarray]:
    """Hour of the day (0 to 23) and day of the week (0 is Monday), int64, of times in seconds since 1970, UTC."""
    hours = np.floor_divide(seconds, 3600).astype(np.int64)
    return {"hour": hours % HOURS, "weekday": (hours // HOURS + 3) % DAYS}


def context_fields(data: TrainingData, wanted: bool | None) -> Mapping[str, np.ndarray] | None:
    """`time_fields` of the training interactions; None where they are not wanted, or there are no timestamps.

    Args:
        wanted: None: where there are timestamps.

    Raises:
        UserError: they are wanted, and there are none.
    """
    times = None if wanted is False else data.use_timestamps("context")
    if wanted and times is None:
        raise UserError(
            "context=true needs interactions with timestamps, and this data set has none; leave it out"
        )
    return None if times is None else time_fields(times)
