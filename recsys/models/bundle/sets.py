"""Rows of items as padded sets, and their division into what is given and what is to be found."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from recsys.errors import UserError


class Sets(NamedTuple):
    """A block of item sets.

    Attributes:
        items: (b, length) int64 item numbers, 0 where `present` is False.
        present: (b, length) bool.
    """

    items: Tensor
    present: Tensor

    @property
    def counts(self) -> Tensor:
        """(b,) int64: items of each set."""
        return self.present.sum(1)

    def pairs(self, chosen: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Row and item number of each entry that is present (and chosen)."""
        rows, places = (self.present if chosen is None else self.present & chosen).nonzero(as_tuple=True)
        return rows, self.items[rows, places]

    def without(self, dropped: Tensor) -> Sets:
        """The sets less the entries that are True in `dropped`."""
        present = self.present & ~dropped
        return Sets(self.items * present, present)


def padded(rows: sp.csr_array, limit: int, names: np.ndarray | None = None) -> Sets:
    """The items of each row of a CSR.

    Raises:
        UserError: a row holds more items than `limit`; nothing is cut silently.
    """
    counts = np.diff(rows.indptr)
    longest = int(counts.max(initial=0))
    if longest > limit:
        at = int(counts.argmax())
        raise UserError(
            f"row {at if names is None else names[at]} holds {longest} items, more than max_length={limit}; "
            f"raise it with --set max_length={longest}"
        )
    present = np.arange(max(longest, 1)) < counts[:, None]
    items = np.zeros(present.shape, dtype=np.int64)
    items[present] = rows.indices
    return Sets(torch.from_numpy(items), torch.from_numpy(present))


def to_rows(sets: Sets, n_items: int) -> sp.csr_array:
    """(b, n_items) CSR of ones."""
    rows, items = (t.cpu().numpy() for t in sets.pairs())
    shape = (len(sets.items), n_items)
    return sp.csr_array(sp.coo_array((np.ones(len(rows), dtype=np.float32), (rows, items)), shape=shape))


def draw_given(sets: Sets, generator: torch.Generator, ratio: float | None = None) -> Tensor:
    """(b, length) bool: a random part of each set, at least one item and, of two or more, not all.

    Args:
        ratio: share of the items kept, round(ratio n + 1/2) of n as in CLHE; None draws their number uniformly.
    """
    noise = torch.rand(sets.items.shape, generator=generator).masked_fill(~sets.present.cpu(), 2.0)
    order = noise.argsort(1).argsort(1)
    counts = sets.counts.cpu()
    if ratio is None:
        kept = 1 + (torch.rand(len(counts), generator=generator) * (counts - 1)).floor()
    else:
        kept = (ratio * counts + 0.5).round().clamp(min=1)
    kept = torch.minimum(kept, (counts - 1).clamp(min=1))
    return (order < kept[:, None]).to(sets.present.device) & sets.present
