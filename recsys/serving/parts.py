"""What scores are made of once a model is trained: arrays and how they are put together, without torch.

Each part is what one scorer of `recsys.evaluation.scorers` computes, for users of the bundle by their row and for
anybody by a history. Its fields are all that there is to keep of it (`recsys.serving.arrays` writes and reads them).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, ClassVar, NamedTuple, TypeAlias

import numpy as np
import scipy.sparse as sp

from recsys.errors import UserError
from recsys.inputs.content import below, unit_rows, without_content
from recsys.inputs.requests import NewItems
from recsys.serving.cold import Bank, Cold, Hyperedges, Kernel, Neighbours, Resembling, Scaled, Spherical
from recsys.serving.fold_in import Beside, FoldIn, LeastSquares, Pooled, UserEncoder

LOWEST = float(np.finfo(np.float32).min)
"""Score of an item that the model cannot score: below every score, above the masked items (-inf)."""
Matrix: TypeAlias = np.ndarray | sp.csr_array


class Query(NamedTuple):
    """b users to score items for.

    Attributes:
        rows: (b,) int64 rows of the bundle's users; -1 for somebody whom it does not know.
        history: (b, n_items) CSR of ones, what each is known to like.
        before: (b, n_items) CSR, the part of it that training came with.

    `n_items` are those of training: what stands behind them, a bundle was given later and knows by content alone.
    """

    rows: np.ndarray
    history: sp.csr_array
    before: sp.csr_array

    @property
    def changed(self) -> np.ndarray:
        """(b,) bool: the bundle's users who took something since."""
        return (self.rows >= 0) & (np.diff(self.history.indptr) != np.diff(self.before.indptr))


class Part:
    """One way to scores.

    Attributes:
        linear: a user's scores are the sum of those of their items, one by one.
    """

    linear: ClassVar[bool] = False

    def scores(self, query: Query) -> np.ndarray:
        """(b, n) float32, a fresh array; n counts new items, which stand behind the catalogue's."""
        raise NotImplementedError

    def with_items(self, new: NewItems, bank: Bank) -> Part:
        """This part with new items behind those that it has, each placed by the items of training alone: it is all
        the same whether they come at once or one after another.

        Raises:
            UserError: it cannot rank new items.
        """
        raise UserError("this model cannot rank new items: it does not read content")


@dataclass(frozen=True)
class Vectors(Part):
    """Inner products. A user whom the bundle knows and who took more since moves by what the fold-in moves.

    Attributes:
        users: (n_users, d) float32.
        items: (n_items, d) float32; new ones below.
        fold_in: for histories.
        cold: how new items are placed; None where they cannot be.
    """

    users: np.ndarray
    items: np.ndarray
    fold_in: UserEncoder
    cold: Cold | None = None

    def user_rows(self, query: Query) -> np.ndarray:
        """(b, d) float32."""
        rows = np.asarray(self.users[np.maximum(query.rows, 0)])
        changed = np.flatnonzero(query.changed)
        if len(changed):
            moved = self.fold_in(query.history[changed]) - self.fold_in(query.before[changed])
            rows[changed] += moved
        if len(new := np.flatnonzero(query.rows < 0)):
            rows[new] = self.fold_in(query.history[new])
        return rows

    def scores(self, query: Query) -> np.ndarray:
        return self.user_rows(query) @ self.items.T

    def with_items(self, new: NewItems, bank: Bank) -> Part:
        if self.cold is None:
            return super().with_items(new, bank)
        return replace(self, items=np.concatenate([self.items, self.cold.place(new, bank)]))


@dataclass(frozen=True)
class History(Part):
    """Sums of item-item weights over a history. `weights` is (n_items, n_items); row i holds what item i adds."""

    weights: Matrix
    linear: ClassVar[bool] = True

    def scores(self, query: Query) -> np.ndarray:
        return _dense(query.history @ self.weights)

    def with_items(self, new: NewItems, bank: Bank) -> Part:
        """With nothing to say of new items: a part around this one places them (`Joined`), or they score 0."""
        if not sp.issparse(self.weights):
            return super().with_items(new, bank)
        wider = sp.csr_array(self.weights, copy=True)
        wider.resize(wider.shape[0], wider.shape[1] + len(new))
        return History(wider)


@dataclass(frozen=True)
class Factored(Part):
    """As `History`, of weights I + down up that are kept as two sparse factors, (n_items, n_items) CSR."""

    down: sp.csr_array
    up: sp.csr_array
    linear: ClassVar[bool] = True

    def scores(self, query: Query) -> np.ndarray:
        return _dense(query.history + (query.history @ self.down) @ self.up)


@dataclass(frozen=True)
class Nearest(Part):
    """Sums of an item's cosines to its nearest training items, over a history.

    Attributes:
        near: (n_items, n_items) CSR, row i the cosines of item i to its nearest.
        name, k: by which modality, and how many.
    """

    near: sp.csr_array
    name: str
    k: int
    linear: ClassVar[bool] = True

    @cached_property
    def _weights(self) -> sp.csr_array:
        return sp.csr_array(self.near.T)

    def scores(self, query: Query) -> np.ndarray:
        return _dense(query.history @ self._weights)

    def with_items(self, new: NewItems, bank: Bank) -> Part:
        from recsys.graphs.knn import knn, neighbour_graph

        queries, base = new.modalities[self.name], bank.modalities[self.name]
        masks = {"query_mask": queries.mask, "base_mask": np.asarray(base.mask) & bank.warm}
        rows, others = unit_rows(queries.features), unit_rows(base.features)
        graph = neighbour_graph(*knn(rows, others, self.k, **masks), len(bank.warm))
        return replace(self, near=below(self.near, sp.csr_array(graph)))


@dataclass(frozen=True)
class Content(Part):
    """Similarities of content to what a history adds up to: scale * sum_m (h matrix seen_m) every_m^T.

    Attributes:
        names, factors: the modalities, and what multiplies their unit rows.
        seen: of each, (w, width), what an item of the history adds.
        every: of each, (n, width), the items ranked.
        columns: (w,) the items of a history that count; None: all.
        matrix: (w, w) between them; None: it is in `seen` already.
        scale: (n,) factor of each item's scores; None: 1.
    """

    names: list[str]
    factors: list[float]
    seen: list[Matrix]
    every: list[Matrix]
    columns: np.ndarray | None = None
    matrix: np.ndarray | None = None
    scale: np.ndarray | None = None
    linear: ClassVar[bool] = True

    def scores(self, query: Query) -> np.ndarray:
        history = query.history if self.columns is None else query.history[:, self.columns]
        if self.matrix is not None:
            history = history @ self.matrix
        total: Any = 0
        for seen, every in zip(self.seen, self.every, strict=True):
            total = total + _dense(every @ _dense((history @ seen).T)).T
        made = np.ascontiguousarray(total, dtype=np.float32)
        return made if self.scale is None else made * self.scale

    def with_items(self, new: NewItems, bank: Bank) -> Part:
        rows = [
            np.float32(f) * unit_rows(new.modalities[m].features)
            for m, f in zip(self.names, self.factors, strict=True)
        ]
        every = [below(old, more) for old, more in zip(self.every, rows, strict=True)]
        scale = None if self.scale is None else np.append(self.scale, np.ones(len(new), np.float32))
        return replace(self, every=every, scale=scale)


@dataclass(frozen=True)
class Walk(Part):
    """Where a history gets to in some steps item - user - item.

    Attributes:
        up, down: (n_users, n_items) and (n_items, n_users) CSR, one step's two halves.
        hops: steps.
        start: (n_items, n_items) CSR that a history reaches besides itself, times `content`; None: itself alone.
    """

    up: sp.csr_array
    down: sp.csr_array
    hops: int
    start: sp.csr_array | None
    content: float
    linear: ClassVar[bool] = True

    def scores(self, query: Query) -> np.ndarray:
        given = query.history
        if self.start is not None:
            given = given + self.content * (given @ self.start)
        # Columns of one user each: sparse while few items are reached would not pay, two steps reach most.
        values = _dense(given.T)
        for _ in range(self.hops):
            values = self.down @ (self.up @ values)
        return np.ascontiguousarray(values.T)


@dataclass(frozen=True)
class Joined(Part):
    """Another part, except for items that get averages of its other scores.

    Attributes:
        part: scores the catalogue.
        items, graph: (c,) and (c, n_items) CSR, the items and whose scores they average.
        cold: how new items find theirs.
    """

    part: Part
    items: np.ndarray
    graph: sp.csr_array
    cold: Neighbours

    @property
    def linear(self) -> bool:  # type: ignore[override]
        return self.part.linear

    def scores(self, query: Query) -> np.ndarray:
        scores = self.part.scores(query)
        n = scores.shape[1]
        joined = np.asarray((self.graph @ scores.T).T)
        beyond = int(np.count_nonzero(np.asarray(self.items) >= n))
        if beyond:
            scores = np.concatenate([scores, np.empty((len(scores), beyond), np.float32)], axis=1)
        scores[:, self.items] = joined
        return scores

    def with_items(self, new: NewItems, bank: Bank) -> Part:
        n = len(bank.warm) + np.count_nonzero(np.asarray(self.items) >= len(bank.warm))
        numbers = np.append(self.items, n + np.arange(len(new)))
        return replace(self, items=numbers, graph=below(self.graph, self.cold.graph(new, bank)))


@dataclass(frozen=True)
class Standard(Part):
    """The mean of parts' scores, each with each user's mean 0 and standard deviation 1 over the items in `counted`.

    Attributes:
        parts: of the same items.
        counted: (c,) int64 item numbers.
        reads_content: the parts rank new items; else these score lowest, and 0 where they have no content.
        modalities: those that say whether a new item has content.
        unknown: (n,) float32, of new items that the parts do not rank: 1 with content, 0 without.
    """

    parts: list[Part]
    counted: np.ndarray
    reads_content: bool
    modalities: list[str]
    unknown: np.ndarray | None = None

    def scores(self, query: Query) -> np.ndarray:
        total, lowest = self._share(self.parts[0], query)
        for part in self.parts[1:]:
            scores, low = self._share(part, query)
            total += scores
            lowest += low
        return total if self.unknown is None else np.concatenate([total, lowest * self.unknown], axis=1)

    def _share(self, part: Part, query: Query) -> tuple[np.ndarray, np.ndarray]:
        scores = part.scores(query)
        # `take`: ten times as fast here as an index of all but a few columns.
        among = scores if len(self.counted) == scores.shape[1] else scores.take(self.counted, axis=1)
        low, mean = among.min(axis=1, keepdims=True), among.mean(axis=1, keepdims=True)
        norm = np.linalg.norm(among - mean, axis=1, keepdims=True)
        std = np.maximum(norm / math.sqrt(len(self.counted)), np.finfo(np.float32).tiny)
        divisor = std * len(self.parts)
        np.maximum(scores, low, out=scores)
        scores -= mean
        scores /= divisor
        return scores, (low - mean) / divisor

    def with_items(self, new: NewItems, bank: Bank) -> Part:
        if self.reads_content:
            return replace(self, parts=[part.with_items(new, bank) for part in self.parts])
        has = ~without_content({name: new.modalities[name] for name in self.modalities}, len(new))
        before = np.empty(0, np.float32) if self.unknown is None else self.unknown
        return replace(self, unknown=np.append(before, has.astype(np.float32)))


@dataclass(frozen=True)
class Sum(Part):
    """The weighted sum of parts' scores.

    Attributes:
        weights: (p,) or (p, n) float32.
        offset: (n,) float32 added to each user's scores; None: nothing.
        new_weights, new_offset: of new items, where the catalogue's differ among themselves.
        modalities: those that say whether a new item has content, without which it gets no offset.
    """

    parts: list[Part]
    weights: np.ndarray
    offset: np.ndarray | None = None
    new_weights: np.ndarray | None = None
    new_offset: float = 0.0
    modalities: list[str] | None = None

    @property
    def linear(self) -> bool:  # type: ignore[override]
        return self.offset is None and all(part.linear for part in self.parts)

    def scores(self, query: Query) -> np.ndarray:
        total = self.parts[0].scores(query)
        total *= self.weights[0]
        for part, weight in zip(self.parts[1:], self.weights[1:], strict=True):
            scores = part.scores(query)
            scores *= weight
            total += scores
        if self.offset is not None:
            total += self.offset
        return total

    def with_items(self, new: NewItems, bank: Bank) -> Part:
        made = replace(self, parts=[part.with_items(new, bank) for part in self.parts])
        if self.new_weights is None or self.offset is None:
            return made
        more = np.repeat(np.asarray(self.new_weights)[:, None], len(new), axis=1)
        has = ~without_content({name: new.modalities[name] for name in self.modalities or []}, len(new))
        offset = np.append(self.offset, has * np.float32(self.new_offset)).astype(np.float32)
        return replace(made, weights=np.concatenate([self.weights, more], axis=1), offset=offset)


@dataclass(frozen=True)
class Rules(Part):
    """A model's scores with the rules of `Model.scorer`: what it cannot score ties below, a new item without content
    gets the mean score, and who cannot be ranked for gets the ranking by popularity.

    Attributes:
        part: the bare scores.
        cannot_score: item numbers.
        averaged: item numbers whose mean a new item without content gets.
        counts: (n,) float32 popularity.
        popular: (n_users,) bool, the bundle's users who get it; None: nobody.
        popular_without_history, serves_new_users: as the model declares.
        reads: modalities that a new item may have content in.
        without: numbers of the new items without content.
    """

    part: Part
    cannot_score: np.ndarray
    averaged: np.ndarray
    counts: np.ndarray
    popular: np.ndarray | None
    popular_without_history: bool
    serves_new_users: bool
    reads: list[str]
    without: np.ndarray | None = None

    @property
    def linear(self) -> bool:  # type: ignore[override]
        return self.part.linear

    def scores(self, query: Query) -> np.ndarray:
        scores = self.part.scores(query)
        if len(self.cannot_score):
            scores[:, self.cannot_score] = LOWEST
        if self.without is not None and len(self.without):
            # After items that cannot be scored: these are not among the averaged.
            scores[:, self.without] = scores.take(self.averaged, axis=1).mean(axis=1, keepdims=True)
        popular = self._popular(query)
        if popular.any():
            scores[popular] = self.counts
        return scores

    def _popular(self, query: Query) -> np.ndarray:
        known = query.rows >= 0
        popular = np.zeros(len(known), dtype=bool)
        if self.popular is not None:
            popular[known] = np.asarray(self.popular)[query.rows[known]]
        again = ~known | query.changed
        if self.popular_without_history:
            popular[again] = np.diff(query.history.indptr)[again] == 0
        if not self.serves_new_users:
            popular |= ~known
        return popular

    def with_items(self, new: NewItems, bank: Bank) -> Part:
        lacks = without_content({name: new.modalities[name] for name in self.reads}, len(new))
        counts = np.append(self.counts, np.zeros(len(new), np.float32))
        before = np.empty(0, np.int64) if self.without is None else self.without
        without = np.append(before, len(self.counts) + np.flatnonzero(lacks))
        return replace(self, part=self.part.with_items(new, bank), counts=counts, without=without)


@dataclass(frozen=True)
class Lists(Part):
    """The best items of each of the bundle's users, of a model whose scores need the model; others are told by
    the items that the same users took.

    Attributes:
        items, values: (n_users, N) int32 and float32, best first; -1 where a user has fewer.
        others: ranks for who is not a user of the bundle.
    """

    items: np.ndarray
    values: np.ndarray
    others: Part

    def scores(self, query: Query) -> np.ndarray:
        n = query.history.shape[1]
        known = np.flatnonzero(query.rows >= 0)
        scores = np.full((len(query.rows), n), -np.inf, dtype=np.float32)
        if len(known):
            items, values = (np.asarray(a[query.rows[known]]) for a in (self.items, self.values))
            rows, places = np.nonzero(items >= 0)
            scores[known[rows], items[rows, places]] = values[rows, places]
        if len(new := np.flatnonzero(query.rows < 0)):
            blank = query.history[new]
            scores[new] = self.others.scores(Query(query.rows[new], blank, blank))
        return scores


PARTS: dict[str, type] = {
    part.__name__: part
    for part in (
        Neighbours,
        Resembling,
        Hyperedges,
        Spherical,
        Kernel,
        Scaled,
        FoldIn,
        LeastSquares,
        Pooled,
        Beside,
        Vectors,
        History,
        Factored,
        Nearest,
        Content,
        Walk,
        Joined,
        Standard,
        Sum,
        Rules,
        Lists,
    )
}
"""What a bundle may be made of, by name."""


def _dense(matrix: Any) -> np.ndarray:
    return matrix.toarray() if sp.issparse(matrix) else np.asarray(matrix)
