"""Weights of blocks, perturbation and seeded linear layers."""

import math

import torch
from torch.nn.functional import normalize

from recsys.encoders.linear import linear
from recsys.encoders.modality_weights import weigh_blocks
from recsys.encoders.perturbation import perturb
from recsys.encoders.sphere import unit


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def test_linear_is_xavier_uniform_from_its_generator():
    layer = linear(6, 4, seeded())
    assert torch.equal(layer.weight, linear(6, 4, seeded()).weight)
    assert layer.weight.abs().max() <= math.sqrt(6 / 10) and not layer.bias.any()
    assert linear(6, 4, seeded(), bias=False).bias is None


def test_unit_rows_and_their_gradient_are_those_of_normalize():
    x = torch.randn(
        3, 4, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64, requires_grad=True
    )
    torch.testing.assert_close(unit(x), normalize(x, dim=-1))
    assert torch.autograd.gradcheck(unit, (x,))
    assert unit(torch.zeros(1, 2)).tolist() == [[0, 0]]


def test_weights_of_blocks_by_hand():
    vectors = torch.tensor([[1.0, 2.0, 3.0, 4.0], [1.0, 2.0, 3.0, 4.0]])
    logits = torch.tensor([[0.0, 0.0], [0.0, math.log(3)]])
    expected = torch.tensor([[0.5, 1.0, 1.5, 2.0], [0.25, 0.5, 2.25, 3.0]])
    torch.testing.assert_close(weigh_blocks(vectors, logits), expected)


def test_perturbation_is_as_long_as_the_vector_asks_and_keeps_its_orthant():
    e = torch.tensor([[3.0, 4.0], [-0.6, 0.8], [0.0, -3.0]], dtype=torch.float64)
    moved = perturb(e, 0.3, seeded())
    # lengths 5, 1, 3, mean 3; a zero coordinate has no sign and takes no noise
    length = (moved - e).norm(dim=1)
    torch.testing.assert_close(length[:2], 0.3 * torch.tensor([5 / 3, 1 / 3], dtype=torch.float64))
    assert length[2] < 0.3 and moved[2, 0] == 0
    assert torch.equal(moved.sign(), e.sign())


def test_perturbations_are_independent_views_of_one_gradient():
    e = torch.randn(6, 4, generator=seeded(), dtype=torch.float64, requires_grad=True)
    generator = seeded(1)
    first, second = perturb(e, 0.1, generator), perturb(e, 0.1, generator)
    assert not torch.equal(first, second)
    assert torch.equal(torch.autograd.grad(first.sum(), e)[0], torch.ones_like(e))
    assert not perturb(torch.zeros(2, 3), 0.1, generator).any()
    alike = perturb(torch.tensor([[0.01, 0.02], [-3.0, 4.0]]), 0.1, generator, by_length=False)
    moved = torch.linalg.vector_norm(alike - torch.tensor([[0.01, 0.02], [-3.0, 4.0]]), dim=1)
    torch.testing.assert_close(moved, torch.tensor([0.1, 0.1]), rtol=1e-4, atol=0)
