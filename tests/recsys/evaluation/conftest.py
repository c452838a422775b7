"""A readable evaluator that goes through users, tied orders and ranks one at a time."""

import itertools
import math

import numpy as np
import pytest


def average_over_orders(scores, masked, relevant, k):
    """Metrics at k of one user, the mean over all orders of tied items.

    scores: list of numbers; masked: set of items never ranked; relevant: set of items to find.
    """
    candidates = [i for i in range(len(scores)) if i not in masked]
    levels = sorted({scores[i] for i in candidates}, reverse=True)
    groups = [[i for i in candidates if scores[i] == level] for level in levels]
    orders = list(itertools.product(*(itertools.permutations(g) for g in groups)))
    totals = dict.fromkeys(("recall", "ndcg", "precision", "hr", "mrr", "map"), 0.0)
    for order in orders:
        ranked = [i for group in order for i in group][:k]
        ranks = [t for t, item in enumerate(ranked, start=1) if item in relevant]
        ideal = sum(1 / math.log2(t + 1) for t in range(1, min(k, len(relevant)) + 1))
        totals["recall"] += len(ranks) / len(relevant)
        totals["precision"] += len(ranks) / k
        totals["ndcg"] += sum(1 / math.log2(t + 1) for t in ranks) / ideal
        totals["hr"] += len(ranks) > 0
        totals["mrr"] += 1 / ranks[0] if ranks else 0
        totals["map"] += sum((n + 1) / t for n, t in enumerate(ranks)) / min(k, len(relevant))
    return {f"{name}@{k}": total / len(orders) for name, total in totals.items()}


def slow_evaluate(scores, seen, truth, k, users=None):
    """Mean of `average_over_orders` over the users with something to find; dense arrays."""
    rows = [
        average_over_orders(s.tolist(), set(np.flatnonzero(m)), set(np.flatnonzero(t)), k)
        for s, m, t in zip(scores, seen, truth, strict=True)
        if t.any()
    ]
    return {name: np.mean([row[name] for row in rows]) for name in rows[0]}, len(rows)


@pytest.fixture(scope="session")
def slow():
    return slow_evaluate
