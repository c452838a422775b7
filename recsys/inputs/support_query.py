"""Users' training interactions divided into what is given of them and what is asked for, anew in each step."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor, nn


class SupportQuery(NamedTuple):
    """The training interactions of some users, one user's after another's; (p,) each.

    Attributes:
        rows: int64, whose each is: a place among the users asked about.
        places: int64, its place among all training interactions.
        items: int64, its item.
        given: bool, True where it is history, False where it is to be found.
    """

    rows: Tensor
    places: Tensor
    items: Tensor
    given: Tensor


class SupportQuerySampler(nn.Module):
    """Gives a share of each user's items, the square of a uniform number: often few of them, at times none.

    Of a user known to the model these are any items; of a new user the first ones, where there are times: what
    somebody who arrives brings along is not a random part of what they will take.

    Args:
        interactions: (n_users, n_items) CSR, the training interactions.
        timestamps: (nnz,) in the order of its entries; None where there are none.
        seed: of the order of simultaneous interactions.
    """

    starts: Tensor
    items: Tensor
    early: Tensor | None

    def __init__(self, interactions: sp.csr_array, timestamps: np.ndarray | None, seed: int):
        super().__init__()
        starts, nnz = interactions.indptr.astype(np.int64), interactions.nnz
        self.register_buffer("starts", torch.from_numpy(starts), persistent=False)
        items = torch.from_numpy(interactions.indices.astype(np.int64))
        self.register_buffer("items", items, persistent=False)
        early = None
        if timestamps is not None:
            counts = np.diff(starts)
            owner = np.repeat(np.arange(len(counts)), counts)
            order = np.lexsort((np.random.default_rng(seed).random(nnz), timestamps, owner))
            rank = np.empty(nnz)
            rank[order] = np.arange(nnz) - starts[:-1][owner[order]]
            early = torch.from_numpy(((rank + 1) / counts[owner]).astype(np.float32))
        self.register_buffer("early", early, persistent=False)

    def forward(self, users: Tensor, new_users: Tensor, drawn: tuple[Tensor, Tensor]) -> SupportQuery:
        """The users' support/query draw.

        Args:
            users: (b,) int64.
            new_users: (b,) bool.
            drawn: (b,) and (p,) uniform numbers in [0, 1), p the users' interactions, `size(users)`.
        """
        starts, counts = self.starts[users], self.starts[users + 1] - self.starts[users]
        rows = torch.repeat_interleave(torch.arange(len(users), device=users.device), counts)
        first = torch.repeat_interleave(starts - (counts.cumsum(0) - counts), counts)
        places = first + torch.arange(len(rows), device=users.device)
        share, order = drawn[0].square()[rows], drawn[1]
        if self.early is not None:
            order = torch.where(new_users[rows], self.early[places], order)
        return SupportQuery(rows, places, self.items[places], order < share)

    def size(self, users: Tensor) -> int:
        """The users' interactions in all."""
        return int((self.starts[users + 1] - self.starts[users]).sum())
