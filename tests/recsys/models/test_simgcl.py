"""SimGCL's layers, noise and loss against its formulas, row by row."""

import numpy as np
import pytest
import torch

from recsys.datasets.splits import make_split
from recsys.inputs.training_data import TrainingData
from recsys.models.collaborative.simgcl import SimGCL, SimGCLSettings


def make(toy, **settings):
    data = TrainingData.of(toy, make_split(toy, "cold-item"))
    return SimGCL(SimGCLSettings(width=4, **settings), data, 0)


def layers_of(model, naive):
    """The layers 1..L without noise, (n_users + n_items, d) each."""
    tables = naive.parameters(model)
    layer, adjacency = (
        np.concatenate([tables["user_table"], tables["item_table"]]),
        naive.adjacency(model.data),
    )
    for _ in range(model.settings.layers):
        yield (layer := adjacency @ layer)


@pytest.mark.parametrize("layers", [1, 3])
def test_vectors_are_the_mean_of_the_layers_without_the_first(toy, naive, layers):
    model = make(toy, layers=layers)
    expected = np.mean(list(layers_of(model, naive)), axis=0)
    np.testing.assert_allclose(torch.cat(model.forward()[:2]).detach().numpy(), expected, atol=1e-6)


def test_noise_has_its_length_and_stays_in_the_orthant(toy):
    model = make(toy, layers=1, noise=0.3)
    clean, noisy = model.forward(), model._propagate(noisy=True)
    for before, after, warm in (
        (clean.users, noisy.users, model.data.warm_users),
        (clean.items, noisy.items, model.data.warm_items),
    ):
        moved = (after - before)[torch.from_numpy(np.array(warm))]
        torch.testing.assert_close(moved.norm(dim=1), torch.full((len(moved),), 0.3))
    assert ((noisy.users - clean.users) * clean.users >= 0).all()
    assert not torch.equal(noisy.users, model._propagate(noisy=True).users)


def test_the_loss_is_its_formula(toy, naive):
    """Without noise both views are the vectors themselves."""
    model = make(toy, noise=0.0, contrast=0.3, temperature=0.5, reg=0.2)
    batch = naive.batch_of(model.data)
    users, positives, negatives = (
        ids.numpy() for ids in (batch.users, batch.positives, batch.negatives[:, 0])
    )
    tables, n_users = naive.parameters(model), model.data.n_users
    mean = np.mean(list(layers_of(model, naive)), axis=0)
    u, i = mean[:n_users], mean[n_users:]
    gaps = (u[users] * (i[positives] - i[negatives])).sum(1)
    rows = [tables["user_table"][users], tables["item_table"][positives], tables["item_table"][negatives]]
    expected = {
        "bpr": -np.log(naive.sigmoid(gaps)).mean(),
        "contrast": 0.3
        * sum(naive.infonce(x, x, 0.5) for x in (u[np.unique(users)], i[np.unique(positives)])),
        "l2": 0.2 * sum((row**2).sum() for row in rows) / (2 * len(users)),
    }
    loss = {name: term.item() for name, term in model.loss(batch).items()}
    assert loss == pytest.approx(expected, rel=1e-5)
