"""AutoRec's loss and scores against its formula, entry by entry."""

import numpy as np
import pytest
import scipy.sparse as sp
import torch

from recsys.datasets.splits import make_split
from recsys.inputs.training_data import TrainingData
from recsys.models.collaborative.autorec import AutoRec, AutoRecSettings


def model_of(toy, **settings):
    data = TrainingData.of(toy, make_split(toy, "cold-item"))
    model = AutoRec(AutoRecSettings(width=3, **settings), data, 0)
    with torch.no_grad():
        for parameter in (model.item_bias, model.mean):
            parameter.uniform_(-0.3, 0.3, generator=model.init_generator)
    return model


def rebuilt(p, row, warm):
    """W g(V r + mu) + b of one row over the warm items."""
    hidden = 1 / (1 + np.exp(-(p["item_table"].T @ (row * warm) + p["mean"])))
    return p["item_weights"] @ hidden + p["item_bias"][:, 0]


@pytest.mark.parametrize("confidence", [0.0, 4.0])
def test_loss_is_the_papers_formula(toy, naive, confidence):
    model = model_of(toy, confidence=confidence, reg=0.1)
    p, batch = naive.parameters(model), naive.batch_of(model.data)
    rows, warm = model.data.interactions.toarray(), model.data.warm_items
    error = 0.0
    for user in batch.users.tolist():
        made = rebuilt(p, rows[user], warm)
        for item in np.flatnonzero(warm):
            taken = rows[user, item]
            error += (1 + confidence * taken) * (taken - made[item]) ** 2
    norms = sum((p[name][warm] ** 2).sum() for name in ("item_table", "item_weights"))
    terms = model.loss(batch)
    assert terms["error"].item() == pytest.approx(error / len(batch.users), rel=1e-5)
    assert terms["norm"].item() == pytest.approx(0.1 / 2 * norms, rel=1e-5)


def test_a_new_users_row_is_rebuilt_without_the_items_that_training_never_saw(toy, naive):
    model = model_of(toy)
    row = np.zeros(toy.n_items)
    cold, warm = np.flatnonzero(~model.data.warm_items), np.flatnonzero(model.data.warm_items)
    row[warm[:4]] = 1
    with_cold = row.copy()
    with_cold[cold[:2]] = 1
    history = sp.csr_array(np.stack([row, with_cold, 0 * row]).astype(np.float32))
    vectors = model.encode_users(history)
    scores = (vectors @ model().items.T).detach().numpy()
    expected = rebuilt(naive.parameters(model), row, model.data.warm_items)
    np.testing.assert_allclose(scores[0], expected, rtol=1e-5)
    np.testing.assert_allclose(scores[1], scores[0], rtol=1e-5)
    assert np.isfinite(scores[2]).all() and not np.allclose(scores[2], scores[0])
