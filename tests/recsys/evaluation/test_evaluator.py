"""The evaluator against slow loops, an independent library, and what must not matter."""

import itertools

import ir_measures
import numpy as np
import pytest
import scipy.sparse as sp
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from recsys.errors import UserError
from recsys.evaluation.candidates import Candidates
from recsys.evaluation.evaluator import Evaluator
from recsys.evaluation.facts import Facts
from recsys.evaluation.lists import ListStatistics, RankedLists
from recsys.evaluation.ranking import top_k
from recsys.evaluation.scorers import LowestScorer, VectorScorer
from recsys.serving.parts import LOWEST

NAMES = ("recall", "ndcg", "precision", "hr", "mrr", "map")
N_USERS, N_ITEMS = 5, 6


class Fixed:
    """A scorer that knows all its scores."""

    device = torch.device("cpu")

    def __init__(self, scores):
        self.scores = np.asarray(scores, dtype=np.float32)
        self.n_items = self.scores.shape[1]
        self.asked = []

    def __call__(self, users):
        self.asked.extend(users.tolist())
        return torch.from_numpy(self.scores[users])


def at(*ks, names=NAMES):
    return [f"{name}@{k}" for name in names for k in ks]


def random_case(seed, n_users=40, n_items=60, levels=None):
    """Dense scores (with ties where `levels` says how many values there are), seen and truth."""
    rng = np.random.default_rng(seed)
    scores = rng.random((n_users, n_items)) if levels is None else rng.integers(0, levels, (n_users, n_items))
    part = rng.random((n_users, n_items))
    return scores.astype(np.float32), part < 0.1, (part > 0.9) & (rng.random((n_users, 1)) < 0.8)


@settings(max_examples=80, deadline=None)
@given(
    scores=arrays(np.int8, (N_USERS, N_ITEMS), elements=st.integers(0, 3)),
    part=arrays(np.int8, (N_USERS, N_ITEMS), elements=st.integers(0, 2)),
    pool=arrays(np.bool_, N_ITEMS),
    k=st.integers(1, 8),
    block=st.integers(1, 6),
)
def test_equals_the_slow_loop(slow, scores, part, pool, k, block):
    seen, truth = part == 1, part == 2
    truth[0, 0], seen[0, 0] = True, False
    evaluator = Evaluator(sp.csr_array(truth), sp.csr_array(seen), {"g": pool}, pool=pool, metrics=at(k))
    got = evaluator.evaluate(Fixed(scores), block_size=block)
    restricted = (seen | ~pool, truth & pool)
    for group, (masked, wanted_truth) in {"overall": (seen, truth), "cold_pool": restricted}.items():
        if not wanted_truth.any():
            assert group not in got.metrics and got.users[group] == 0
            continue
        wanted, n_users = slow(scores, masked, wanted_truth, k)
        assert got.users[group] == n_users
        assert got.metrics[group] == pytest.approx(wanted, abs=1e-12)
    if restricted[1].any():
        # An item group: ranked among all items, only the ground truth is restricted.
        wanted, n_users = slow(scores, seen, truth & pool, k)
        assert got.users["g"] == n_users
        assert got.metrics["g"] == pytest.approx(wanted, abs=1e-12)


@pytest.mark.parametrize("k", [1, 5, 10])
def test_equals_ir_measures_where_nothing_ties(k):
    scores, seen, truth = random_case(1)
    got = Evaluator(sp.csr_array(truth), sp.csr_array(seen), metrics=at(k)).evaluate(Fixed(scores))
    qrels = {str(u): {str(i): 1 for i in np.flatnonzero(row)} for u, row in enumerate(truth) if row.any()}
    run = {u: {str(i): float(scores[int(u), i]) for i in np.flatnonzero(~seen[int(u)])} for u in qrels}
    theirs = {
        "ndcg": ir_measures.nDCG @ k,
        "recall": ir_measures.R @ k,
        "precision": ir_measures.P @ k,
        "mrr": ir_measures.RR @ k,
        "hr": ir_measures.Success @ k,
        "map": ir_measures.AP @ k,
    }
    for name, measure in theirs.items():
        wanted = {int(v.query_id): v.value for v in ir_measures.iter_calc([measure], qrels, run)}
        if name == "map":  # theirs divides by R, ours by min(k, R)
            wanted = {u: v * truth[u].sum() / min(k, truth[u].sum()) for u, v in wanted.items()}
        ours = got.per_user.set_index("user")[f"{name}@{k}"].to_dict()
        assert ours == pytest.approx(wanted, abs=1e-6)


@pytest.mark.parametrize("constant", [0.0, -3.5, 1e30, LOWEST, -np.inf])
def test_scoring_all_items_alike_is_exactly_chance(constant):
    _, seen, truth = random_case(2)
    warm = np.arange(60) < 30
    evaluator = Evaluator(
        sp.csr_array(truth), sp.csr_array(seen), {"warm": warm}, {"even": np.arange(40) % 2 == 0}, ~warm,
        metrics=at(1, 10, 100),
    )  # fmt: skip
    got = evaluator.evaluate(Fixed(np.full((40, 60), constant)), block_size=7)
    assert set(got.chance) == {"overall", "warm", "even", "cold_pool"}
    assert got.metrics == got.chance
    # Each of a user's candidates stands in the top 10 with probability 10 / their number.
    users = np.flatnonzero(truth.any(axis=1))
    wanted = np.mean(10 / (60 - seen[users].sum(axis=1)))
    assert got.chance["overall"]["recall@10"] == pytest.approx(wanted, rel=1e-12)


def test_a_random_order_reaches_chance_on_average():
    _, seen, truth = random_case(3)
    evaluator = Evaluator(sp.csr_array(truth), sp.csr_array(seen), metrics=at(5))
    rng = np.random.default_rng(0)
    values = [evaluator.evaluate(Fixed(rng.random((40, 60)))).metrics["overall"] for _ in range(300)]
    for name, chance in evaluator.evaluate(Fixed(np.zeros((40, 60)))).chance["overall"].items():
        sample = np.array([v[name] for v in values])
        assert abs(sample.mean() - chance) < 4 * sample.std() / np.sqrt(len(sample))


@pytest.mark.parametrize("levels", [None, 3])
def test_neither_block_size_nor_order_of_users_and_items_matters(levels):
    scores, seen, truth = random_case(4, levels=levels)
    rng = np.random.default_rng(0)
    p, q = rng.permutation(40), rng.permutation(60)
    group = np.arange(60) % 3 == 0

    def run(block, users, items):
        evaluator = Evaluator(
            *(sp.csr_array(m[users][:, items]) for m in (truth, seen)), {"g": group[items]}, pool=group[items]
        )
        return evaluator.evaluate(Fixed(scores[users][:, items]), block_size=block).metrics

    base = run(None, np.arange(40), np.arange(60))
    for block, users, items in [(1, slice(None), slice(None)), (7, slice(None), slice(None)), (64, p, q)]:
        other = run(block, users, items)
        for name in base:
            assert other[name] == pytest.approx(base[name], rel=1e-12)


def test_more_users_than_are_held_at_once(monkeypatch):
    scores, seen, truth = random_case(5, levels=4)
    evaluator = Evaluator(
        sp.csr_array(truth), sp.csr_array(seen), {"g": np.arange(60) < 9}, pool=np.arange(60) < 9
    )
    whole = evaluator.evaluate(Fixed(scores))
    monkeypatch.setattr("recsys.evaluation.evaluator._CHUNK", 5)
    parts = evaluator.evaluate(Fixed(scores), block_size=3)
    assert parts.users == whole.users
    for name, values in whole.metrics.items():
        assert parts.metrics[name] == pytest.approx(values, rel=1e-12)
    assert parts.per_user.equals(whole.per_user)


def test_the_scorer_is_asked_once_and_only_for_users_with_something_to_find():
    scores, seen, truth = random_case(6)
    truth[3], truth[7] = False, False
    scorer = Fixed(scores)
    got = Evaluator(sp.csr_array(truth), sp.csr_array(seen)).evaluate(scorer, block_size=8)
    assert scorer.asked == np.flatnonzero(truth.any(axis=1)).tolist()
    assert got.users["overall"] == len(scorer.asked)
    assert got.per_user["user"].tolist() == scorer.asked


def test_an_empty_truth_is_not_a_zero():
    # User 0 finds their one item, user 1 has nothing to find, and the warm group is user 2's alone.
    truth = sp.csr_array(np.array([[1, 0, 0], [0, 0, 0], [0, 1, 0]]))
    warm = np.array([False, True, True])
    got = Evaluator(truth, groups={"warm": warm, "none": ~warm & warm}, metrics=["recall@1"]).evaluate(
        Fixed([[3, 2, 1]] * 3)
    )
    assert got.metrics == {"overall": {"recall@1": 1 / 2}, "warm": {"recall@1": 0.0}}
    assert got.users == {"overall": 2, "warm": 1, "none": 0}
    assert "none" not in got.chance


def test_stored_zeros_and_repeated_pairs_count_as_what_they_are():
    # User 0 has item 1 to find, stored twice, and a stored zero at item 0, which is not to be found.
    truth = sp.csr_array((np.array([0, 1, 1]), np.array([0, 1, 1]), np.array([0, 3])), shape=(1, 3))
    got = Evaluator(truth, metrics=["recall@1", "map@2"]).evaluate(Fixed([[3, 2, 1]]))
    assert got.metrics["overall"] == {"recall@1": 0.0, "map@2": 1 / 2}
    assert truth.nnz == 3


def test_masked_items_are_never_recommended():
    # The two best items are seen; the one to find comes next, so it stands first.
    truth, seen = sp.csr_array(np.array([[0, 0, 1, 0]])), sp.csr_array(np.array([[1, 1, 0, 0]]))
    got = Evaluator(truth, seen, metrics=["mrr@4", "precision@4", "coverage@4"]).evaluate(
        Fixed([[9, 8, 7, 6]])
    )
    assert got.metrics["overall"] == {"mrr@4": 1.0, "precision@4": 1 / 4, "coverage@4": 2 / 4}


def test_items_that_cannot_be_scored_tie_below_all_others():
    # Item 2 would score highest; as one that cannot be scored it ties with item 3 for the last two of four places.
    vectors = VectorScorer(torch.ones(1, 1), torch.tensor([[1.0], [0.5], [9.0], [8.0]]))
    scorer = LowestScorer(vectors, np.array([0, 0, 1, 1], bool))
    got = Evaluator(sp.csr_array(np.array([[0, 0, 1, 0]])), metrics=at(2, 3, 4, names=["recall"])).evaluate(
        scorer
    )
    assert got.metrics["overall"] == {"recall@2": 0.0, "recall@3": 1 / 2, "recall@4": 1.0}


def test_minus_infinity_means_lowest_not_masked():
    truth, seen = sp.csr_array(np.array([[0, 1, 0, 0]])), sp.csr_array(np.array([[0, 0, 0, 1]]))
    got = Evaluator(truth, seen, metrics=at(2, 3, names=["recall"])).evaluate(
        Fixed([[1.0, -np.inf, -np.inf, 5.0]])
    )
    assert got.metrics["overall"] == {"recall@2": 1 / 2, "recall@3": 1.0}


def test_a_list_shorter_than_k_is_not_filled():
    # Two candidates are left of four; precision@4 still divides by 4.
    truth, seen = sp.csr_array(np.array([[0, 0, 0, 1]])), sp.csr_array(np.array([[1, 1, 0, 0]]))
    got = Evaluator(truth, seen, metrics=at(4, 9, names=["precision", "recall"])).evaluate(
        Fixed([[4, 3, 2, 1]])
    )
    assert got.metrics["overall"] == {
        "precision@4": 1 / 4, "precision@9": 1 / 9, "recall@4": 1.0, "recall@9": 1.0,
    }  # fmt: skip


def test_user_groups_average_some_users_of_the_same_ranking():
    scores, seen, truth = random_case(8)
    new = np.arange(40) >= 25
    got = Evaluator(sp.csr_array(truth), sp.csr_array(seen), user_groups={"new": new}).evaluate(Fixed(scores))
    frame = got.per_user
    overall = frame[frame["group"] == "overall"]
    wanted = overall[overall["user"] >= 25]["ndcg@20"].mean()
    assert got.metrics["new"]["ndcg@20"] == pytest.approx(wanted, rel=1e-12)
    assert got.users["new"] == (overall["user"] >= 25).sum()


def test_per_user_values_average_to_the_metrics():
    scores, seen, truth = random_case(9, levels=4)
    got = Evaluator(
        sp.csr_array(truth), sp.csr_array(seen), {"g": np.arange(60) < 20}, metrics=at(5)
    ).evaluate(Fixed(scores))
    assert got.per_user.columns.tolist() == ["user", "group", *at(5)]
    means = got.per_user.groupby("group", observed=True)[at(5)].mean()
    for group, values in got.metrics.items():
        assert means.loc[group].to_dict() == pytest.approx(values, rel=1e-12)


def test_validation_needs_one_metric_and_no_group():
    scores, seen, truth = random_case(10)
    evaluator = Evaluator(sp.csr_array(truth), sp.csr_array(seen), {"g": np.arange(60) < 20})
    full = evaluator.evaluate(Fixed(scores))
    fast = evaluator.evaluate(Fixed(scores), metrics=("ndcg@20",), groups=())
    assert fast.metrics == {
        "overall": {"ndcg@20": pytest.approx(full.metrics["overall"]["ndcg@20"], rel=1e-15)}
    }


def test_coverage_and_popularity_by_hand():
    # Both users see items 0 and 1 first: two of four items covered, trained on 8 and 2 times.
    truth = sp.csr_array(np.array([[0, 0, 0, 1], [0, 0, 0, 1]]))
    evaluator = Evaluator(
        truth,
        facts=Facts(np.array([8, 2, 0, 1])),
        metrics=["coverage@1", "coverage@2", "popularity@1", "popularity@2"],
    )
    got = evaluator.evaluate(Fixed([[4, 3, 2, 1], [4, 3, 2, 1]]))
    assert got.metrics["overall"] == {
        "coverage@1": 1 / 4, "coverage@2": 2 / 4, "popularity@1": 8.0, "popularity@2": 5.0,
    }  # fmt: skip


def test_tied_items_count_with_the_probability_of_being_listed():
    # Item 0 leads, items 1..3 tie for the second place; two users draw independently.
    truth = sp.csr_array(np.array([[0, 0, 0, 1, 0], [0, 0, 0, 1, 0]]))
    evaluator = Evaluator(
        truth, facts=Facts(np.array([9, 3, 6, 0, 7])), metrics=["coverage@2", "popularity@2"]
    )
    got = evaluator.evaluate(Fixed([[5, 1, 1, 1, 0]] * 2))
    once = 1 - (2 / 3) ** 2
    assert got.metrics["overall"]["coverage@2"] == pytest.approx((1 + 3 * once) / 5, rel=1e-12)
    assert got.metrics["overall"]["popularity@2"] == pytest.approx((9 + 3) / 2, rel=1e-12)


def test_ties_inside_the_longest_list_count_at_the_shorter_one():
    # Items 0 and 1 tie; at k = 1 each is listed with probability 1/2, at k = 2 both are.
    truth = sp.csr_array(np.array([[0, 0, 1]]))
    evaluator = Evaluator(
        truth, facts=Facts(np.array([4, 2, 0])), metrics=["coverage@1", "coverage@2", "popularity@1"]
    )
    got = evaluator.evaluate(Fixed([[5, 5, 1]])).metrics["overall"]
    assert got == pytest.approx({"coverage@1": 1 / 3, "coverage@2": 2 / 3, "popularity@1": 3.0}, rel=1e-12)


def test_popularity_counts_what_was_seen_unless_told():
    truth, seen = sp.csr_array(np.array([[0, 1], [0, 1]])), sp.csr_array(np.array([[1, 0], [1, 0]]))
    got = Evaluator(truth, seen, metrics=["popularity@1"]).evaluate(Fixed(np.zeros((2, 2))))
    assert got.metrics["overall"]["popularity@1"] == 0.0


def test_nan_scores_are_named():
    scores, seen, truth = random_case(11)
    truth[21, 40:50], seen[21] = True, False
    scores[21, 13] = np.nan
    with pytest.raises(UserError, match="scores of user 21 are NaN"):
        Evaluator(sp.csr_array(truth), sp.csr_array(seen)).evaluate(Fixed(scores), block_size=8)


def test_what_does_not_fit_is_refused():
    one, other = sp.csr_array(np.eye(3)), sp.csr_array(1 - np.eye(3))
    with pytest.raises(UserError, match=r"3 .* both held out and masked"):
        Evaluator(one, one)
    with pytest.raises(UserError, match="nothing to evaluate"):
        Evaluator(sp.csr_array((3, 3)))
    with pytest.raises(UserError, match="did you mean 'ndcg'"):
        Evaluator(one, metrics=["ndgc@3"])
    with pytest.raises(UserError, match="no metric"):
        Evaluator(one, metrics=[])
    with pytest.raises(ValueError, match="shape"):
        Evaluator(one, sp.csr_array((3, 4)))
    with pytest.raises(ValueError, match="differ"):
        Evaluator(one, groups={"overall": np.ones(3, bool)})
    with pytest.raises(ValueError, match="expected bool"):
        Evaluator(one, groups={"warm": np.ones(3)})
    evaluator = Evaluator(one, other, {"warm": np.ones(3, bool)})
    with pytest.raises(UserError, match="did you mean 'warm'"):
        evaluator.evaluate(Fixed(np.eye(3)), groups=["worm"])
    with pytest.raises(ValueError, match="4 items"):
        evaluator.evaluate(Fixed(np.ones((3, 4))))


@pytest.mark.parametrize("seed", range(3))
def test_exposure_is_the_mean_over_all_orders_of_ties(seed):
    rng = np.random.default_rng(seed)
    scores = rng.integers(0, 3, (4, 5)).astype(np.float32)
    counts = np.array([5.0, 1, 4, 0, 2])
    candidates = Candidates(sp.csr_array(np.eye(4, 5)), sp.csr_array((4, 5)))
    lists = ListStatistics([1, 3], facts := Facts(counts), candidates)
    tensor = torch.from_numpy(scores)
    for low in (0, 2):
        part = tensor[low : low + 2]
        top = top_k(part, 3)
        located = candidates.locate(part, top, low, low + 2)
        lists.add(RankedLists(part, top, facts, candidates, low, located))
    for k in (1, 3):
        share = np.zeros((4, 5))  # probability that an item is in a user's list
        orders = list(itertools.permutations(range(5)))
        for user, order in itertools.product(range(4), orders):
            best = sorted(order, key=lambda item: -scores[user, item])[:k]
            share[user, best] += 1 / len(orders)
        assert lists.exposure(k) == pytest.approx(share.sum(axis=0), abs=1e-12)
        assert lists.listed(k) == pytest.approx(1 - np.prod(1 - share, axis=0), abs=1e-12)
        assert lists.mean_count(k) == pytest.approx((share @ counts).mean() / k, rel=1e-12)
