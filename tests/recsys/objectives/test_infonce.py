"""InfoNCE: against a double loop, hand-computed values, and itself under other settings."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import normalize

from recsys.errors import UserError
from recsys.objectives.contrastive.anchored_infonce import anchored_infonce
from recsys.objectives.contrastive.infonce import infonce


def views(n=9, d=4, seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(n, d, generator=generator, dtype=torch.float64).to(dtype) for _ in range(2)]


def cosine(a, b):
    return sum(p * q for p, q in zip(a, b, strict=True)) / math.sqrt(
        sum(p * p for p in a) * sum(q * q for q in b)
    )


def naive(z, other, tau, intra=False, anchors=None):
    """The formula as two loops over Python floats."""
    z, other = z.tolist(), other.tolist()
    terms = []
    for i in range(len(z)) if anchors is None else anchors:
        total = sum(math.exp(cosine(z[i], other[j]) / tau) for j in range(len(z)))
        if intra:
            total += sum(math.exp(cosine(z[i], z[j]) / tau) for j in range(len(z)) if j != i)
        terms.append(-math.log(math.exp(cosine(z[i], other[i]) / tau) / total))
    return sum(terms) / len(terms)


def dense(z, other, tau, intra=False):
    """The formula by plain autograd."""
    x, y = normalize(z, dim=1), normalize(other, dim=1)
    logits = x @ y.t() / tau
    if intra:
        own = torch.eye(len(x), dtype=torch.bool)
        logits = torch.cat([logits, (x @ x.t() / tau).masked_fill(own, -torch.inf)], dim=1)
    return (logits.logsumexp(1) - (x * y).sum(1) / tau).mean()


def gradients(value, *tensors):
    return torch.autograd.grad(value, tensors)


def test_by_hand():
    # Orthogonal nodes, equal views: positives e^(1/tau) = 3, negatives e^0 = 1.
    z = torch.eye(2, dtype=torch.float64)
    tau = 1 / math.log(3)
    assert infonce(z, 2 * z, tau).item() == pytest.approx(math.log(4 / 3))
    assert infonce(z, 2 * z, tau, intra=True).item() == pytest.approx(math.log(5 / 3))


@pytest.mark.parametrize("intra", [False, True])
@pytest.mark.parametrize("tau", [0.07, 0.6])
def test_equals_the_naive_loops(intra, tau):
    z, other = views()
    forward, backward = naive(z, other, tau, intra), naive(other, z, tau, intra)
    assert infonce(z, other, tau, intra=intra).item() == pytest.approx(forward, rel=1e-12)
    both = infonce(z, other, tau, intra=intra, symmetric=True).item()
    assert both == pytest.approx((forward + backward) / 2, rel=1e-12)
    chosen = infonce(z, other, tau, intra=intra, anchors=torch.tensor([4, 0, 4])).item()
    assert chosen == pytest.approx(naive(z, other, tau, intra, anchors=[4, 0, 4]), rel=1e-12)


@pytest.mark.parametrize("intra", [False, True])
@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize("sampled", [False, True])
def test_gradcheck(intra, symmetric, sampled):
    anchors = torch.tensor([1, 5, 1]) if sampled else None
    inputs = [v.requires_grad_() for v in views(n=6, d=3)]

    def value(z, other):
        return infonce(z, other, 0.4, intra=intra, symmetric=symmetric, anchors=anchors, block=4)

    assert torch.autograd.gradcheck(value, inputs)


@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize("intra", [False, True])
@pytest.mark.parametrize("sampled", [False, True])
def test_counted_rows_are_repeated_rows(intra, symmetric, sampled):
    counts = torch.tensor([1, 3, 1, 2, 5, 1])
    rows = torch.repeat_interleave(torch.arange(len(counts)), counts)
    inputs = [v.requires_grad_() for v in views(n=len(counts))]
    # A sampled node stands for all of its copies.
    anchors = torch.tensor([4, 0]) if sampled else None
    repeated = torch.isin(rows, anchors).nonzero().squeeze(1) if sampled else None
    how = {"intra": intra, "symmetric": symmetric}
    counted = infonce(*inputs, 0.4, counts=counts, anchors=anchors, block=4, **how)
    expected = infonce(*(v[rows] for v in inputs), 0.4, anchors=repeated, **how)
    assert counted.item() == pytest.approx(expected.item(), rel=1e-12)
    for got, wanted in zip(gradients(counted, *inputs), gradients(expected, *inputs), strict=True):
        torch.testing.assert_close(got, wanted, rtol=1e-10, atol=1e-12)


@settings(deadline=None, max_examples=25)
@given(
    n=st.integers(1, 40),
    block=st.integers(1, 50),
    intra=st.booleans(),
    symmetric=st.booleans(),
    seed=st.integers(0, 99),
)
def test_block_size_changes_nothing(n, block, intra, symmetric, seed):
    z, other = (v.requires_grad_() for v in views(n=n, seed=seed))
    whole = infonce(z, other, 0.3, intra=intra, symmetric=symmetric)
    parts = infonce(z, other, 0.3, intra=intra, symmetric=symmetric, block=block)
    torch.testing.assert_close(parts, whole, rtol=1e-12, atol=1e-12)
    for a, b in zip(gradients(parts, z, other), gradients(whole, z, other), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-13)


@pytest.mark.parametrize("tau", [0.6, 0.05, 0.01, 1 / 600])
@pytest.mark.parametrize("intra", [False, True])
def test_float32_holds_at_every_temperature(tau, intra):
    z, other = views(n=50, d=8, dtype=torch.float32)
    other[3] = -z[3]  # the hardest positive: its share of the denominator is e^(-2/tau)
    z, other = z.requires_grad_(), other.requires_grad_()
    value = infonce(z, other, tau, intra=intra)
    exact = dense(z.double(), other.double(), tau, intra)
    assert value.dtype == torch.float32
    torch.testing.assert_close(value.double(), exact, rtol=1e-5, atol=1e-6)
    for a, b in zip(gradients(value, z, other), gradients(exact, z, other), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-4)


def test_sampled_anchors_are_unbiased():
    # The mean over every single anchor is the full loss, and so is its gradient.
    z, other = (v.requires_grad_() for v in views(n=7))
    full = infonce(z, other, 0.4, intra=True)
    each = torch.stack(
        [infonce(z, other, 0.4, intra=True, anchors=torch.tensor([i])) for i in range(7)]
    ).mean()
    torch.testing.assert_close(each, full)
    for a, b in zip(gradients(each, z, other), gradients(full, z, other), strict=True):
        torch.testing.assert_close(a, b)


def test_length_of_vectors_does_not_matter():
    z, other = views()
    factor = torch.linspace(0.1, 10, len(z), dtype=torch.float64)[:, None]
    torch.testing.assert_close(infonce(factor * z, other / factor), infonce(z, other))


def test_scales_the_gradient_that_comes_in():
    z, other = (v.requires_grad_() for v in views())
    value = infonce(z, other, 0.4, intra=True)
    once, twice = gradients(infonce(z, other, 0.4, intra=True), z), gradients(value * 2.5, z)
    torch.testing.assert_close(twice[0], 2.5 * once[0])


def test_without_gradient_no_graph_is_kept():
    z, other = (v.requires_grad_() for v in views())
    with torch.no_grad():
        assert not infonce(z, other, intra=True).requires_grad


@pytest.mark.parametrize("side", [0, 1])
@pytest.mark.parametrize("intra", [False, True])
def test_one_view_alone_may_take_a_gradient(side, intra):
    pair = views()
    both = [v.clone().requires_grad_() for v in pair]
    pair[side].requires_grad_()
    alone = gradients(infonce(*pair, 0.4, intra=intra), pair[side])[0]
    torch.testing.assert_close(alone, gradients(infonce(*both, 0.4, intra=intra), *both)[side])


def test_anchored_is_infonce_without_a_gradient_to_the_anchor():
    z, anchor = (v.requires_grad_() for v in views())
    value = anchored_infonce(z, anchor, 0.4)
    assert value.item() == pytest.approx(naive(anchor.detach(), z.detach(), 0.4), rel=1e-12)
    to_z, to_anchor = torch.autograd.grad(value, (z, anchor), allow_unused=True)
    assert to_anchor is None
    torch.testing.assert_close(to_z, gradients(infonce(anchor, z, 0.4), z)[0])


@pytest.mark.parametrize("tau", [0.0, -1.0, 1e-4])
def test_temperature_out_of_range_is_refused(tau):
    with pytest.raises(UserError, match="temperature"):
        infonce(*views(), tau)


def test_views_of_different_shapes_are_refused():
    with pytest.raises(UserError, match=r"\(9, 4\) and \(8, 4\)"):
        infonce(views()[0], views(n=8)[1])
    with pytest.raises(UserError, match="block is 0"):
        infonce(*views(), block=0)
