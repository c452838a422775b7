"""Metrics of what is listed: by hand, against a loop over users, orders and ranks, and against RecBole."""

import itertools
import math
from fractions import Fraction as F

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from recsys.datasets.dataset import Modality
from recsys.errors import UserError
from recsys.evaluation.evaluator import Evaluator
from recsys.evaluation.facts import Facts

EACH = ("novelty", "long_tail", "ild.image", "serendipity")
ALL = ("popularity_lift", "gini", "entropy", "exposure_gap.kind", "opportunity_gap.kind", "user_gap.sex")
N_USERS, N_ITEMS = 4, 6
COUNTS = np.array([5, 3, 3, 1, 0, 2])
IMAGE = np.array([[1, 0], [3, 4], [0, 2], [-1, 0], [1, 1], [2, 0]], dtype=np.float32)
KINDS, SEXES = ["a", "b", "a|b", "b", "c", ""], ["f", "m", "f", ""]


class Fixed:
    device = torch.device("cpu")

    def __init__(self, scores):
        self.scores = np.asarray(scores, dtype=np.float32)
        self.n_items = self.scores.shape[1]

    def __call__(self, users):
        return torch.from_numpy(self.scores[users])


def facts(mask=None, image=IMAGE):
    mask = np.ones(len(image), bool) if mask is None else mask
    return Facts(
        COUNTS,
        np.array([4, 5, 5, 0]),
        {"image": Modality(image * mask[:, None], mask)},
        pd.DataFrame({"kind": KINDS}),
        pd.DataFrame({"sex": SEXES}),
    )


def evaluate(scores, seen, truth, names, k, known=None, **how):
    evaluator = Evaluator(
        sp.csr_array(np.asarray(truth, dtype=float)),
        sp.csr_array(np.asarray(seen, dtype=float)),
        facts=known or facts(),
        metrics=[f"{name}@{k}" for name in names],
        **how,
    )
    return evaluator.evaluate(Fixed(scores), block_size=3)


def orders(scores, candidates):
    """All orders of the candidates, best first, ties in any order."""
    levels = sorted({scores[i] for i in candidates}, reverse=True)
    groups = [[i for i in candidates if scores[i] == level] for level in levels]
    for order in itertools.product(*(itertools.permutations(g) for g in groups)):
        yield [i for group in order for i in group]


def distance(i, j):
    x, y = IMAGE[i], IMAGE[j]
    return 1 - float(x @ y) / math.sqrt(float(x @ x) * float(y @ y))


HEAD = {0}  # a fifth of the five items that were taken, by count


def each_list(name, chosen, k, relevant, primitive):
    if name == "novelty":
        return np.mean([math.log2(3 / max(COUNTS[i], 1)) for i in chosen])
    if name == "long_tail":
        return np.mean([i not in HEAD for i in chosen])
    if name == "serendipity":
        return sum(1 - primitive[i] for i in chosen if i in relevant) / k
    pairs = list(itertools.combinations(chosen, 2))
    return np.mean([distance(i, j) for i, j in pairs]) if pairs else 0.0


def slow(scores, seen, truth, k):
    """Expected values over all orders of ties: of each metric, one user, order and rank at a time."""
    of_each = {name: [] for name in EACH}
    exposure, found, wanted, possible = (np.zeros(N_ITEMS) for _ in range(4))
    known, listed, ndcg = [], [], {}
    for user in range(N_USERS):
        relevant, candidates = set(np.flatnonzero(truth[user])), list(np.flatnonzero(~seen[user]))
        if not relevant:
            continue
        primitive = np.zeros(N_ITEMS)
        popular = list(orders(COUNTS, candidates))
        for order in popular:
            primitive[order[:k]] += 1 / len(popular)
        ranked = list(orders(scores[user], candidates))
        values = {name: 0.0 for name in EACH}
        count, gain = 0.0, 0.0
        ideal = sum(1 / math.log2(t + 2) for t in range(min(k, len(relevant))))
        for order in ranked:
            chosen = order[:k]
            for name in EACH:
                values[name] += each_list(name, chosen, k, relevant, primitive) / len(ranked)
            for i in chosen:
                exposure[i] += 1 / len(ranked)
                found[i] += (i in relevant) / len(ranked)
            count += np.mean(COUNTS[chosen]) / len(ranked)
            gain += sum(1 / math.log2(t + 2) for t, i in enumerate(chosen) if i in relevant) / len(ranked)
        for name in EACH:
            of_each[name].append(values[name])
        for i in range(N_ITEMS):
            wanted[i] += i in relevant
            possible[i] += i in candidates
        if seen[user].any():
            known.append(np.mean(COUNTS[seen[user]]))
            listed.append(count)
        ndcg[user] = gain / ideal
    result = {name: np.mean(values) for name, values in of_each.items()}
    p, q = (np.mean(known), np.mean(listed)) if known else (0, 0)
    result["popularity_lift"] = (q - p) / p if p else 0
    ordered = sorted(exposure)
    difference = sum(abs(a - b) for a in ordered for b in ordered)
    result["gini"] = difference / (2 * N_ITEMS * sum(ordered))
    shares = [e / sum(exposure) for e in exposure if e]
    result["entropy"] = -sum(s * math.log2(s) for s in shares)
    for name, counted, below in (
        ("exposure_gap", exposure, possible),
        ("opportunity_gap", found, wanted),
    ):
        probabilities = []
        for kind in "abc":
            items = [i for i in range(N_ITEMS) if kind in KINDS[i].split("|")]
            if below[items].sum() > 0:
                probabilities.append(counted[items].sum() / below[items].sum())
        mean = np.mean(probabilities) if probabilities else 0
        result[f"{name}.kind"] = np.std(probabilities) / mean if mean > 0 else 0
    means = [np.mean([ndcg[u] for u in ndcg if SEXES[u] == s] or [np.nan]) for s in "fm"]
    means = [m for m in means if not np.isnan(m)]
    result["user_gap.sex"] = max(means) - min(means) if means else 0
    return {f"{name}@{k}": value for name, value in result.items()}


@settings(max_examples=60, deadline=None)
@given(
    scores=arrays(np.int8, (N_USERS, N_ITEMS), elements=st.integers(0, 3)),
    part=arrays(np.int8, (N_USERS, N_ITEMS), elements=st.integers(0, 2)),
    k=st.integers(1, 7),
    longer=st.integers(0, 2),
)
def test_equals_the_slow_loop(scores, part, k, longer):
    seen, truth = part == 1, part == 2
    truth[0, 0], seen[0, 0] = True, False
    # A longer list beside it must not matter.
    names = [f"{name}@{cut}" for name in (*EACH, *ALL) for cut in {k, k + longer}]
    matrices = (sp.csr_array(matrix.astype(float)) for matrix in (truth, seen))
    got = Evaluator(*matrices, facts=facts(), metrics=names).evaluate(Fixed(scores), block_size=3)
    for name, wanted in slow(scores, seen, truth, k).items():
        assert got.metrics["overall"][name] == pytest.approx(wanted, abs=1e-9), name


# Two users; items 0 1 2 3 of counts 5 3 3 1. User 0 gets 0, 1; user 1, who has 0, gets 1, 3.
BY_HAND = {
    # log2(3/5), log2(3/3); log2(3/3), log2(3/1)
    "novelty": (math.log2(F(3, 5)) / 2 + math.log2(3) / 2) / 2,
    "long_tail": (F(1, 2) + 1) / 2,
    # cos(0, 1) = 3/5; cos(1, 3) = -3/5
    "ild.image": ((1 - F(3, 5)) + (1 + F(3, 5))) / 2,
    # User 0 finds 1, which popularity lists with probability 1/2, tied with 2; user 1 finds 3, which it never lists.
    "serendipity": (F(1, 2) * F(1, 2) + F(1, 2)) / 2,
    # User 1 took an item of count 5 and gets counts 3 and 1.
    "popularity_lift": F(2, 5) - 1,
    # Exposures 0 0 0 1 1 2.
    "gini": F(1 * 1 + 3 * 1 + 5 * 2, 6 * 4),
    "entropy": 1.5,
    # a: items 0 and 2, listed 1 of 3 times; b: items 1, 2, 3, listed 3 of 6 times; c: item 4, 0 of 2.
    "exposure_gap.kind": np.std([1 / 3, 1 / 2, 0]) / np.mean([1 / 3, 1 / 2, 0]),
    # a is not to be found; b: all of items 1 and 3; c: none of item 4.
    "opportunity_gap.kind": 1.0,
    # User 0 (f) finds its only item at rank 2; user 1 (m) one of two, at rank 2.
    "user_gap.sex": 1 / math.log2(3) - (1 / math.log2(3)) / (1 + 1 / math.log2(3)),
}


@pytest.mark.parametrize("name", BY_HAND)
def test_by_hand(name):
    scores = [[6, 5, 4, 3, 2, 1], [9, 6, 3, 5, 2, 1]]
    seen = [[0, 0, 0, 0, 0, 0], [1, 0, 0, 0, 0, 0]]
    truth = [[0, 1, 0, 0, 0, 0], [0, 0, 0, 1, 1, 0]]
    got = evaluate(scores, seen, truth, [name], 2)
    assert got.metrics["overall"][f"{name}@2"] == pytest.approx(float(BY_HAND[name]), abs=1e-12)


def test_every_metric_of_lists_is_tested_here():
    from recsys.evaluation import OF_ALL_LISTS, OF_EACH_LIST

    elsewhere = {"coverage", "popularity"}  # in test_evaluator
    assert {name.partition(".")[0] for name in BY_HAND} == {*OF_ALL_LISTS, *OF_EACH_LIST} - elsewhere
    assert set(BY_HAND) == {*EACH, *ALL}


def random_case(seed, n_users=30, n_items=50):
    rng = np.random.default_rng(seed)
    part = rng.random((n_users, n_items))
    return rng.random((n_users, n_items)).astype(np.float32), part < 0.1, part > 0.9


@pytest.mark.parametrize("sparse", [False, True])
def test_pairs_without_the_modality_are_left_out(sparse):
    scores, seen, truth = random_case(0)
    rng = np.random.default_rng(1)
    image, mask = rng.normal(size=(50, 8)).astype(np.float32), rng.random(50) < 0.5
    features = image * mask[:, None]
    known = Facts(
        np.ones(50), modalities={"image": Modality(sp.csr_array(features) if sparse else features, mask)}
    )
    got = evaluate(scores, seen, truth, ["ild.image"], 5, known)
    unit = image / np.linalg.norm(image, axis=1, keepdims=True)
    wanted = []
    for row, masked in zip(scores[truth.any(axis=1)], seen[truth.any(axis=1)], strict=True):
        best = [i for i in sorted(range(50), key=lambda i: -row[i]) if not masked[i]][:5]
        pairs = [(i, j) for i, j in itertools.combinations(best, 2) if mask[i] and mask[j]]
        wanted.append(np.mean([1 - unit[i] @ unit[j] for i, j in pairs]) if pairs else 0.0)
    values = got.per_user.query("group == 'overall'")["ild.image@5"]
    assert 0.0 in wanted and values.to_numpy() == pytest.approx(wanted, abs=1e-6)


def test_groups_average_over_their_users_and_the_cold_pool_has_lists_of_its_own():
    scores, seen, truth = random_case(2, 20, N_ITEMS)
    users, pool = np.arange(20) < 7, COUNTS <= 2
    got = evaluate(scores, seen, truth, ["novelty", "ild.image"], 2, user_groups={"few": users}, pool=pool)
    values = got.per_user.query("group == 'overall'").set_index("user")["novelty@2"]
    assert got.metrics["few"]["novelty@2"] == pytest.approx(values[values.index < 7].mean())
    restricted = evaluate(scores, seen | ~pool, truth & pool, ["novelty", "ild.image"], 2)
    assert got.metrics["cold_pool"] == pytest.approx(restricted.metrics["overall"])


def test_accuracy_is_not_touched_and_chance_has_no_level_for_what_is_listed():
    scores, seen, truth = random_case(3, 20, N_ITEMS)
    known = facts()
    known = Facts(COUNTS, np.arange(20), known.modalities, known.item_attributes)
    alone = evaluate(scores, seen, truth, ["ndcg", "coverage"], 3, known)
    beside = evaluate(scores, seen, truth, ["novelty", "ndcg", "user_gap.activity", "coverage"], 3, known)
    assert beside.metrics["overall"]["ndcg@3"] == alone.metrics["overall"]["ndcg@3"]
    assert beside.metrics["overall"]["coverage@3"] == alone.metrics["overall"]["coverage@3"]
    assert list(beside.chance["overall"]) == ["ndcg@3"]
    gap = evaluate(scores, seen, truth, ["user_gap.activity"], 3, known)
    assert list(gap.metrics["overall"]) == ["user_gap.activity@3"]


@pytest.mark.parametrize(
    ("metric", "message"),
    [
        ("ild@5", r"'ild@5' is of one modality: name it, as in 'ild\.NAME@5'"),
        (
            "ild.imge@5",
            r"'ild\.imge@5': the data set has no modality 'imge'; did you mean 'image'\?; there is image",
        ),
        ("novelty.image@5", r"'novelty' takes no '\.image'; ask for 'novelty@5'"),
        ("user_gap.age@5", "no user group 'age'.*activity, sex"),
        ("exposure_gap.sex@5", "no item group 'sex'.*popularity, kind"),
    ],
)
def test_what_cannot_be_measured_is_refused(metric, message):
    with pytest.raises(UserError, match=message):
        Evaluator(sp.csr_array(np.eye(4, 6)), facts=facts(), metrics=[metric])


def test_equal_to_recbole():
    pytest.importorskip("recbole")
    from recsys.models.recbole.compat import Loan

    scores, seen, truth = random_case(4)
    counts = np.random.default_rng(5).integers(1, 9, 50)
    got = evaluate(scores, seen, truth, ["gini", "coverage", "popularity"], 5, Facts(counts))
    best = np.argsort(np.where(seen, np.inf, -scores), axis=1)[truth.any(axis=1), :5]
    with Loan(0)():
        from recbole.evaluator import metrics as theirs

        config = {"topk": [5], "metric_decimal_place": 12, "tail_ratio": 0.1}
        gini = theirs.GiniIndex(config).get_gini(best, 50)
        assert got.metrics["overall"]["gini@5"] == pytest.approx(gini, abs=1e-12)
        coverage = theirs.ItemCoverage(config).get_coverage(best, 50)
        assert got.metrics["overall"]["coverage@5"] == pytest.approx(coverage, abs=1e-12)
        average = theirs.AveragePopularity(config).get_pop(best, dict(enumerate(counts.tolist())))
        assert got.metrics["overall"]["popularity@5"] == pytest.approx(average.mean(), abs=1e-12)
