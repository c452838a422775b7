"""Batches of (user, positive, negatives), drawn without a Python loop over users."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch

from recsys.inputs.training_data import TrainingData
from recsys.memory import CACHED

MAX_REDRAWS = 100
"""A user who has nearly every item keeps a colliding negative after so many draws rather than hang."""


@dataclass(frozen=True)
class Batch:
    """One step's triples.

    Attributes:
        users, positives: (b,) int64.
        negatives: (b, n) int64, warm items that the user has no training interaction with.
        whole: triples of the step, where these are one process's share of them; 0: these are all.
        weight: what the mean over these triples counts for in the mean over the step's.
    """

    users: torch.Tensor
    positives: torch.Tensor
    negatives: torch.Tensor
    whole: int = 0
    weight: float = 1.0

    @property
    def size(self) -> int:
        """Triples of the step."""
        return self.whole or len(self.users)

    def to(self, device: torch.device | str) -> Batch:
        """The same batch on `device`."""
        parts = {name: getattr(self, name).to(device) for name in ("users", "positives", "negatives")}
        return replace(self, **parts)

    def share(self, rank: int, of: int) -> Batch:
        """Every `of`-th triple, from number `rank` on. Where none is left it is the first one, of weight 0: a
        mean over nothing is not a number."""
        counted = len(self.users[rank::of])
        rows = slice(rank, None, of) if counted else slice(0, 1)
        parts = self.users[rows], self.positives[rows], self.negatives[rows]
        return Batch(*parts, whole=len(self.users), weight=counted / len(self.users))


class Sampler:
    """Draws an epoch's batches; the same (seed, epoch) gives the same batches.

    Negatives are uniform over the warm items that the user has not interacted with: an item without training
    interactions is never pushed away, so that its place rests on content alone.

    A batch's rows come in the order of its users where the interactions are more than caches hold: whatever is looked
    up by user, from the known pairs to the users' vectors, then lies side by side. A loss is a mean over the rows.

    Args:
        data: the training data; what the sampler touches is recorded there.
        batch_size: triples a batch.
        negatives: negatives for each positive.
        seed: base seed.
        by: "pairs" visits every training interaction once an epoch; "users" draws, for each of
            ceil(interactions / batch_size) batches, users without replacement and one of their items each;
            "rows" visits every user once an epoch, with one of its items.
    """

    def __init__(self, data: TrainingData, batch_size: int, negatives: int, seed: int, by: str = "pairs"):
        csr = data.interactions
        self._users = torch.from_numpy(np.repeat(np.arange(data.n_users), np.diff(csr.indptr)))
        self._items = torch.from_numpy(csr.indices.astype(np.int64))
        self._starts = torch.from_numpy(csr.indptr.astype(np.int64))
        self._keys = self._users * data.n_items + self._items
        self._pool = torch.from_numpy(np.flatnonzero(data.warm_items))
        self._active = torch.from_numpy(np.flatnonzero(data.warm_users))
        self._n_items, self._batch_size, self._negatives = data.n_items, batch_size, negatives
        self._seed, self._by = seed, by
        self._sorted = self._keys.nbytes > CACHED
        pool = np.zeros(data.n_items, dtype=bool)
        pool[self._pool.numpy()] = True
        data.ledger.record("sampler", "positives", data.warm_users, data.warm_items)
        data.ledger.record("sampler", "negatives", None, pool)

    def __len__(self) -> int:
        visited = len(self._active if self._by == "rows" else self._users)
        return -(-visited // self._batch_size)

    def epoch(self, epoch: int) -> Iterator[Batch]:
        """The batches of one epoch, in order."""
        generator = torch.Generator().manual_seed(derived_seed(self._seed, epoch))
        for rows in self._positive_rows(generator):
            if self._sorted:
                rows = torch.from_numpy(np.sort(rows.numpy()))
            users = self._users[rows]
            yield Batch(users, self._items[rows], self._draw_negatives(users, generator))

    def _positive_rows(self, generator: torch.Generator) -> Iterator[torch.Tensor]:
        if self._by == "pairs":
            yield from torch.randperm(len(self._users), generator=generator).split(self._batch_size)
            return
        order = torch.randperm(len(self._active), generator=generator)
        for step in range(len(self)):
            if self._by == "rows":
                users = self._active[order[step * self._batch_size : (step + 1) * self._batch_size]]
            else:
                order = torch.randperm(len(self._active), generator=generator) if step else order
                users = self._active[order[: self._batch_size]]
            first, last = self._starts[users], self._starts[users + 1]
            offset = torch.rand(len(users), generator=generator, dtype=torch.float64) * (last - first)
            yield first + offset.long()

    def _draw_negatives(self, users: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        users = users.repeat_interleave(self._negatives)
        drawn = self._pool[torch.randint(len(self._pool), (len(users),), generator=generator)]
        redo = self._collides(users, drawn).nonzero().squeeze(1)
        for _ in range(MAX_REDRAWS):
            if not len(redo):
                break
            drawn[redo] = self._pool[torch.randint(len(self._pool), (len(redo),), generator=generator)]
            redo = redo[self._collides(users[redo], drawn[redo])]
        return drawn.view(-1, self._negatives)

    def _collides(self, users: torch.Tensor, items: torch.Tensor) -> torch.Tensor:
        keys = users * self._n_items + items
        place = torch.searchsorted(self._keys, keys).clamp_(max=len(self._keys) - 1)
        return self._keys[place] == keys


def visited(data: TrainingData, by: str) -> int:
    """How many rows an epoch of a sampler visits: users with an interaction where they are visited by "rows", else
    interactions."""
    return int(np.count_nonzero(data.warm_users)) if by == "rows" else data.interactions.nnz


def derived_seed(seed: int, number: int) -> int:
    """A seed of its own for one epoch, so that a resumed run draws what it would have drawn, or for one member."""
    return int(np.random.SeedSequence([seed, number]).generate_state(1, np.uint64)[0] >> 1)
