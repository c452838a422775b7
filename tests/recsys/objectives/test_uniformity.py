"""Alignment, uniformity and calibrated uniformity."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import normalize

from recsys.errors import UserError
from recsys.objectives.alignment.alignment import alignment
from recsys.objectives.alignment.calibrated_uniformity import calibrated_uniformity
from recsys.objectives.alignment.uniformity import uniformity


def rows(n=11, d=4, seed=0):
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def naive_calibrated(x, f, t, s_min, s_max):
    """The formula pair by pair, with pairwise distances."""
    x, f = normalize(x, dim=1), normalize(f, dim=1)
    terms = []
    for i in range(len(x)):
        for j in range(i + 1, len(x)):
            s = min(max(float(f[i] @ f[j]), s_min), s_max)
            terms.append(math.exp(-t * (float((x[i] - x[j]).square().sum()) - 2 + 2 * s)))
    return math.log(sum(terms) / len(terms))


def test_alignment_by_hand():
    # at right angles 2, equal 0, opposite 4
    x = torch.tensor([[1.0, 0.0], [0.0, 3.0], [2.0, 0.0]], dtype=torch.float64)
    y = torch.tensor([[0.0, 5.0], [0.0, 1.0], [-1.0, 0.0]], dtype=torch.float64)
    assert alignment(x, y).item() == 2
    torch.testing.assert_close(
        alignment(x, y, alpha=1.0, reduction="none"), torch.tensor([math.sqrt(2), 0, 2], dtype=torch.float64)
    )


def test_uniformity_by_hand():
    # squared distances of e1, e2, -e1: 2, 4, 2
    x = torch.tensor([[1.0, 0.0], [0.0, 2.0], [-3.0, 0.0]], dtype=torch.float64)
    assert uniformity(x, t=1).item() == pytest.approx(math.log((2 * math.exp(-2) + math.exp(-4)) / 3))


@pytest.mark.parametrize("t", [0.5, 2.0])
def test_uniformity_equals_pairwise_distances(t):
    x = rows()
    distance = torch.pdist(normalize(x, dim=1)).square()
    torch.testing.assert_close(uniformity(x, t=t), distance.mul(-t).exp().mean().log())


def test_calibrated_equals_the_naive_loops():
    x, f = rows(), rows(d=6, seed=1)
    for limits in ((0.0, 1.0), (0.0, 0.3), (-0.2, 0.1)):
        value = calibrated_uniformity(x, f, s_min=limits[0], s_max=limits[1])
        assert value.item() == pytest.approx(naive_calibrated(x, f, 2, *limits), rel=1e-12)


def test_calibrated_is_uniformity_for_like_features_and_shifted_for_unlike_ones():
    x = rows(n=6)
    alike, unlike = torch.ones(6, 3, dtype=torch.float64), torch.eye(6, dtype=torch.float64)
    for t in (1.0, 2.0):
        torch.testing.assert_close(calibrated_uniformity(x, alike, t=t), uniformity(x, t=t))
        torch.testing.assert_close(calibrated_uniformity(x, unlike, t=t), uniformity(x, t=t) + 2 * t)


@settings(deadline=None, max_examples=25)
@given(n=st.integers(2, 40), block=st.integers(1, 50), seed=st.integers(0, 99))
def test_block_size_changes_nothing(n, block, seed):
    x, f = rows(n=n, seed=seed).requires_grad_(), rows(n=n, seed=seed + 100).requires_grad_()
    for whole, parts, inputs in (
        (uniformity(x), uniformity(x, block=block), (x,)),
        (calibrated_uniformity(x, f), calibrated_uniformity(x, f, block=block), (x, f)),
    ):
        torch.testing.assert_close(parts, whole, rtol=1e-12, atol=1e-12)
        expected = torch.autograd.grad(whole, inputs)
        for a, b in zip(torch.autograd.grad(parts, inputs), expected, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-13)


def test_gradcheck_in_blocks():
    x, f = rows(n=7, d=3).requires_grad_(), rows(n=7, d=3, seed=1).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: uniformity(x, block=3), (x,))
    assert torch.autograd.gradcheck(lambda x, f: calibrated_uniformity(x, f, s_max=0.4, block=3), (x, f))
    assert torch.autograd.gradcheck(lambda x: calibrated_uniformity(x, f.detach(), block=3), (x,))
    assert torch.autograd.gradcheck(lambda f: calibrated_uniformity(x.detach(), f, block=3), (f,))


def test_similar_items_are_pushed_apart_less():
    x = torch.tensor([[1.0, 0.2], [1.0, -0.2], [-1.0, 0.0]], dtype=torch.float64, requires_grad=True)
    like = torch.tensor([[1.0, 0.0], [1.0, 0.1], [0.0, 1.0]], dtype=torch.float64)
    unlike = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 0.1]], dtype=torch.float64)
    push = [torch.autograd.grad(calibrated_uniformity(x, f), x)[0][0].norm() for f in (like, unlike)]
    assert push[0] < push[1]


def test_a_single_row_has_no_pairs():
    x = rows(n=1).requires_grad_()
    assert uniformity(x).item() == 0 and calibrated_uniformity(x, x).item() == 0


def test_mismatch_is_refused():
    with pytest.raises(UserError, match="11 rows and features of 3"):
        calibrated_uniformity(rows(), rows(n=3))
    with pytest.raises(UserError, match="exchange them"):
        calibrated_uniformity(rows(), rows(), s_min=1, s_max=0)


def test_autocast_does_not_lower_the_precision_of_the_sums():
    x, f = rows(n=40).float().requires_grad_(), rows(n=40, seed=1).float().requires_grad_()
    expected = calibrated_uniformity(x, f)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = calibrated_uniformity(x, f)
    torch.testing.assert_close(value, expected)
    for a, b in zip(torch.autograd.grad(value, (x, f)), torch.autograd.grad(expected, (x, f)), strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("block", [None, 2])
def test_counts_are_repeated_rows(block):
    x, f, counts = rows(5), rows(5, 3, seed=1), torch.tensor([1, 3, 2, 1, 4])
    gradients = []
    for repeats in (True, False):
        a, b = x.clone().requires_grad_(), f.clone().requires_grad_()
        if repeats:
            again = [v.repeat_interleave(counts, dim=0) for v in (a, b)]
            value = uniformity(again[0]) + calibrated_uniformity(*again, s_max=0.8)
        else:
            value = uniformity(a, counts=counts, block=block)
            value = value + calibrated_uniformity(a, b, s_max=0.8, counts=counts, block=block)
        value.backward()
        gradients.append((value.detach(), a.grad, b.grad))
    for expected, found in zip(*gradients, strict=True):
        torch.testing.assert_close(found, expected)


def test_one_row_twice_is_one_pair_at_distance_zero():
    assert uniformity(rows(1), counts=torch.tensor([2])).item() == pytest.approx(0)
    assert uniformity(rows(1), counts=torch.tensor([1])).item() == 0
