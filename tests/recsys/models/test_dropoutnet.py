"""DropoutNet's loss and inputs against its formulas, pair by pair."""

import numpy as np
import pytest
import torch

from recsys.datasets.splits import make_split
from recsys.inputs.training_data import TrainingData
from recsys.models.cold_start.dropoutnet import DropoutNet, DropoutNetSettings


def model_of(toy, naive, **settings):
    data = TrainingData.of(toy, make_split(toy, "cold-item"))
    settings = {"width": 3, "hidden": 5, "sweeps": 3} | settings
    model = naive.shake_biases(DropoutNet(DropoutNetSettings(**settings), data, 0))
    model.start_epoch(0, torch.Generator().manual_seed(0))
    with torch.no_grad():
        for tower in (model.users, model.items):
            tower.norm.running_mean.uniform_(-0.2, 0.2, generator=model.init_generator)
            tower.norm.running_var.uniform_(0.5, 1.5, generator=model.init_generator)
    return model.eval()


def tower(module, x):
    """The net of one row x = [preference, contents...], with the running statistics."""
    weights = [module.preference.weight, *(layer.weight for layer in module.contents)]
    weight = torch.cat(weights, 1).detach().numpy().astype(np.float64)
    hidden = weight @ x + module.preference.bias.detach().numpy()
    norm = module.norm
    scaled = (hidden - norm.running_mean.numpy()) / np.sqrt(norm.running_var.numpy() + 1e-3)
    hidden = np.tanh(scaled * norm.weight.detach().numpy() + norm.bias.detach().numpy())
    return module.out.weight.detach().numpy() @ hidden + module.out.bias.detach().numpy()


def standardised(rows, warm):
    return (rows - rows[warm].mean(0)) / rows[warm].std(0) * warm[:, None]


def inputs(model):
    """(U, mean V of each user's items, V) standardised, and content side by side, float64."""
    data = model.data
    u, v = model.user_factors.double().numpy(), model.item_factors.double().numpy()
    means = np.zeros_like(u)
    for user in np.flatnonzero(data.warm_users):
        means[user] = v[data.interactions[[user]].indices].mean(0)
    scaled = [
        standardised(x, w) for x, w in ((u, data.warm_users), (means, data.warm_users), (v, data.warm_items))
    ]
    return *scaled, u, v


@pytest.mark.parametrize("dropout", [0.0, 1.0])
def test_loss_is_the_papers_formula(toy, naive, dropout):
    model = model_of(toy, naive, dropout=dropout)
    users, means, items, u, v = inputs(model)
    content = np.concatenate([naive.unit(m) for m in toy.modalities.values()], 1)
    batch, errors = naive.batch_of(model.data), []
    for user, i, j in zip(batch.users, batch.positives, batch.negatives[:, 0], strict=True):
        for item in (i, j):
            left = tower(model.users, means[user] if dropout else users[user])
            right = tower(model.items, np.concatenate([items[item] * (1 - dropout), content[item]]))
            errors.append((u[user] @ v[item] - left @ right) ** 2)
    loss = model.loss(batch)
    assert set(loss) == {"scores"}
    assert float(loss["scores"].detach()) == pytest.approx(np.mean(errors), rel=1e-4)


def test_cold_items_enter_by_content_and_new_users_by_their_items(toy, naive):
    model = model_of(toy, naive)
    cold = np.flatnonzero(~model.data.warm_items)
    content = np.concatenate([naive.unit(m) for m in toy.modalities.values()], 1)
    items = model().items.detach().numpy()
    for item in cold:
        expected = tower(model.items, np.concatenate([np.zeros(3), content[item]]))
        np.testing.assert_allclose(items[item], expected, atol=1e-5)
    _, means, _, _, _ = inputs(model)
    history = model.data.interactions[[5, 7]].tolil()
    history[1, :] = 0
    history = history.tocsr()
    found = model.encode_users(history).numpy()
    np.testing.assert_allclose(found[0], tower(model.users, means[5]), atol=1e-4)
    np.testing.assert_allclose(found[1], tower(model.users, np.zeros(3)), atol=1e-5)


def test_factors_are_made_once_and_kept_with_the_model(toy, naive):
    model = model_of(toy, naive)
    kept = model.user_factors.clone()
    model.start_epoch(1, torch.Generator().manual_seed(1))
    assert torch.equal(kept, model.user_factors)
    other = DropoutNet(model.settings, model.data, 9)
    assert not other.user_factors.any()
    other.load_arrays(model.arrays())
    torch.testing.assert_close(other.eval()().items, model().items)
