"""Who is ranked for and what is ranked, where some of it arrived after training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
import scipy.sparse as sp

from recsys.datasets.dataset import Modality


@dataclass(frozen=True, eq=False)
class QueryUsers:
    """m users to rank for.

    Attributes:
        numbers: (m,) int64, a training user's number; -1 for a user whom training has not seen.
        history: (m, n_items) float32 CSR of ones, what each is known to like of the catalogue.
        attributes: m rows with the data set's user attributes; no rows where it has none.
    """

    numbers: np.ndarray
    history: sp.csr_array
    attributes: pd.DataFrame

    def __len__(self) -> int:
        return len(self.numbers)

    def rows(self, places: np.ndarray) -> QueryUsers:
        """The users at `places`."""
        attributes = self.attributes.iloc[places] if len(self.attributes) else self.attributes
        return QueryUsers(self.numbers[places], self.history[places], attributes)


@dataclass(frozen=True, eq=False)
class NewItems:
    """n items that arrived after training: what is known of them is their content.

    Attributes:
        ids: (n,) str raw ids.
        modalities: every modality of the data set, n rows each; all masked where nothing was given.
        attributes: n rows with the data set's item attributes; no rows where it has none.
    """

    ids: np.ndarray
    modalities: Mapping[str, Modality]
    attributes: pd.DataFrame

    def __len__(self) -> int:
        return len(self.ids)
