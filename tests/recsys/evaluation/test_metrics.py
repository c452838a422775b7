"""The metrics by hand, their contract, and their names."""

import itertools
import math
from fractions import Fraction as F

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys import evaluation
from recsys.errors import UserError
from recsys.evaluation import METRICS
from recsys.evaluation.hits import RankedHits, constant_hits
from recsys.evaluation.metrics import parse_metric
from recsys.registry import Registry


def strict(*relevance, n_relevant):
    """Hits of one user whose list has no ties."""
    k = len(relevance)
    return RankedHits(
        np.arange(k)[None], np.ones((1, k), int), np.array([relevance], int), np.array([n_relevant])
    )


def value(name, hits, k):
    return METRICS.get(name)(hits, k)[0]


# Each registered metric has a line here: its definition for one list without ties, as simple as can be.
# `rel` is the list of 0 and 1 by rank over all candidates, R their sum.
def _ndcg(rel, k):
    gain = sum(r / math.log2(t + 2) for t, r in enumerate(rel[:k]))
    return gain / sum(1 / math.log2(t + 2) for t in range(min(k, sum(rel))))


CONTRACT = {
    "recall": lambda rel, k: sum(rel[:k]) / sum(rel),
    "precision": lambda rel, k: sum(rel[:k]) / k,
    "ndcg": _ndcg,
    "hr": lambda rel, k: float(any(rel[:k])),
    "mrr": lambda rel, k: next((1 / (t + 1) for t, r in enumerate(rel[:k]) if r), 0.0),
    "map": lambda rel, k: (
        sum(r * sum(rel[: t + 1]) / (t + 1) for t, r in enumerate(rel[:k])) / min(k, sum(rel))
    ),
}


OF_ALL_LISTS = {*evaluation.OF_ALL_LISTS, *evaluation.OF_EACH_LIST}
"""They have their own tests, in test_evaluator and test_beyond_accuracy."""


def without_contract(registry):
    return sorted(set(registry.builtin) - set(CONTRACT) - OF_ALL_LISTS)


def test_every_registered_metric_has_a_contract_line():
    assert without_contract(METRICS) == []
    assert set(CONTRACT) <= set(METRICS.names())


def test_a_metric_without_a_contract_line_is_found():
    registry = Registry("metric", None, {"recall": "x:y", "capped": "x:y"})
    assert without_contract(registry) == ["capped"]


@pytest.mark.parametrize("name", CONTRACT)
def test_perfect_is_one_and_worst_is_zero(name):
    assert value(name, strict(1, 1, 1, 0, 0, n_relevant=3), 3) == pytest.approx(1, abs=1e-15)
    assert value(name, strict(0, 0, 0, 1, 1, n_relevant=3), 3) == 0


@pytest.mark.parametrize("name", CONTRACT)
@settings(max_examples=60, deadline=None)
@given(
    groups=st.lists(st.lists(st.integers(0, 1), min_size=1, max_size=4), min_size=1, max_size=3),
    k=st.integers(1, 9),
)
def test_ties_give_the_average_over_all_orders(name, groups, k):
    if not sum(map(sum, groups)):
        groups = [*groups, [1]]
    orders = list(itertools.product(*(itertools.permutations(g) for g in groups)))
    wanted = np.mean([CONTRACT[name]([r for g in order for r in g], k) for order in orders])
    got = value(name, tied(groups, k), k)
    assert got == pytest.approx(wanted, abs=1e-12)
    assert -1e-12 <= got <= 1 + 1e-12


def tied(groups, k):
    """Hits of one user whose tie groups, best first, hold these relevances; ranks past the end are empty."""
    start, size, relevant = [], [], []
    for group in groups:
        first = len(start)
        start += [first] * len(group)
        size += [len(group)] * len(group)
        relevant += [sum(group)] * len(group)
    n = len(start)
    pad = max(0, k - n)
    rows = (start + list(range(n, n + pad)), size + [1] * pad, relevant + [0] * pad)
    return RankedHits(*(np.array([row[:k]]) for row in rows), np.array([sum(map(sum, groups))]))


# Relevant items at ranks 2 and 5, four relevant in all.
@pytest.mark.parametrize(
    ("name", "k", "wanted"),
    [
        ("recall", 5, F(2, 4)),
        ("recall", 2, F(1, 4)),  # divided by 4, not by min(2, 4)
        ("precision", 5, F(2, 5)),
        ("hr", 1, 0),
        ("hr", 2, 1),
        ("mrr", 5, F(1, 2)),
        ("mrr", 1, 0),
        ("map", 5, (F(1, 2) + F(2, 5)) / 4),
        ("map", 2, F(1, 2) / 2),
    ],
)
def test_by_hand(name, k, wanted):
    assert value(name, strict(0, 1, 0, 0, 1, n_relevant=4), k) == pytest.approx(float(wanted), abs=1e-15)


def test_ndcg_by_hand():
    # Relevant at ranks 1 and 3 of R = 2: (1 + 1/2) / (1 + 1/log2 3).
    got = value("ndcg", strict(1, 0, 1, n_relevant=2), 3)
    assert got == pytest.approx(1.5 / (1 + 1 / math.log2(3)), abs=1e-15)
    # One hit at rank 1 of R = 5 at k = 1: the ideal list is one long.
    assert value("ndcg", strict(1, 0, n_relevant=5), 1) == 1


# Four tied items, two relevant, k = 2; the six equally likely places of the two are 12 13 14 23 24 34.
@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("recall", F(1, 2)),
        ("precision", F(1, 2)),
        ("hr", F(5, 6)),
        ("mrr", F(3, 6) + F(2, 6) * F(1, 2)),
        ("map", (F(1) + 2 * F(1, 2) + 2 * F(1, 4)) / 6),
    ],
)
def test_tied_by_hand(name, wanted):
    hits = constant_hits(np.array([4]), np.array([2]), 2)
    assert value(name, hits, 2) == pytest.approx(float(wanted), abs=1e-15)


def test_large_tie_groups_neither_overflow_nor_lose_precision():
    n, m, k = 300_000, 150_000, 20
    hits = constant_hits(np.array([n]), np.array([m]), k)
    miss = np.prod([F(n - m - j, n - j) for j in range(k)])
    assert value("hr", hits, k) == pytest.approx(float(1 - miss), rel=1e-12)
    assert value("precision", hits, k) == 0.5
    # E[rel_s rel_t] = m (m - 1) / (n (n - 1)) for s < t
    pair = F(m * (m - 1), n * (n - 1))
    wanted = sum((F(m, n) + (t - 1) * pair) / t for t in range(1, k + 1)) / k
    assert value("map", hits, k) == pytest.approx(float(wanted), rel=1e-12)


def test_names_are_read():
    metric = parse_metric("ndcg@20")
    assert (metric.name, metric.k, str(metric)) == ("ndcg", 20, "ndcg@20")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("ndgc@20", "did you mean 'ndcg'"),
        ("coverag@20", "did you mean 'coverage'"),
        ("ndcg", "'ndcg@20'"),
        ("ndcg@0", "positive integer"),
        ("ndcg@-1", "positive integer"),
        ("ndcg@ten", "positive integer"),
        ("ndcg@²", "positive integer"),
        ("", "there is no metric ''"),
    ],
)
def test_a_wrong_name_says_what_is_right(text, says):
    with pytest.raises(UserError, match=says):
        parse_metric(text)
