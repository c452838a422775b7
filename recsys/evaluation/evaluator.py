"""Full-catalogue evaluation: a scorer in, metrics by group out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
import scipy.sparse as sp

from recsys.errors import UserError, nearest
from recsys.evaluation.candidates import Candidates
from recsys.evaluation.chunks import ChunkOfLists
from recsys.evaluation.facts import Facts
from recsys.evaluation.hits import RankedHits, constant_hits
from recsys.evaluation.lists import ListStatistics
from recsys.evaluation.metrics import DEFAULT_METRICS, MetricName, check_metrics, parse_metric
from recsys.evaluation.scorers import Scorer

OVERALL, WARM, COLD, COLD_POOL = "overall", "warm", "cold", "cold_pool"
_CHUNK = 16384  # users whose hits are held at once: bounds memory, while metrics see long arrays
_BLOCK = 2**23  # scores in a block


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Metrics of one scorer.

    Attributes:
        metrics: group -> metric -> mean over the group's users; a group without users is left out.
            The metrics of all lists together (such as coverage) stand under "overall" only.
        users: group -> number of users averaged, 0 for a group that was left out.
        per_user: frame with columns `user`, `group` and one column a metric, the values averaged.
        chance: group -> metric -> expected value of a random order of the same candidates.
    """

    metrics: dict[str, dict[str, float]]
    users: dict[str, int]
    per_user: pd.DataFrame
    chance: dict[str, dict[str, float]]


@dataclass(frozen=True, eq=False)
class _Group:
    """A named part of a ranking's pairs: those with some items, or those of some users."""

    candidates: Candidates
    pairs: np.ndarray | None  # (p,) bool, None for all

    def n_relevant(self) -> np.ndarray:
        rows = self.candidates.pair_row if self.pairs is None else self.candidates.pair_row[self.pairs]
        return np.bincount(rows, minlength=len(self.candidates.users))

    def hits(
        self, start: np.ndarray, size: np.ndarray, located: np.ndarray, low: int, n_relevant: np.ndarray
    ) -> RankedHits:
        """Hits of those users of the chunk that begins at `low` that have a relevant item in the group."""
        n_users, k = start.shape
        indptr = self.candidates.truth.indptr
        chunk = slice(indptr[low], indptr[low + n_users])
        inside = located < k
        if self.pairs is not None:
            inside &= self.pairs[chunk]
        cell = (self.candidates.pair_row[chunk][inside] - low) * k + located[inside]
        relevant = np.bincount(cell, minlength=n_users * k).reshape(n_users, k)
        if (size > 1).any():
            relevant = np.take_along_axis(relevant, start, axis=1)
        n_relevant = n_relevant[low : low + n_users]
        rows = n_relevant > 0
        return RankedHits(start[rows], size[rows], relevant[rows], n_relevant[rows])


class Evaluator:
    """Ranks the whole catalogue for every user with ground truth, in blocks: one product and one top-k each.

    Args:
        truth: (n_users, n_items) CSR, the items to find. A user without any is skipped, not counted as zero.
        seen: same shape, items never recommended to a user (training, validation, support); None for none.
        groups: name -> (n_items,) bool. Restricts the ground truth to these items; the ranking stays among
            all items, and users without ground truth in the group are skipped for it.
        user_groups: name -> (n_users,) bool. Averages over these users only.
        pool: (n_items,) bool. Adds the group "cold_pool": only these items are ranked, and only they count.
        facts: what is known of users and items, for metrics that read it; None: how often an item is in `seen`.
        metrics: names of registered metrics at any cut-off, such as "ndcg@20".

    Raises:
        UserError: a metric is unknown, there is no ground truth, or a pair is both in truth and in seen.
        ValueError: shapes disagree or a group is named twice.
    """

    def __init__(
        self,
        truth: sp.csr_array,
        seen: sp.csr_array | None = None,
        groups: Mapping[str, np.ndarray] | None = None,
        user_groups: Mapping[str, np.ndarray] | None = None,
        pool: np.ndarray | None = None,
        facts: Facts | None = None,
        metrics: Iterable[str] = DEFAULT_METRICS,
    ):
        truth = _binary(truth)
        self.n_users, self.n_items = truth.shape
        seen = _binary(seen) if seen is not None else sp.csr_array(truth.shape, dtype=np.float32)
        if seen.shape != truth.shape:
            raise ValueError(f"seen has shape {seen.shape}, truth has {truth.shape}")
        if truth.nnz == 0:
            raise UserError("nothing to evaluate: no user has a held-out item; check the split's sizes")
        both = truth.multiply(seen).nnz
        if both:
            raise UserError(f"{both} (user, item) pairs are both held out and masked; split the data again")
        self.metrics = tuple(metrics)
        self._facts = facts or Facts(seen.sum(axis=0), np.diff(seen.indptr))
        _parse(self.metrics)
        check_metrics(self.metrics, self._facts)
        self._groups = self._make_groups(truth, seen, groups or {}, user_groups or {}, pool)
        self._chance: dict[tuple, dict[str, dict[str, float]]] = {}

    def _make_groups(
        self,
        truth: sp.csr_array,
        seen: sp.csr_array,
        groups: Mapping[str, np.ndarray],
        user_groups: Mapping[str, np.ndarray],
        pool: np.ndarray | None,
    ) -> dict[str, _Group]:
        names = [OVERALL, *groups, *user_groups, *([COLD_POOL] if pool is not None else [])]
        if len(set(names)) < len(names):
            raise ValueError(f"group names must differ: {', '.join(names)}")
        candidates = Candidates(truth, seen)
        made = {OVERALL: _Group(candidates, None)}
        for name, mask in groups.items():
            made[name] = _Group(candidates, _mask(mask, name, self.n_items)[candidates.truth.indices])
        for name, mask in user_groups.items():
            made[name] = _Group(
                candidates, _mask(mask, name, self.n_users)[candidates.users[candidates.pair_row]]
            )
        if pool is not None:
            columns = np.flatnonzero(_mask(pool, "pool", self.n_items))
            made[COLD_POOL] = _Group(Candidates(truth, seen, columns), None)
        return made

    @property
    def groups(self) -> tuple[str, ...]:
        """Names of the groups that have answers to find, "overall" among them."""
        return tuple(self._groups)

    def evaluate(
        self,
        scorer: Scorer,
        metrics: Iterable[str] | None = None,
        groups: Iterable[str] | None = None,
        block_size: int | None = None,
    ) -> Evaluation:
        """Rank and measure.

        Args:
            scorer: scores blocks of users; see `recsys.evaluation.scorers.Scorer`.
            metrics: instead of the evaluator's own; for validation one is enough.
            groups: names of the groups to report beside "overall"; None for all, () for none.
            block_size: users scored at once; None for as many as keep a block of scores near 32 MB.

        Raises:
            UserError: a score is NaN, a metric or group is unknown.
        """
        if scorer.n_items != self.n_items:
            raise ValueError(f"the scorer has {scorer.n_items} items, the evaluator {self.n_items}")
        block_size = block_size or min(1024, max(16, _BLOCK // self.n_items))
        wanted = _parse(self.metrics if metrics is None else metrics)
        check_metrics(map(str, wanted), self._facts)
        chosen = self._choose(groups)
        per_user = [metric for metric in wanted if not metric.of_all_lists]
        of_lists = [metric for metric in wanted if metric.of_all_lists]
        read = [other for metric in of_lists for other in metric.needs]
        measured = list(dict.fromkeys([*per_user, *read]))
        main = chosen[OVERALL].candidates
        lists = ListStatistics(sorted({metric.k for metric in of_lists}), self._facts, main)
        values = self._measure(scorer, chosen, measured, lists, max(m.k for m in wanted), block_size)
        lists.user_values = dict(zip(map(str, measured), values[OVERALL].T, strict=True))
        values = {name: part[:, : len(per_user)] for name, part in values.items()}
        means = {g: _means(v, per_user) for g, v in values.items() if len(v)}
        for metric in of_lists:
            means[OVERALL][str(metric)] = float(metric.of(lists))
        return Evaluation(
            metrics=means,
            users={g: len(v) for g, v in values.items()},
            per_user=_frame(values, chosen, per_user),
            chance=self._chance_of(chosen, [m for m in per_user if not m.of_each_list]),
        )

    def _choose(self, groups: Iterable[str] | None) -> dict[str, _Group]:
        if groups is None:
            return self._groups
        for name in (groups := tuple(groups)):
            if name not in self._groups:
                raise UserError(f"there is no group '{name}'{nearest(name, self._groups)}")
        return {name: g for name, g in self._groups.items() if name == OVERALL or name in groups}

    def _measure(
        self,
        scorer: Scorer,
        chosen: dict[str, _Group],
        metrics: list[MetricName],
        lists: ListStatistics,
        k: int,
        block_size: int,
    ) -> dict[str, np.ndarray]:
        """Values by group, (users of the group, metrics) float64."""
        users = chosen[OVERALL].candidates.users
        n_relevant = {name: group.n_relevant() for name, group in chosen.items()}
        parts: dict[str, list[np.ndarray]] = {name: [] for name in chosen}
        for first in range(0, len(users), _CHUNK):
            chunk = users[first : first + _CHUNK]
            listed = [metric for metric in metrics if metric.of_each_list]
            block = ChunkOfLists([g.candidates for g in chosen.values()], k, chunk, self._facts, listed)
            for low in range(0, len(chunk), block_size):
                block.add(chunk[low : low + block_size], scorer, lists)
            for name, group in chosen.items():
                start, size, located, low = block.of(group.candidates)
                if len(start):
                    hits = group.hits(start, size, located, low, n_relevant[name])
                    rows = n_relevant[name][low : low + len(start)] > 0
                    parts[name].append(_values(hits, metrics, block.values(group.candidates)[rows]))
        empty = np.empty((0, len(metrics)))
        return {name: np.concatenate([empty, *part]) for name, part in parts.items()}

    def _chance_of(self, chosen: dict[str, _Group], metrics: list[MetricName]) -> dict[str, dict[str, float]]:
        key = (tuple(chosen), tuple(metrics))
        if key not in self._chance and metrics:
            chance = {}
            for name, group in chosen.items():
                n_relevant = group.n_relevant()
                rows = n_relevant > 0
                if rows.any():
                    pairs = np.stack([group.candidates.n_candidates[rows], n_relevant[rows]])
                    kinds, back = np.unique(pairs, axis=1, return_inverse=True)
                    hits = constant_hits(kinds[0], kinds[1], max(m.k for m in metrics))
                    chance[name] = _means(_values(hits, metrics)[back], metrics)
            self._chance[key] = chance
        return self._chance.get(key, {})


def _binary(matrix: sp.csr_array) -> sp.csr_array:
    matrix = sp.csr_array(matrix, dtype=np.float32, copy=True)
    matrix.sum_duplicates()
    matrix.eliminate_zeros()
    matrix.data[:] = 1.0
    return matrix


def _mask(mask: np.ndarray, name: str, length: int) -> np.ndarray:
    mask = np.asarray(mask)
    if mask.dtype != bool or mask.shape != (length,):
        raise ValueError(f"group '{name}' is {mask.dtype} {mask.shape}, expected bool ({length},)")
    return mask


def _parse(metrics: Iterable[str]) -> list[MetricName]:
    parsed = list(dict.fromkeys(parse_metric(m) for m in metrics))
    if not parsed:
        raise UserError("no metric was asked for; name one, such as 'ndcg@20'")
    return parsed


def _values(hits: RankedHits, metrics: list[MetricName], of_lists: np.ndarray | None = None) -> np.ndarray:
    """(b, metrics) float64; those of each list's items, which `of_lists` holds in their order, as they are."""
    values = np.empty((len(hits.n_relevant), len(metrics)))
    known = iter(of_lists.T if of_lists is not None else ())
    for column, metric in enumerate(metrics):
        value = next(known) if metric.of_each_list else np.asarray(metric.of(hits))
        if value.shape != hits.n_relevant.shape:
            raise UserError(
                f"metric '{metric.name}' gave values of shape {value.shape}, expected one for each of the "
                f"{len(hits.n_relevant)} users; a metric of all lists together is marked with of_all_lists"
            )
        values[:, column] = value
    return values


def _means(values: np.ndarray, metrics: list[MetricName]) -> dict[str, float]:
    return dict(zip(map(str, metrics), values.mean(axis=0).tolist(), strict=True))


def _frame(
    values: dict[str, np.ndarray], groups: dict[str, _Group], metrics: list[MetricName]
) -> pd.DataFrame:
    users = [groups[name].candidates.users[groups[name].n_relevant() > 0] for name in values]
    names = np.repeat(np.array(list(values), dtype=object), [len(v) for v in values.values()])
    frame = pd.DataFrame(np.concatenate(list(values.values())), columns=[str(m) for m in metrics])
    frame.insert(0, "user", np.concatenate(users))
    frame.insert(1, "group", pd.Categorical(names, categories=list(values)))
    return frame
