"""TwoTower's loss is its formula, and content that only one item holds teaches nothing about others."""

import numpy as np
import pytest
import scipy.sparse as sp
import torch

from recsys.datasets.dataset import Modality
from recsys.inputs.requests import NewItems
from recsys.inputs.sampler import Batch
from recsys.inputs.training_data import TrainingData
from recsys.models.cold_start.twotower import TwoTower, TwoTowerSettings

USERS, ITEMS = 8, 10


@pytest.fixture
def data():
    rng = np.random.default_rng(3)
    interactions = (rng.random((USERS, ITEMS)) < 0.5).astype(np.float32)
    interactions[:, 8:] = 0
    interactions[np.arange(USERS), np.arange(USERS)] = 1
    tags = (rng.random((ITEMS, 6)) < 0.5).astype(np.float32)
    tags[:, 0] = 1
    tags[:, 5] = 0
    tags[2, 5] = 1
    image = rng.normal(size=(ITEMS, 3)).astype(np.float32)
    shown = np.arange(ITEMS) != 1
    return TrainingData(
        sp.csr_array(interactions),
        {
            "tags": Modality(sp.csr_array(tags), np.ones(ITEMS, bool)),
            "image": Modality(image * shown[:, None], shown),
        },
    )


def model_of(data, **settings):
    model = TwoTower(TwoTowerSettings(width=4, dropout=0.0, **settings), data, 0)
    with torch.no_grad():
        model.bias.copy_(torch.arange(8) / 10)
    return model


def tower(model, layer, data):
    """(items, width) float64 by the formula, from the weights alone."""
    total = np.zeros((data.n_items, 4))
    for name, linear in layer.items():
        rows = data.modalities[name].features
        rows = rows.toarray()[:, :5] if sp.issparse(rows) else rows
        norms = np.linalg.norm(rows, axis=1, keepdims=True)
        unit = np.divide(rows, norms, out=np.zeros(rows.shape), where=norms > 0)
        total += np.sqrt(0.5) * unit @ linear.weight.detach().numpy().astype(np.float64).T
    return total / np.linalg.norm(total, axis=1, keepdims=True)


def test_scores_are_the_formula(data):
    model = model_of(data, temperature=0.25)
    keys, vectors = (tower(model, t.layers, data) for t in (model.keys, model.vectors))
    bias = np.append(np.arange(8) / 10, [0.35, 0.35])
    ours = model.eval().scorer()(np.arange(USERS)).numpy()
    for user, row in enumerate(data.interactions.toarray()):
        total = keys[row > 0].sum(0)
        np.testing.assert_allclose(ours[user], 4 * vectors @ total / np.linalg.norm(total) + bias, atol=1e-5)


def test_the_loss_asks_for_what_is_not_given_among_the_warm_items_left(data, monkeypatch):
    model, users = model_of(data), torch.arange(USERS)
    batch = Batch(users, users, users.unsqueeze(1))
    seen = {}
    real = type(model.support_query).forward
    monkeypatch.setattr(type(model.support_query), "forward", lambda *a: seen.setdefault("episode", real(*a)))
    value = model.loss(batch)["rank"].item()
    rows, _, items, given = (t.numpy() for t in seen["episode"])
    keys, vectors = (tower(model, t.layers, data)[:8] for t in (model.keys, model.vectors))
    total, count = 0.0, 0
    for user in range(USERS):
        mine, asked = items[(rows == user) & given], items[(rows == user) & ~given]
        history = keys[mine].sum(0) if len(mine) else np.zeros(4)
        history = history / max(np.linalg.norm(history), 1e-12)
        scores = vectors @ history / 0.07 + np.arange(8) / 10
        left = np.setdiff1d(np.arange(8), mine)
        partition = np.log(np.exp(scores[left]).sum())
        total, count = total + (partition - scores[asked]).sum(), count + len(asked)
    assert count and value == pytest.approx(total / count, rel=1e-4)


def test_a_tag_that_one_item_holds_is_left_out(data):
    model = model_of(data)
    assert model.held_columns["tags"].tolist() == [0, 1, 2, 3, 4] and model.held_columns["image"] is None
    only = sp.csr_array(np.array([[0, 0, 0, 0, 0, 1]], dtype=np.float32))
    nothing = Modality(np.zeros((1, 3), dtype=np.float32), np.zeros(1, bool))
    new_items = NewItems(np.array(["x"]), {"tags": Modality(only, np.ones(1, bool)), "image": nothing}, None)
    assert model.without_content(new_items).tolist() == [True]


def test_the_weights_alone_are_dropped_and_in_training_alone(data):
    model = model_of(data)
    once = model.vectors(model.content, 0.5)
    assert not torch.equal(once, model.vectors(model.content, 0.5))
    assert torch.equal(model.forward().items, model.forward().items)
    np.testing.assert_allclose(once.detach().norm(dim=1), np.ones(ITEMS), rtol=1e-5)
