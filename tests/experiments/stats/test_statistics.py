"""Statistics against SciPy, slow re-derivations and numbers worked out on paper."""

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as some
from scipy import stats

from recsys.experiments.stats import statistics as st
from recsys.experiments.stats.verdicts import Rules, estimates


def rng(seed=0):
    return np.random.default_rng(seed)


# Corrections and tests


def naive_holm(p_values, family):
    """Smallest alpha at which the step-down procedure, run as Holm wrote it, rejects each hypothesis."""
    adjusted = {}
    worst = 0.0
    for step, (p, i) in enumerate(sorted((p, i) for i, p in enumerate(p_values))):
        worst = max(worst, (family - step) * p)
        adjusted[i] = min(1.0, worst)
    return [adjusted[i] for i in range(len(p_values))]


def test_holm_on_paper():
    assert st.holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert st.holm([0.01, 0.04], family=10) == pytest.approx([0.1, 0.36])


@given(some.lists(some.floats(0, 1), min_size=1, max_size=12), some.integers(0, 30))
def test_holm_equals_the_loop(p_values, unlisted):
    family = len(p_values) + unlisted
    assert st.holm(p_values, family).tolist() == naive_holm(p_values, family)


@given(some.lists(some.floats(0, 0.2), min_size=1, max_size=8), some.integers(0, 5))
def test_holm_levels_reject_what_holm_rejects(p_values, unlisted):
    family = len(p_values) + unlisted
    rejected = st.holm(p_values, family) <= 0.05
    levels = st.holm_alphas(p_values, family, 0.05)
    # p <= alpha / (m - k) and (m - k) p <= alpha may round differently at equality.
    near = np.isclose(p_values, levels)
    assert ((np.array(p_values) <= levels) == rejected)[~near].all()


def test_t_test_on_paper():
    # d = 1, 2, 3: mean 2, sd 1, t = 2 sqrt(3); with 2 degrees of freedom P(|T| > t) = 1 - t / sqrt(t^2 + 2).
    assert st.t_test(np.array([1.0, 2.0, 3.0])) == pytest.approx(1 - math.sqrt(12 / 14))


def test_t_statistic_by_fractions():
    d = [Fraction(x, 20) for x in (3, -1, 4, 1, 5, -9, 2, 6)]
    n, mean = len(d), sum(d) / len(d)
    variance = sum((x - mean) ** 2 for x in d) / (n - 1)
    p = 2 * stats.t.sf(math.sqrt(mean**2 / (variance / n)), n - 1)
    floats = np.array([float(x) for x in d])
    assert st.t_test(floats) == pytest.approx(p)
    assert st.cohen_d_z(floats) == pytest.approx(float(mean) / math.sqrt(variance))


def test_wilcoxon_equals_all_sign_flips():
    d = np.array([0.3, -0.1, 0.45, 0.2, 0.6, -0.25, 0.7])
    ranks = np.argsort(np.argsort(np.abs(d))) + 1
    centre = ranks.sum() / 2
    seen = abs(ranks[d > 0].sum() - centre)
    flips = [abs(np.dot(s, ranks) - centre) >= seen for s in itertools.product((0, 1), repeat=len(d))]
    assert st.wilcoxon_test(d) == pytest.approx(np.mean(flips))


def test_rank_biserial_on_paper():
    # ranks 1, 2, 3, 4 of |d|, zero dropped: W+ = 1 + 3 + 4, W- = 2.
    assert st.rank_biserial(np.array([0.1, -0.2, 0.0, 0.3, 0.4])) == pytest.approx(6 / 10)


def test_rank_biserial_is_the_wilcoxon_statistic_rescaled():
    d = rng(1).normal(0.1, 1, 40)
    smaller = stats.wilcoxon(d).statistic
    assert abs(st.rank_biserial(d)) == pytest.approx(1 - smaller / (40 * 41 / 4))


def test_equivalence_is_two_one_sided_tests():
    d = rng(2).normal(0.01, 0.2, 60)
    mean, se = d.mean(), d.std(ddof=1) / math.sqrt(60)
    for margin in (0.02, 0.05, 0.2):
        sides = stats.t.sf((mean + margin) / se, 59), stats.t.cdf((mean - margin) / se, 59)
        assert st.equivalence_test(d, margin) == pytest.approx(max(sides))


def test_equal_differences_are_equivalent_only_inside_the_margin():
    d = np.full(5, 0.25)
    assert [st.equivalence_test(d, margin) for margin in (0.2, 0.25, 0.3)] == [1, 1, 0]


@pytest.mark.parametrize(("alpha", "power"), [(0.05, 0.8), (0.001, 0.9)])
def test_smallest_detectable_is_seen_with_that_power(alpha, power):
    n = 40
    shift = st.smallest_detectable(1.0, n - 1, alpha, power)  # in standard errors: the noncentrality
    cut = stats.t.ppf(1 - alpha / 2, n - 1)
    assert stats.nct.sf(cut, n - 1, shift) == pytest.approx(power, abs=0.02)


def test_smallest_detectable_of_many_users_is_2_8_standard_errors():
    assert st.smallest_detectable(0.5, 10**7) == pytest.approx(0.5 * (1.959964 + 0.841621), rel=1e-5)


# Bootstrap


def naive_bootstrap(d, draws, shifts):
    """Means of user averages over drawn users, plus the shift of the seeds, by loops over d[seed][user]."""
    means = []
    for users, shift in zip(draws, shifts, strict=True):
        total = 0.0
        for user in users:
            total += sum(row[user] for row in d) / len(d)
        means.append(total / len(users) + shift)
    return sorted(means)


def test_bootstrap_equals_the_loop_with_the_same_draws():
    d = rng(3).normal(size=(3, 7))
    got = st.bootstrap([st.Sample.of(d, 1.0, "d")], [st.seed_noise(d.mean(axis=1))], rng(4), 200)[0]
    again = rng(4)
    draws = again.integers(7, size=(200, 7)).tolist()
    seeds = [sum(row) / 7 for row in d.tolist()]
    centre = sum(seeds) / 3
    se = math.sqrt(sum((m - centre) ** 2 for m in seeds) / 2 / 3)
    want = naive_bootstrap(d.tolist(), draws, (again.standard_t(2, 200) * se).tolist())
    assert got == pytest.approx(want)


def test_blocks_do_not_change_the_resamples(monkeypatch):
    columns = rng(5).normal(size=(9, 2))
    whole = st.resample_users(columns, rng(6), 50)
    monkeypatch.setattr(st, "_BLOCK", 7 * 9)
    assert st.resample_users(columns, rng(6), 50) == pytest.approx(whole)


def test_interval_of_one_seed_agrees_with_scipy():
    values = rng(7).beta(1, 5, size=(1, 400))
    ours = estimates({"m": values}, rng(8), Rules(resamples=20_000))["m"]
    theirs = stats.bootstrap((values[0],), np.mean, n_resamples=20_000, method="percentile", rng=rng(9))
    spread = theirs.standard_error
    assert ours.interval == pytest.approx(tuple(theirs.confidence_interval), abs=0.05 * spread)
    assert ours.mean == pytest.approx(values.mean())
    assert (ours.n_users, ours.n_seeds) == (400, 1)


def test_interval_of_seeds_that_decide_alone_is_the_t_interval():
    # all users alike: only the three seeds vary, and their mean has the textbook t interval.
    values = np.repeat([[0.1], [0.2], [0.6]], 50, axis=1)
    low, high = estimates({"m": values}, rng(10), Rules(resamples=200_000))["m"].interval
    want = stats.t.interval(0.95, 2, loc=0.3, scale=stats.sem([0.1, 0.2, 0.6]))
    assert (low, high) == pytest.approx(want, rel=0.03)


@given(some.lists(some.integers(-3, 9), min_size=99, max_size=200), some.floats(0.03, 0.4))
def test_interval_excludes_zero_exactly_where_p_says(values, alpha):
    draws = np.sort(np.array(values, dtype=float))
    low, high = st.interval(draws, alpha)
    if abs(st.p_zero(draws) - alpha) > 1e-9:
        assert (not low <= 0 <= high) == (st.p_zero(draws) <= alpha)


def test_interval_on_paper():
    # 99 draws: a tail of alpha / 2 = 5 in a hundred leaves four draws below the fifth and above the 95th.
    assert st.interval(np.arange(1.0, 100.0), 0.1) == (5.0, 95.0)


def test_p_outside_counts_the_larger_tail():
    draws = np.array([-3.0, -2.0, -1.0, 0.0, 0.0, 1.0, 1.0, 2.0, 5.0])
    assert st.p_outside(draws, 2.0) == pytest.approx((1 + 2) / 10)
    assert st.p_outside(draws, 4.0) == pytest.approx((1 + 1) / 10)


def test_pooled_seed_noise_of_two_models_is_the_paired_one():
    means = rng(11).normal(size=(2, 4))
    pooled = st.pooled_seed_noise(means, means[0] - means[1])
    assert pooled.se == pytest.approx(stats.sem(means[0] - means[1]))
    assert pooled.df == 3


def test_pooled_seed_noise_on_paper():
    # residuals of [[0, 2], [0, 0], [0, 1]] from row and column means: +-1/2, +-1/2, 0, so the sum of squares
    # is 1, MS = 1 / 2 with 2 degrees of freedom, and the difference has se = sqrt(2 * 1/2 / 2).
    means = np.array([[0.0, 2.0], [0.0, 0.0], [0.0, 1.0]])
    quiet = st.pooled_seed_noise(means, np.array([0.0, 1.0]))
    assert quiet == pytest.approx((math.sqrt(1 / 2), 2))
    noisy = st.pooled_seed_noise(means, np.array([0.0, 2.0]))  # its own se, sqrt(2) / sqrt(2), is larger
    assert noisy == pytest.approx((1.0, 2))


def test_a_seed_that_one_model_lacks_is_not_pooled():
    means = np.array([[0.0, 2.0, np.nan], [0.0, 0.0, 9.0], [0.0, 1.0, 4.0]])
    assert st.pooled_seed_noise(means, np.array([0.0, 1.0])) == pytest.approx((math.sqrt(1 / 2), 2))
