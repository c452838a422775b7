"""Raw ids to row numbers, by arrays that can be mapped into memory."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np

from recsys.errors import UserError, nearest


class Ids(NamedTuple):
    """Raw ids in the order of their rows.

    Attributes:
        names: (n,) str.
        order: (n,) int64 that sorts `names`.
        noun: "user" or "item", for messages.
        of: the data set's name, for messages.
    """

    names: np.ndarray
    order: np.ndarray
    noun: str
    of: str

    @classmethod
    def made_of(cls, names: np.ndarray, noun: str, of: str) -> Ids:
        """Ids that are looked up by a sorted order."""
        return cls(names, np.argsort(names, kind="stable"), noun, of)

    def rows(self, wanted: Iterable[Any]) -> np.ndarray:
        """(m,) int64, -1 where there is no such id.

        Example:
            >>> Ids.made_of(np.array(["b", "a"]), "item", "shop").rows(["a", "c"]).tolist()
            [1, -1]
        """
        # Trailing NULs, which NumPy drops, are in no id.
        asked = [str(one) for one in wanted]
        keys = np.array([one.rstrip("\0") for one in asked], dtype=str)
        if not len(self.names) or not len(keys):
            return np.full(len(keys), -1)
        places = np.empty(len(keys), dtype=np.int64)
        if len(keys) < 1000:  # ids are looked at, not the whole array sorted anew
            for number, key in enumerate(keys):
                places[number] = self._bisect(key)
        else:
            places = np.searchsorted(self.names, keys, sorter=self.order)
        rows = np.asarray(self.order)[np.minimum(places, len(self.names) - 1)]
        same = np.asarray(self.names)[rows] == keys
        same &= np.array([one == one.rstrip("\0") for one in asked])
        return np.where(same, rows, -1)

    def _bisect(self, key: str) -> int:
        low, high = 0, len(self.order)
        while low < high:
            middle = (low + high) // 2
            if self.names[self.order[middle]] < key:
                low = middle + 1
            else:
                high = middle
        return low

    def known(self, wanted: Iterable[Any]) -> np.ndarray:
        """As `rows`.

        Raises:
            UserError: there is no such id.
        """
        wanted = [str(one) for one in wanted]
        rows = self.rows(wanted)
        if (rows < 0).any():
            unknown = wanted[int(np.argmax(rows < 0))]
            raise UserError(f"'{self.of}' has no {self.noun} '{unknown}'{nearest(unknown, self.names)}")
        return rows
