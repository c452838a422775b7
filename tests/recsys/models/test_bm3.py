"""BM3's loss and cold items against its formulas, term by term."""

import numpy as np
import pytest
import torch

from recsys.datasets.splits import make_split
from recsys.inputs.training_data import TrainingData
from recsys.models.multimodal.bm3 import BM3, BM3Settings


@pytest.fixture
def model(toy, naive):
    data = TrainingData.of(toy, make_split(toy, "cold-item"))
    return naive.shake_biases(
        BM3(BM3Settings(width=4, dropout=0.0, contrast=0.7, reg=0.3, layers=2), data, 0)
    )


def test_loss_is_the_papers_formula(model, toy, naive):
    data, batch, arrays = model.data, naive.batch_of(model.data), naive.parameters(model)
    users, items = naive.lightgcn(data, arrays["user_table"], arrays["item_table"], 2)
    items = items + arrays["item_table"]

    def f(x):
        return arrays["predict.weight"] @ x + arrays["predict.bias"]

    cos = naive.cosine
    pairs = list(zip(batch.users.tolist(), batch.positives.tolist(), strict=True))
    rec = np.mean([2 - cos(f(users[u]), items[i]) - cos(f(items[i]), users[u]) for u, i in pairs])
    modal = 0.0
    for n, modality in enumerate(toy.modalities.values()):
        projected = naive.unit(modality) @ arrays[f"project.{n}.weight"].T + arrays[f"project.{n}.bias"]
        held = [i for _, i in pairs if modality.mask[i]]
        assert 0 < len(held) <= len(pairs)
        modal += np.mean(
            [2 - cos(f(projected[i]), items[i]) - cos(f(projected[i]), projected[i]) for i in held]
        )
    norms = np.linalg.norm(users[data.warm_users]) + np.linalg.norm(items[data.warm_items])
    loss = {name: float(value.detach()) for name, value in model.loss(batch).items()}
    assert loss == pytest.approx(
        {"interactions": rec, "modalities": 0.7 * modal, "norm": 0.3 * norms / data.warm_items.sum()},
        rel=1e-5,
    )


def test_targets_take_no_gradient_and_lose_the_share_asked_for(model):
    rows = torch.ones(400, 50, requires_grad=True)
    model.settings = model.settings.model_copy(update={"dropout": 0.3})
    model.start_epoch(0, torch.Generator().manual_seed(5))
    target = model._target(rows)
    assert not target.requires_grad
    assert float((target == 0).float().mean()) == pytest.approx(0.3, abs=0.02)
    model.start_epoch(0, torch.Generator().manual_seed(5))
    assert torch.equal(target, model._target(rows))


def test_a_cold_item_is_the_mean_of_its_nearest_training_items(model):
    vectors, (users, items) = model(), model._propagate()
    warm = torch.from_numpy(model.data.warm_items)
    torch.testing.assert_close(vectors.users, model.predict(users))
    torch.testing.assert_close(vectors.items[warm], model.predict(items)[warm])
    weights = torch.from_numpy(model.cold.graph.toarray()).float()
    assert len(weights) == int((~warm).sum()) > 0
    assert not weights[:, ~warm].any()
    sums = weights.sum(1)  # below 1 where fewer than k training items have anything in common
    assert (sums > 0.5).all() and (sums < 1 + 1e-6).all()
    torch.testing.assert_close(vectors.items[~warm], weights @ model.predict(items))
