"""The blocked cosine searches under `knn`: one over dense rows, one over sparse rows, both exact.

A pair's similarity is its float64 cosine rounded to a multiple of 1/GRID; similarity and position are packed
into one integer key, so that an ordinary top-k of keys puts ties in the order of positions.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeAlias

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from recsys.errors import GraphError
from recsys.graphs.operator import canonical

Features: TypeAlias = np.ndarray | sp.csr_matrix

GRID = 2**24  # exact in float32 up to 1, and far coarser than the rounding errors of float64
SHIFT = 2**32  # a key is similarity * GRID * SHIFT + (SHIFT - 1 - position)
HIDDEN = torch.iinfo(torch.int64).min  # the key of what must not be found
SPARE = 8  # candidates beyond k, so that rounding in the float32 product rarely leaves a row undecided
GROUP = 64  # neighbouring columns whose maximum stands for them in the first round of the top-k
DENSE_CELLS = 2**23  # float32 cells of one similarity block: 32 MiB, of which much stays in the cache
FEWEST, ROWS = (
    64,
    256,
)  # where a block over the whole base has fewer queries, it has ROWS, over chunks of the base
SPARSE_CELLS = 2**19  # products of one piece of the sparse search, with their columns and keys: 10 MiB
PAIR_CELLS = 2**22  # float64 cells of gathered candidate rows: 32 MiB
FEW = 0.1  # dense features with a smaller share of non-zeros are searched as sparse ones


def encode(similarity: Tensor, position: Tensor) -> Tensor:
    """int64 keys of float64 similarities at integer positions."""
    return similarity.mul(GRID).round_().to(torch.int64).mul_(SHIFT).add_(SHIFT - 1).sub_(position)


def decode(keys: Tensor, positive_only: bool) -> tuple[np.ndarray, np.ndarray]:
    """Positions (int64, -1 where hidden or not wanted) and similarities (float32, 0 there) of keys."""
    grid = keys >> 32
    gone = keys == HIDDEN
    if positive_only:
        gone |= grid <= 0
    position = (SHIFT - 1 - (keys & (SHIFT - 1))).masked_fill_(gone, -1)
    return position.numpy(), (grid.double() / GRID).float().masked_fill_(gone, 0.0).numpy()


def as_rows(features: Features, mask: np.ndarray | None, what: str) -> DenseRows | SparseRows:
    """Features with their norms; present are the rows that the mask allows and that are not all zero."""
    if features.ndim != 2:
        raise GraphError(f"{what} features must be a matrix, got shape {features.shape}")
    allowed = np.ones(features.shape[0], dtype=np.bool_) if mask is None else np.asarray(mask, dtype=bool)
    if allowed.shape != (features.shape[0],):
        raise GraphError(f"the {what} mask has shape {allowed.shape}, expected ({features.shape[0]},)")
    if sp.issparse(features):
        sparse = canonical(features, np.float64)
        norms = np.sqrt(np.asarray(sparse.multiply(sparse).sum(axis=1))).ravel()
    else:
        # Writable, because torch warns of sharing memory that is not.
        dense = np.require(features, np.float32, ["C", "W"])
        norms = np.sqrt(np.einsum("ij,ij->i", dense, dense, dtype=np.float64))
    bad = np.flatnonzero(allowed & ~np.isfinite(norms))
    if len(bad):
        raise GraphError(f"{what} row {bad[0]} holds NaN or infinity: mask the row or clean the features")
    present = allowed & (norms > 0)
    if sp.issparse(features):
        return SparseRows(sparse, norms, present)
    rows = DenseRows(torch.from_numpy(dense), norms, present)
    return rows.sparse() if np.count_nonzero(dense) < FEW * dense.size else rows


@dataclass(frozen=True)
class SparseRows:
    """CSR rows, float64."""

    matrix: sp.csr_matrix
    norms: np.ndarray
    present: np.ndarray

    @property
    def count(self) -> int:
        return self.matrix.shape[0]

    @property
    def width(self) -> int:
        return self.matrix.shape[1]

    def sparse(self) -> SparseRows:
        return self

    def without_spare_copies(self, most: int) -> np.ndarray:
        """Ids of the present rows; copies cost a sparse search no more than other rows."""
        return np.flatnonzero(self.present)

    def unit(self, ids: np.ndarray) -> sp.csr_matrix:
        rows = self.matrix[ids]
        rows.data /= np.repeat(self.norms[ids], np.diff(rows.indptr))
        return rows


@dataclass(frozen=True)
class DenseRows:
    """Dense rows, float32."""

    matrix: Tensor
    norms: np.ndarray
    present: np.ndarray

    @property
    def count(self) -> int:
        return self.matrix.shape[0]

    @property
    def width(self) -> int:
        return self.matrix.shape[1]

    def sparse(self) -> SparseRows:
        return SparseRows(canonical(sp.csr_matrix(self.matrix.numpy()), np.float64), self.norms, self.present)

    def without_spare_copies(self, most: int) -> np.ndarray:
        """Ids of the present rows, less the copies of a row beyond its first `most`.

        Copies tie, so these can never be chosen, but a placeholder that thousands of items share would have
        all their pairs compared again in float64.
        """
        ids = np.flatnonzero(self.present)
        _, group, size = np.unique(self.norms[ids], return_inverse=True, return_counts=True)
        suspects = np.flatnonzero(size[group] > most)
        if len(suspects) == 0 or self.width == 0:
            return ids
        rows = self.matrix.numpy()[ids[suspects]]
        _, content = np.unique(rows.view(np.dtype((np.void, rows.strides[0]))).ravel(), return_inverse=True)
        order = np.argsort(content, kind="stable")
        place = np.arange(len(order))
        first = np.r_[True, np.diff(content[order]) != 0]
        rank = place - np.maximum.accumulate(np.where(first, place, 0))
        return np.delete(ids, suspects[order[rank >= most]])

    def unit(self, ids: np.ndarray) -> Tensor:
        out = torch.empty(len(ids), self.width)
        step = max(1, PAIR_CELLS // self.width)
        for start in range(0, len(ids), step):
            part = ids[start : start + step]
            out[start : start + step] = (
                self.matrix[part].double() / torch.from_numpy(self.norms[part])[:, None]
            )
        return out


class SparseSearch:
    """Keys of products that are summed in float64 in the first place: of the non-zero ones, and of all of them for the
    queries that have fewer than k positive ones."""

    default_block = 4096

    def __init__(
        self, queries: SparseRows, base: SparseRows, base_ids: np.ndarray, k: int, positive_only: bool
    ) -> None:
        self.queries, self.k, self.positive_only = queries, min(k, len(base_ids)), positive_only
        self.columns = base.unit(base_ids).T.tocsr()
        self.position = torch.arange(len(base_ids))
        held = np.diff(self.columns.indptr)[queries.matrix.indices]
        ends = np.concatenate([[0], np.cumsum(held)])[queries.matrix.indptr]
        self.reach = np.minimum(np.diff(ends), len(base_ids))

    def best(self, ids: np.ndarray, own: np.ndarray | None) -> Tensor:
        """The k largest keys of queries `ids`, (b, k), descending; positions `own` (-1: none) are hidden."""
        # As many queries at a time as cannot have more non-zero products than there is room for.
        piece = np.cumsum(self.reach[ids]) // SPARSE_CELLS
        starts = np.r_[0, np.flatnonzero(np.diff(piece)) + 1, len(ids)]
        parts = [slice(*ends) for ends in pairwise(starts)]
        return torch.cat([self._best(ids[part], None if own is None else own[part]) for part in parts])

    def _best(self, ids: np.ndarray, own: np.ndarray | None) -> Tensor:
        product = self.queries.unit(ids) @ self.columns
        keys = self._best_of_nonzeros(product, own)
        if self.positive_only:
            return keys
        short = torch.nonzero(keys[:, -1] >> 32 <= 0).ravel()
        for rows in short.split(max(1, SPARSE_CELLS // len(self.position))):
            encoded = encode(torch.from_numpy(product[rows.numpy()].toarray()), self.position)
            _hide(encoded, own if own is None else own[rows.numpy()], HIDDEN)
            keys[rows] = encoded.topk(self.k, dim=1).values
        return keys

    def _best_of_nonzeros(self, product: sp.csr_matrix, own: np.ndarray | None) -> Tensor:
        """Rows of more than k non-zeros are cut to their k largest keys, others are padded to k."""
        sizes, k = np.diff(product.indptr), self.k
        keys = encode(torch.from_numpy(product.data), torch.from_numpy(product.indices)).numpy()
        if own is not None:
            keys[product.indices == np.repeat(own, sizes)] = HIDDEN
        best = np.full((len(sizes), k), HIDDEN)
        short = sizes <= k
        place = np.arange(k) < sizes[:, None]
        best[place & short[:, None]] = keys[np.repeat(short, sizes)]
        for row in np.flatnonzero(~short):
            part = keys[product.indptr[row] : product.indptr[row + 1]]
            part.partition(len(part) - k)
            best[row] = part[-k:]
        best.sort(axis=1)
        return torch.from_numpy(best[:, ::-1].copy())


class DenseSearch:
    """A float32 product proposes k + SPARE candidates a row; float64 cosines decide.

    Where the last candidate is within the product's rounding error of the k-th best, others might belong:
    such a row is searched again over everything within that error. For a large base the product is made in chunks of
    it, or blocks that fit into the cache would hold so few queries that the product waits for memory.
    """

    def __init__(self, queries: DenseRows, base: DenseRows, base_ids: np.ndarray, k: int) -> None:
        self.queries, self.base, self.base_ids = queries, base, torch.from_numpy(base_ids)
        n = len(base_ids)
        self.k, self.candidates = min(k, n), min(k + SPARE, n)
        self.columns = base.unit(base_ids).T
        self.norms = torch.from_numpy(base.norms[base_ids])
        whole = DENSE_CELLS // n
        self.default_block = min(whole if whole >= FEWEST else ROWS, queries.count)
        # Sums of d float32 products of unit rows err by about sqrt(d) roundings of 2^-24; four times that.
        self.tolerance = 4 * 2**-24 * (queries.width**0.5 + 2)
        self.buffer = torch.empty(0)

    def best(self, ids: np.ndarray, own: np.ndarray | None) -> Tensor:
        """The k largest keys of queries `ids`, (b, k), descending; positions `own` (-1: none) are hidden."""
        unit = self.queries.unit(ids)
        value, position = self._proposed(unit, own)
        keys = self.rescore(ids, value, position).topk(self.k, dim=1).values
        if self.candidates == len(self.base_ids):
            return keys
        bar = (keys[:, -1] >> 32).double().div_(GRID).sub_(self.tolerance)
        undecided = torch.nonzero(value.min(dim=1).values >= bar).ravel()
        near: list[list[Tensor]] = [[] for _ in undecided]
        for start, scores in self._chunks(unit[undecided], own if own is None else own[undecided.numpy()]):
            for row, least in enumerate(bar[undecided].tolist()):
                near[row].append(torch.nonzero(scores[row] >= least).ravel() + start)
        for row, positions in zip(undecided.tolist(), near, strict=True):
            keys[row] = self._exact_keys(ids[row : row + 1], torch.cat(positions))
        return keys

    def _proposed(self, unit: Tensor, own: np.ndarray | None) -> tuple[Tensor, Tensor]:
        """Values and positions (b, candidates) of the largest products, in any order."""
        values, positions = [], []
        for start, scores in self._chunks(unit, own):
            value, position = _grouped_topk(scores, min(self.candidates, scores.shape[1]))
            values.append(value)
            # The padding may be proposed, hidden by its -inf.
            positions.append(position.add_(start).clamp_(max=len(self.base_ids) - 1))
        if len(values) == 1:
            return values[0], positions[0]
        value, place = torch.cat(values, dim=1).topk(self.candidates, dim=1, sorted=False)
        return value, torch.cat(positions, dim=1).gather(1, place)

    def _chunks(self, unit: Tensor, own: np.ndarray | None) -> Iterator[tuple[int, Tensor]]:
        """First position and products (b, chunk), in one buffer, of each chunk of the base; padded with -inf to a
        multiple of GROUP."""
        rows, n = len(unit), len(self.base_ids)
        if rows == 0:
            return
        chunk = min(_whole_groups(n), _whole_groups(max(DENSE_CELLS // rows, 1)))
        if len(self.buffer) < rows * chunk:
            self.buffer = torch.empty(rows * chunk)
        for start in range(0, n, chunk):
            width = min(chunk, n - start)
            scores = self.buffer[: rows * _whole_groups(width)].view(rows, -1)
            torch.mm(unit, self.columns[:, start : start + width], out=scores[:, :width])
            scores[:, width:] = -torch.inf
            if own is not None:
                _hide(scores, np.where((own >= start) & (own < start + width), own - start, -1), -torch.inf)
            yield start, scores

    def rescore(self, ids: np.ndarray, value: Tensor, position: Tensor) -> Tensor:
        """Keys of the candidates `position` (b, c) of queries `ids`, by float64 products of the raw rows; hidden where
        `value` is -inf."""
        keys = torch.empty_like(position)
        step = max(1, PAIR_CELLS // (position.shape[1] * self.base.width))
        for start in range(0, len(ids), step):
            part, near = ids[start : start + step], position[start : start + step]
            rows = self.base.matrix[self.base_ids[near]].double()
            cosine = torch.bmm(rows, self.queries.matrix[part].double().unsqueeze(2)).squeeze(2)
            cosine /= self.norms[near] * torch.from_numpy(self.queries.norms[part]).unsqueeze(1)
            keys[start : start + step] = encode(cosine.clamp_(-1, 1), near)
        return keys.masked_fill_(value == -torch.inf, HIDDEN)

    def _exact_keys(self, query: np.ndarray, near: Tensor) -> Tensor:
        seen = torch.zeros(1)
        keys = torch.cat([self.rescore(query, seen, part[None])[0] for part in near.split(2**14)])
        return keys.topk(self.k).values


def _whole_groups(width: int) -> int:
    return -(-width // GROUP) * GROUP


def _hide(block: Tensor, own: np.ndarray | None, value: float) -> None:
    if own is not None:
        row = np.flatnonzero(own >= 0)
        block[torch.from_numpy(row), torch.from_numpy(own[row])] = value


def _grouped_topk(scores: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Top-k of rows, in any order: the k largest lie in the k groups of columns with the largest maxima.

    One vectorised pass for the maxima and a top-k over a few hundred columns, in place of a heap over all.
    """
    rows, width = scores.shape
    groups = scores.view(rows, width // GROUP, GROUP)
    if width // GROUP <= k:
        return scores.topk(k, dim=1, sorted=False)
    near = groups.amax(dim=2).topk(k, dim=1, sorted=False).indices
    held = groups.gather(1, near.unsqueeze(2).expand(rows, k, GROUP)).reshape(rows, k * GROUP)
    value, at = held.topk(k, dim=1, sorted=False)
    return value, near.gather(1, at // GROUP) * GROUP + at % GROUP
