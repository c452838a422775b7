"""Scorers against the plain formula, and tables of recommendations."""

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import torch

from recsys.errors import UserError
from recsys.evaluation.evaluator import Evaluator
from recsys.evaluation.recommendations import evaluate_recommendations
from recsys.evaluation.scorers import HistoryScorer, LowestScorer, StandardScorer, VectorScorer
from recsys.serving.parts import LOWEST

USERS = np.array([2, 0, 2])


def test_vector_scores_are_inner_products():
    users = torch.tensor([[1.0, 2.0], [0.0, 1.0], [3.0, -1.0]])
    items = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    scorer = VectorScorer(users, items)
    assert scorer(USERS).tolist() == [[3, -1], [1, 2], [3, -1]]
    assert (scorer.n_items, scorer.device.type) == (2, "cpu")


def test_standard_scores_have_mean_0_and_deviation_1_over_what_is_counted():
    """1 and 5: mean 3, deviation 2. The unscored item and the first unknown one are lowest, the other the mean."""
    vectors = VectorScorer(torch.ones(1, 1), torch.tensor([[1.0], [5.0], [9.0], [7.0]]))
    inner = LowestScorer(vectors, np.arange(4) == 3)
    scorer = StandardScorer([inner], np.array([True, True, False, False]), unknown=np.array([True, False]))
    assert scorer(np.array([0])).tolist() == [[-1, 1, 3, -1, -1, 0]] and scorer.n_items == 6


def test_vector_scores_need_no_gradient():
    vectors = torch.nn.Parameter(torch.ones(3, 2))
    assert not VectorScorer(vectors, vectors)(USERS).requires_grad


@pytest.mark.parametrize("kind", [torch.from_numpy, sp.csr_array])
def test_history_scores_are_sums_of_weights(kind):
    rng = np.random.default_rng(0)
    history = (rng.random((4, 7)) < 0.4).astype(np.float32)
    weights = rng.random((7, 7), dtype=np.float32) * (rng.random((7, 7)) < 0.5).astype(np.float32)
    scores = HistoryScorer(sp.csr_array(history), kind(weights))(USERS)
    assert scores.dtype == torch.float32
    np.testing.assert_allclose(scores.numpy(), history[USERS] @ weights, rtol=1e-6)


def test_a_block_may_be_overwritten():
    scorer = HistoryScorer(sp.csr_array(np.eye(3)), torch.eye(3))
    scorer(USERS).fill_(9)
    assert scorer(USERS).tolist() == [[0, 0, 1], [1, 0, 0], [0, 0, 1]]


def test_items_that_cannot_be_scored_are_lowest_and_those_behind_them_stay():
    scorer = LowestScorer(
        VectorScorer(torch.ones(3, 1), torch.tensor([[1.0], [2.0], [3.0]])), np.array([0, 1], bool)
    )
    assert scorer(USERS).tolist() == 3 * [[1, LOWEST, 3]]
    with pytest.raises(ValueError, match="names 4 items, and there are 3"):
        LowestScorer(scorer, np.ones(4, bool))


TRUTH = sp.csr_array(np.array([[0, 0, 1, 0], [1, 0, 0, 0]]))


def table(*rows):
    return pd.DataFrame(rows, columns=["user", "item", "score"])


def test_a_table_is_measured_without_a_model():
    # User 0 is shown items 3, 2, so the hit stands at rank 2; user 1 has no rows: all four items tie.
    got = evaluate_recommendations(table((0, 2, 0.5), (0, 3, 0.7)), TRUTH, metrics=["recall@2", "mrr@2"])
    frame = got.per_user
    assert frame["recall@2"].tolist() == [1.0, 2 / 4]
    assert frame["mrr@2"].tolist() == [1 / 2, (1 + 1 / 2) / 4]


def test_items_that_a_table_does_not_name_tie_behind_it():
    got = evaluate_recommendations(table((0, 3, -7.0), (1, 1, -7.0)), TRUTH, metrics=["recall@1", "recall@2"])
    assert got.metrics["overall"] == pytest.approx({"recall@1": 0.0, "recall@2": 1 / 3}, rel=1e-12)


def test_scores_that_float32_cannot_tell_apart_do_not_tie():
    got = evaluate_recommendations(
        table((0, 1, 1.0), (0, 2, 1.0 + 1e-12), (1, 0, 5.0)), TRUTH, metrics=["recall@1"]
    )
    assert got.metrics["overall"]["recall@1"] == 1.0


def test_a_table_of_all_scores_equals_the_model():
    rng = np.random.default_rng(0)
    users, items = torch.randn(30, 4, generator=torch.Generator().manual_seed(0)), torch.eye(4).repeat(5, 1)
    part = rng.random((30, 20))
    seen, truth = sp.csr_array(part < 0.2), sp.csr_array(part > 0.85)
    model = Evaluator(truth, seen).evaluate(VectorScorer(users, items))
    scores = (users @ items.T).numpy()
    pairs = np.indices(scores.shape).reshape(2, -1)
    rows = pd.DataFrame({"user": pairs[0], "item": pairs[1], "score": scores.ravel()})
    shuffled = rows.sample(frac=1, random_state=0)
    assert evaluate_recommendations(shuffled, truth, seen).metrics == model.metrics


@pytest.mark.parametrize(
    ("frame", "says"),
    [
        (table((0, 1, 1.0)).rename(columns={"score": "rating"}), "no column 'score'"),
        (table((0, 1, 1.0), (0, 4, 1.0)), r"row 1: item 4 is outside 0\.\.3"),
        (table((-1, 1, 1.0)), r"row 0: user -1 is outside 0\.\.1"),
        (table((0.5, 1, 1.0)), "column 'user' is float64"),
        (table((0, 1, np.nan)), "row 0: the score is NaN"),
        (table((0, 1, 1.0), (0, 2, 1.0), (0, 1, 2.0)), "row 2: the pair occurs twice"),
    ],
)
def test_a_wrong_table_says_where(frame, says):
    with pytest.raises(UserError, match=says):
        evaluate_recommendations(frame, TRUTH)
