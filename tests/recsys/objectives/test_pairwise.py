"""BPR, BCE, sampled softmax and L2 against values worked out by hand."""

import math

import pytest
import torch

from recsys.errors import UserError
from recsys.objectives.l2 import l2
from recsys.objectives.ranking.bce import bce
from recsys.objectives.ranking.bpr import bpr
from recsys.objectives.ranking.sampled_softmax import sampled_softmax


def double(*values):
    return torch.tensor(values, dtype=torch.float64)


def test_bpr_by_hand():
    # sigmoid(log 3) = 3/4 and sigmoid(0) = 1/2
    values = bpr(double(math.log(3), 2), double(0, 2), reduction="none")
    torch.testing.assert_close(values, double(math.log(4 / 3), math.log(2)))
    assert bpr(double(math.log(3), 2), double(0, 2)).item() == pytest.approx(math.log(8 / 3) / 2)
    assert bpr(double(math.log(3), 2), double(0, 2), reduction="sum").item() == pytest.approx(math.log(8 / 3))


def test_bpr_neither_overflows_nor_loses_small_values():
    values = bpr(torch.tensor([-500.0, 20.0]), torch.zeros(2), reduction="none")
    torch.testing.assert_close(values, torch.tensor([500.0, math.exp(-20)]))


def test_bpr_with_several_negatives_each():
    values = bpr(double(1, 2)[:, None], double(0, 1, 2, 3).view(2, 2), reduction="none")
    margins = double(1, 0, 0, -1).view(2, 2)
    torch.testing.assert_close(values, -margins.sigmoid().log())


def test_bce_by_hand():
    # -log sigmoid(log 3) = log 4/3; -log(1 - sigmoid(log 3)) = log 4; -log(1 - sigmoid(0)) = log 2
    value = bce(double(math.log(3)), double(math.log(3), 0))
    assert value.item() == pytest.approx((math.log(4 / 3) + math.log(4) + math.log(2)) / 3)


def test_sampled_softmax_by_hand():
    # e^s: positive 2, negatives 1 and 5, share 2/8; at temperature 1/2 the squares: 4/(4 + 1 + 25)
    positive, negative = double(2).log(), double(1, 5).log()[None]
    assert sampled_softmax(positive, negative).item() == pytest.approx(math.log(4))
    assert sampled_softmax(positive, negative, temperature=0.5).item() == pytest.approx(math.log(30 / 4))


def test_sampled_softmax_corrects_for_the_sampling_probability():
    # dividing by q: positive 2/(1/2) = 4, negatives 1/(1/4) = 4 and 5/(1/2) = 10, share 4/18
    log_q = double(1 / 2).log(), double(1 / 4, 1 / 2).log()[None]
    value = sampled_softmax(double(2).log(), double(1, 5).log()[None], log_q=log_q)
    assert value.item() == pytest.approx(math.log(18 / 4))


def test_sampled_softmax_leaves_out_negatives_at_minus_infinity():
    negative = torch.tensor([[0.0, -math.inf]], requires_grad=True)
    value = sampled_softmax(torch.zeros(1), negative)
    assert value.item() == pytest.approx(math.log(2))
    value.backward()
    torch.testing.assert_close(negative.grad, torch.tensor([[0.5, 0.0]]))


def test_l2_by_hand():
    # (1 + 4 + 9 + 16 + 4 * 1) / (2 * 2)
    assert l2(double(1, 2, 3, 4).view(2, 2), torch.ones(2, 2)).item() == 34 / 4
    with pytest.raises(UserError, match="without a tensor"):
        l2()


def test_unknown_reduction_names_the_known_ones():
    with pytest.raises(UserError, match="'mean', 'sum' or 'none'"):
        bpr(double(1), double(0), reduction="average")
