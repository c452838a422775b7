"""Graph encoders against dense matrices and values worked out by hand."""

import pytest
import torch
from torch.nn.functional import leaky_relu, normalize

from recsys.encoders.hypergraph import hypergraph
from recsys.encoders.lightgcn import lightgcn
from recsys.encoders.ngcf import NGCF
from recsys.errors import UserError


def problem(seed=0):
    generator = torch.Generator().manual_seed(seed)
    r = (torch.rand(4, 5, generator=generator, dtype=torch.float64) > 0.5).double()
    r[2] = 0  # a user without interactions
    normalised = r / r.sum(1, keepdim=True).clamp_min(1).sqrt() / r.sum(0).clamp_min(1).sqrt()
    users = torch.randn(4, 3, generator=generator, dtype=torch.float64)
    items = torch.randn(5, 3, generator=generator, dtype=torch.float64)
    square = torch.zeros(9, 9, dtype=torch.float64)
    square[:4, 4:], square[4:, :4] = normalised, normalised.t()
    return normalised, users, items, square


def test_lightgcn_by_hand():
    # One user, items of degree 1 each: edge weight 1/sqrt(2). Layer 1: user (2+4)/sqrt 2, items 1/sqrt 2.
    half = torch.tensor([[0.5, 0.5]], dtype=torch.float64).sqrt()
    user, items = torch.tensor([[1.0]]).double(), torch.tensor([[2.0], [4.0]]).double()
    u, i = lightgcn(half, user, items, layers=1)
    root = 2**0.5
    torch.testing.assert_close(u, torch.tensor([[(1 + 6 / root) / 2]]).double())
    torch.testing.assert_close(i, torch.tensor([[(2 + 1 / root) / 2], [(4 + 1 / root) / 2]]).double())


@pytest.mark.parametrize("layers", [0, 1, 3])
def test_lightgcn_equals_powers_of_the_bipartite_matrix(layers):
    operator, users, items, square = problem()
    stacked = torch.cat([users, items])
    total = sum(torch.linalg.matrix_power(square, layer) @ stacked for layer in range(layers + 1))
    torch.testing.assert_close(torch.cat(lightgcn(operator, users, items, layers, "sum")), total)
    torch.testing.assert_close(torch.cat(lightgcn(operator, users, items, layers)), total / (layers + 1))


@pytest.mark.parametrize("layers", [0, 2])
def test_lightgcn_gradients(layers):
    operator, users, items, _ = problem()
    tables = users.requires_grad_(), items.requires_grad_()
    assert torch.autograd.gradcheck(lambda u, i: lightgcn(operator, u, i, layers), tables)


def test_lightgcn_leaves_its_input_alone():
    operator, users, items, _ = problem()
    kept = users.clone(), items.clone()
    for layers in (0, 2):
        for table in lightgcn(operator, users, items, layers, "sum"):
            table.zero_()
    assert torch.equal(users, kept[0]) and torch.equal(items, kept[1])


def test_lightgcn_refuses_an_unknown_readout():
    with pytest.raises(UserError, match="'mean' or 'sum'"):
        lightgcn(*problem()[:3], layers=1, readout="last")


def test_ngcf_equals_the_equation_on_the_square_matrix():
    operator, users, items, square = problem()
    encoder = NGCF(3, 2, torch.Generator().manual_seed(0)).double()
    e = torch.cat([users, items])
    layers = [e]
    for w1, w2 in zip(encoder.neighbours, encoder.products, strict=True):
        propagated = square @ e
        e = leaky_relu(w1(propagated + e) + w2(propagated * e), 0.2)
        layers.append(normalize(e, dim=1))
    torch.testing.assert_close(torch.cat(encoder(operator, users, items)), torch.cat(layers, dim=1))
    encoder.readout = "mean"
    torch.testing.assert_close(torch.cat(encoder(operator, users, items)), sum(layers) / 3)
    encoder.readout = "sum"
    torch.testing.assert_close(torch.cat(encoder(operator, users, items)), sum(layers))


def test_ngcf_with_messages_apart():
    operator, users, items, square = problem()
    encoder = NGCF(3, 1, torch.Generator().manual_seed(0), "sum", apart=True).double()
    e, w1, w2 = torch.cat([users, items]), encoder.neighbours[0], encoder.products[0]
    layer = leaky_relu(w1(square @ e), 0.01) + leaky_relu(w2((square @ e) * e), 0.01)
    torch.testing.assert_close(torch.cat(encoder(operator, users, items)), e + normalize(layer, dim=1))


def test_ngcf_weights_come_from_the_generator():
    a, b, c = (NGCF(3, 1, torch.Generator().manual_seed(s)).neighbours[0].weight for s in (0, 0, 1))
    assert torch.equal(a, b) and not torch.equal(a, c)
    with pytest.raises(UserError, match="'concat', 'mean' or 'sum'"):
        NGCF(3, 1, torch.Generator(), readout="last")


def test_hypergraph_keeps_the_last_layer():
    square = problem()[3]
    x = torch.rand(9, 2, dtype=torch.float64)
    torch.testing.assert_close(hypergraph(square, x, 3), torch.linalg.matrix_power(square, 3) @ x)
    assert hypergraph(square, x, 0) is x
