"""Spherical Bezier fusion and its Beta variates."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import beta, kstest
from torch.nn.functional import normalize

from recsys.encoders.beta import symmetric_beta
from recsys.encoders.bezier import bezier, slerp
from recsys.errors import UserError


def unit(*shape, seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    return normalize(torch.randn(*shape, generator=generator, dtype=torch.float64), dim=-1).to(dtype)


def at(degrees):
    angle = math.radians(degrees)
    return torch.tensor([[math.cos(angle), math.sin(angle)]], dtype=torch.float64)


def test_slerp_moves_along_the_arc_at_even_speed():
    for s in (0.0, 0.25, 0.5, 1.0):
        torch.testing.assert_close(slerp(at(10), at(130), s), at(10 + 120 * s))


def test_slerp_equals_its_formula():
    a, b = unit(20, 5), unit(20, 5, seed=1)
    s = torch.linspace(0, 1, 20, dtype=torch.float64)
    theta = torch.acos((a * b).sum(1))
    expected = [torch.sin(w * theta) / torch.sin(theta) for w in (1 - s, s)]
    torch.testing.assert_close(slerp(a, b, s), expected[0][:, None] * a + expected[1][:, None] * b)


@settings(deadline=None, max_examples=60)
@given(
    exponent=st.floats(-12, 0),
    s=st.floats(0, 1),
    opposite=st.booleans(),
    dtype=st.sampled_from([torch.float32, torch.float64]),
    seed=st.integers(0, 50),
)
def test_slerp_is_unit_and_differentiable_at_every_angle(exponent, s, opposite, dtype, seed):
    a = unit(1, 4, seed=seed)
    b = normalize((-a if opposite else a) + 10**exponent * unit(1, 4, seed=seed + 100), dim=1)
    a, b = a.to(dtype).requires_grad_(), b.to(dtype).requires_grad_()
    result = slerp(a, b, s)
    tolerance = 4 * torch.finfo(dtype).eps
    assert abs(result.double().norm().item() - 1) < tolerance
    loss = (result * torch.arange(4.0, dtype=dtype)).sum()
    assert all(g.isfinite().all() for g in torch.autograd.grad(loss, (a, b)))
    # the ends of the arc, up to the angle at which an arc counts as a half circle
    near = 4 * torch.finfo(dtype).eps ** 0.5
    for end, point in ((0.0, a), (1.0, b)):
        torch.testing.assert_close(slerp(a, b, end), point, rtol=0, atol=near)
    # half way, both arcs are equally long
    middle = slerp(a, b, 0.5).double()
    assert abs(((middle * a).sum() - (middle * b).sum()).item()) < near


def test_slerp_of_exactly_parallel_and_antiparallel_vectors():
    a = unit(3, 4).requires_grad_()
    torch.testing.assert_close(slerp(a, a, 0.3), a)
    half = slerp(a, -a, 0.5)
    torch.testing.assert_close((half * a).sum(1), torch.zeros(3, dtype=torch.float64))
    torch.testing.assert_close(half.norm(dim=1), torch.ones(3, dtype=torch.float64))
    torch.testing.assert_close(slerp(a, -a, 0.2), slerp(-a, a, 0.8))
    for value in (slerp(a, a, 0.3), half):
        assert torch.autograd.grad(value[:, 0].sum(), a)[0].isfinite().all()


def test_slerp_gradient():
    def angle(a, b, s):
        return slerp(normalize(a, dim=1), normalize(b, dim=1), s)

    a, b = unit(4, 3).requires_grad_(), unit(4, 3, seed=1).requires_grad_()
    s = torch.tensor([0.1, 0.5, 0.7, 0.9], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(angle, (a, b, s))


def test_bezier_of_one_two_and_three_points():
    p = unit(3, 6, 4)
    torch.testing.assert_close(bezier(5 * p[:1]), p[0])
    torch.testing.assert_close(bezier(5 * p[:2], 0.3), slerp(p[0], p[1], 0.3))
    twice = slerp(slerp(p[0], p[1], 0.3), slerp(p[1], p[2], 0.3), 0.3)
    torch.testing.assert_close(bezier(p, 0.3), twice)


def test_bezier_passes_through_its_ends_and_averages_symmetrically():
    p = unit(4, 6, 5)
    torch.testing.assert_close(bezier(p, 0.0), p[0])
    torch.testing.assert_close(bezier(p, 1.0), p[-1])
    torch.testing.assert_close(bezier(p, 0.2), bezier(p.flip(0), 0.8))


def test_bezier_fuses_the_modalities_that_are_present():
    p = unit(3, 8, 4)
    # every subset of three modalities
    mask = torch.tensor([[n >> m & 1 for n in range(8)] for m in range(3)], dtype=torch.bool)
    s = torch.linspace(0.1, 0.9, 8, dtype=torch.float64)
    fused = bezier(p, s, mask)
    for n in range(8):
        present = p[mask[:, n], n][:, None]
        expected = bezier(present, s[n : n + 1])[0] if len(present) else torch.zeros(4, dtype=torch.float64)
        torch.testing.assert_close(fused[n], expected)


def test_what_a_missing_modality_holds_reaches_nothing():
    p = unit(3, 2, 4)
    mask = torch.tensor([[True, True], [False, True], [True, False]])
    dirty = p.masked_fill(~mask[..., None], torch.nan).requires_grad_()
    fused = bezier(dirty, 0.5, mask)
    torch.testing.assert_close(fused, bezier(p, 0.5, mask))
    gradient = torch.autograd.grad(fused[:, 0].sum(), dirty)[0]
    assert gradient.isfinite().all() and not gradient[~mask].any()
    # a row of zeros has no direction and counts as missing
    torch.testing.assert_close(bezier(p * mask[..., None], 0.5), fused.detach())


def test_bezier_gradient():
    p = (3 * unit(3, 4, 3)).requires_grad_()
    mask = torch.tensor([[1, 1, 0, 1], [1, 0, 1, 1], [1, 1, 1, 0]], dtype=torch.bool)
    assert torch.autograd.gradcheck(lambda p: bezier(p, 0.3, mask), (p,))


@pytest.mark.parametrize("alpha", [0.1, 0.15, 0.5, 0.9, 3.0])
def test_beta_variates_follow_their_distribution(alpha):
    draws = symmetric_beta(20_000, alpha, torch.Generator().manual_seed(1)).numpy()
    assert draws.min() >= 0 and draws.max() <= 1
    assert kstest(draws, beta(alpha, alpha).cdf).pvalue > 0.001


def test_beta_refuses_a_parameter_that_is_not_positive():
    with pytest.raises(UserError, match="must be positive"):
        symmetric_beta(3, 0.0, torch.Generator())
