"""Paired tests, effect sizes and a bootstrap over users and seeds, for per-user metric values.

What is estimated is the mean over users of each user's average over seeds. Two things vary: the users drawn
and the seeds trained. A seed shifts all users together, so an interval over users alone takes the luck of a
seed for a property of the model; the bootstrap here carries both parts.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy import stats

from recsys.errors import UserError

_BLOCK = 1 << 19  # cells of one block of resampling weights: 4 MB, which stays near the cache


def holm(p_values: Sequence[float], family: int | None = None) -> np.ndarray:
    """Return p-values corrected by Holm's step-down procedure (Holm 1979, Scand. J. Stat. 6: 65-70).

    Args:
        family: number of comparisons made, where only some are listed; the others count as p = 1.
    """
    p = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(p, kind="stable")
    factors = (len(p) if family is None else family) - np.arange(len(p))
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(factors * p[order]))
    return adjusted


def holm_alphas(p_values: Sequence[float], family: int, alpha: float) -> np.ndarray:
    """Return the level at which Holm's procedure judged each p-value; all not rejected share the last one."""
    rejected = int((holm(p_values, family) <= alpha).sum())
    ranks = np.argsort(np.argsort(p_values, kind="stable"), kind="stable")
    return alpha / (family - np.minimum(ranks, min(rejected, family - 1)))


def t_test(d: np.ndarray) -> float:
    """Return the two-sided p of the paired t test on differences d (n_users,); 1 or 0 where d is constant."""
    if np.ptp(d) == 0:
        return float(d[0] == 0)
    return float(stats.ttest_1samp(d, 0.0).pvalue)


def wilcoxon_test(d: np.ndarray) -> float:
    """Return the two-sided p of Wilcoxon's signed-rank test, zeros dropped; 1 where all are zero."""
    return float(stats.wilcoxon(d).pvalue) if d.any() else 1.0


def equivalence_test(d: np.ndarray, margin: float) -> float:
    """Return the p of two one-sided t tests for |mean| < margin (Schuirmann 1987, J. Pharmacokinet. 15)."""
    if np.ptp(d) == 0:
        return float(abs(d[0]) >= margin)
    above = stats.ttest_1samp(d, -margin, alternative="greater").pvalue
    below = stats.ttest_1samp(d, margin, alternative="less").pvalue
    return float(max(above, below))


def cohen_d_z(d: np.ndarray) -> float:
    """Return mean / standard deviation of the differences (Lakens 2013, Front. Psychol. 4: 863)."""
    if np.ptp(d) == 0:
        return math.copysign(math.inf, d[0]) if d[0] else 0.0
    return float(d.mean() / d.std(ddof=1))


def rank_biserial(d: np.ndarray) -> float:
    """Return (W+ - W-) / (W+ + W-) over signed ranks, zeros dropped (Kerby 2014, Compr. Psychol. 3)."""
    d = d[d != 0]
    if not len(d):
        return 0.0
    ranks = stats.rankdata(np.abs(d))
    return float(ranks @ np.sign(d) / ranks.sum())


def smallest_detectable(se: float, df: int, alpha: float = 0.05, power: float = 0.8) -> float:
    """Return (t[1 - alpha/2] + t[power]) * se, t with df degrees of freedom, se = sd / sqrt(n).

    The minimum detectable effect of a two-sided test (Bloom 1995, Evaluation Review 19: 547-556).
    """
    return float((stats.t.ppf(1 - alpha / 2, df) + stats.t.ppf(power, df)) * se)


@dataclass(frozen=True, eq=False)
class Sample:
    """Values (n_seeds, n_users) averaged both ways, over what is counted.

    Attributes:
        per_user: (n_counted_users,) averages over seeds.
        per_seed: (n_counted_seeds,) averages over users.
        counted: (n_users,) bool, users with a value under at least one seed.
    """

    per_user: np.ndarray
    per_seed: np.ndarray
    counted: np.ndarray

    @classmethod
    def of(cls, values: np.ndarray, scale: float, what: str) -> Sample:
        """Average values (n_seeds, n_users), NaN where not counted, to 12 digits of `scale`.

        Raises:
            UserError: fewer than two users have a value; `what` names the values.
        """
        seen = ~np.isnan(values)
        counts, seeds = seen.sum(axis=0), seen.any(axis=1)
        counted = counts > 0
        if counted.sum() < 2:
            raise UserError(
                f"{what}: {counted.sum()} user(s) with a value, and a verdict needs at least 2: "
                "evaluate on more users, or leave this slice out"
            )
        filled = np.where(seen, values, 0.0)
        per_user = filled.sum(axis=0)[counted] / counts[counted]
        per_seed = filled.sum(axis=1)[seeds] / seen.sum(axis=1)[seeds]
        # 0.3 - 0.2 and 0.2 - 0.1 are one difference, not two ranks: rounding noise goes before any test.
        per_user, per_seed = (np.round(x / scale, 12) * scale for x in (per_user, per_seed))
        return cls(per_user, per_seed, counted)

    @property
    def user_se(self) -> float:
        """Standard error of the mean over users."""
        return _sd(self.per_user) / math.sqrt(len(self.per_user))


class SeedNoise(NamedTuple):
    """Standard error that seeds give to a mean, and its degrees of freedom; (0, 0) where unknown."""

    se: float
    df: int


def _sd(x: np.ndarray) -> float:
    return float(x.std(ddof=1)) if np.ptp(x) > 0 else 0.0


def seed_noise(per_seed: np.ndarray) -> SeedNoise:
    """Return the standard error of the mean of per_seed (n_seeds,); unknown for one seed."""
    seeds = len(per_seed)
    return SeedNoise(_sd(per_seed) / math.sqrt(seeds), seeds - 1) if seeds > 1 else SeedNoise(0.0, 0)


def pooled_seed_noise(means: np.ndarray, per_seed: np.ndarray) -> SeedNoise:
    """Return the seed noise of a difference of two models out of a table.

    The residual mean square MS of models x seeds in blocks (Montgomery, Design and Analysis of Experiments,
    sec. 4.1) gives sqrt(2 MS / S) with (n_models - 1)(S - 1) degrees of freedom: for two models that is the
    paired standard error, for more it knows seed noise better than three seeds of one pair can. Where the pair
    itself is noisier than the table, its own standard error stands.

    Args:
        means: (n_models, n_seeds) mean over users, NaN where a seed is missing.
        per_seed: (n_pair_seeds,) mean difference of the pair.
    """
    own = seed_noise(per_seed)
    means = means[:, ~np.isnan(means).any(axis=0)]
    models, seeds = means.shape
    if models < 3 or seeds < 2 or own.df == 0:
        return own
    residual = means - means.mean(axis=0) - means.mean(axis=1, keepdims=True) + means.mean()
    df = (models - 1) * (seeds - 1)
    mean_square = float((residual**2).sum()) / df
    return SeedNoise(max(own.se, math.sqrt(2 * mean_square / len(per_seed))), df)


def resample_users(columns: np.ndarray, rng: np.random.Generator, resamples: int) -> np.ndarray:
    """Return (n_columns, resamples) means of columns (n_users, n_columns) over users drawn with replacement.

    The same users are drawn for every column: those of `rng.integers(n, size=(resamples, n))`, in blocks.
    """
    n, width = columns.shape
    means = np.empty((resamples, width))
    rows = max(1, _BLOCK // n)
    for start in range(0, resamples, rows):
        r = min(rows, resamples - start)
        drawn = rng.integers(n, size=(r, n))
        drawn += np.arange(0, r * n, n)[:, None]
        weights = np.bincount(drawn.ravel(), minlength=r * n).reshape(r, n)
        means[start : start + r] = weights.astype(np.float64) @ columns / n
    return means.T


def bootstrap(
    samples: Sequence[Sample], noises: Sequence[SeedNoise], rng: np.random.Generator, resamples: int
) -> np.ndarray:
    """Return (n_samples, resamples) draws of each sample's mean over users and seeds, sorted in each row.

    Users are resampled, the same for all samples that count the same users. The shift that seeds give is drawn
    as t(df) * se, a parametric bootstrap: resampling three to five seeds as they are is too narrow, by
    sqrt((S - 1) / S) and by z against t (Hesterberg 2015, Am. Stat. 69: 371-386), and calls a lucky seed a
    better model. The noise of single users under single seeds is in both parts and so counts twice, against
    three times in the pigeonhole bootstrap (Owen 2007, Ann. Appl. Stat. 1: 386-411): intervals err on the wide
    side. One seed tells nothing about seeds: the interval then speaks of that one training only.
    """
    draws = np.empty((len(samples), resamples))
    groups: dict[bytes, list[int]] = {}
    for i, sample in enumerate(samples):
        groups.setdefault(sample.counted.tobytes(), []).append(i)
    for places in groups.values():
        columns = np.stack([samples[i].per_user for i in places], axis=1)
        draws[places] = resample_users(columns, rng, resamples)
    for row, noise in zip(draws, noises, strict=True):
        if noise.df:
            row += rng.standard_t(noise.df, resamples) * noise.se
    draws.sort(axis=1)
    return draws


def interval(draws: np.ndarray, alpha: float) -> tuple[float, float]:
    """Return the order statistics of sorted draws that leave alpha / 2 on each side (percentile interval).

    Zero lies outside exactly where `p_zero` <= alpha. Needs 2 / alpha draws at least.
    """
    cut = math.floor(alpha * (len(draws) + 1) / 2 + 1e-9)
    return float(draws[cut - 1]), float(draws[-cut])


def p_zero(draws: np.ndarray) -> float:
    """Return the two-sided p that the mean is zero, from sorted draws."""
    not_above = int(np.searchsorted(draws, 0.0, "right"))
    not_below = len(draws) - int(np.searchsorted(draws, 0.0, "left"))
    return min(1.0, 2 * (1 + min(not_above, not_below)) / (1 + len(draws)))


def p_outside(draws: np.ndarray, margin: float) -> float:
    """Return the p that the mean is not within (-margin, margin): the larger tail of sorted draws."""
    low = int(np.searchsorted(draws, -margin, "right"))
    high = len(draws) - int(np.searchsorted(draws, margin, "left"))
    return (1 + max(low, high)) / (1 + len(draws))
