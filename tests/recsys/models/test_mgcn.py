"""MGCN's loss and cold items against its formulas, item by item."""

import numpy as np
import pytest
import scipy.sparse as sp
import torch

from recsys.datasets.dataset import Modality
from recsys.datasets.splits import make_split
from recsys.inputs.training_data import TrainingData
from recsys.models.multimodal.mgcn import MGCN, MGCNSettings

K = 4


@pytest.fixture(params=[1, 2])
def model(toy, naive, request):
    data = TrainingData.of(toy, make_split(toy, "cold-item"))
    settings = MGCNSettings(width=4, k=K, item_layers=request.param, contrast=0.3, reg=0.2)
    return naive.shake_biases(MGCN(settings, data, 0))


def purified(naive, arrays, n, modality, identity):
    projected = naive.unit(modality) @ arrays[f"project.{n}.weight"].T + arrays[f"project.{n}.bias"]
    projected = projected * modality.mask[:, None]
    return identity * naive.sigmoid(projected @ arrays[f"purify.{n}.weight"].T + arrays[f"purify.{n}.bias"])


def side(naive, arrays, behaviour, views, present):
    """One user's or item's fused modality views."""
    logits = [
        arrays["fuse.query.2.weight"][0]
        @ np.tanh(arrays["fuse.query.0.weight"] @ e + arrays["fuse.query.0.bias"])
        for e in views
    ]
    weights = np.exp(logits) * present
    weights = weights / weights.sum()
    common = sum(w * e for w, e in zip(weights, views, strict=True))
    total = common.copy()
    for n, e in enumerate(views):
        gate = naive.sigmoid(arrays[f"prefer.{n}.weight"] @ behaviour + arrays[f"prefer.{n}.bias"])
        total += present[n] * gate * (e - common)
    return total / (len(views) + 1)


def everyones(model, toy, naive):
    """(users, items) of behaviour and side, (users, items) lists of modality views; warm rows are what counts."""
    data, arrays = model.data, naive.parameters(model)
    behaviour = naive.lightgcn(data, arrays["user_table"], arrays["item_table"], 2)
    users_by_items = naive.adjacency(data)[: data.n_users, data.n_users :]
    item_views, user_views = [], []
    for n, modality in enumerate(toy.modalities.values()):
        held = modality.mask & data.warm_items
        z = purified(naive, arrays, n, modality, arrays["item_table"])
        edges = np.zeros((data.n_items, data.n_items))
        cosines = naive.similarities(modality, held)
        for i in np.flatnonzero(held):
            near = np.argsort(-cosines[i].round(7), kind="stable")[: K - 1]
            edges[i, near] = np.maximum(cosines[i, near], 0)
            edges[i, i] = 1
        graph = naive.normalised(edges)
        for _ in range(model.settings.item_layers):
            z = graph @ z
        item_views.append(z)
        user_views.append(users_by_items @ z)
    present = np.column_stack([m.mask for m in toy.modalities.values()])
    sides = (
        np.stack(
            [side(naive, arrays, b, v, np.ones(2)) for b, *v in zip(behaviour[0], *user_views, strict=True)]
        ),
        np.stack(
            [
                side(naive, arrays, b, v, p)
                for b, p, *v in zip(behaviour[1], present, *item_views, strict=True)
            ]
        ),
    )
    return behaviour, sides, item_views


def test_loss_is_the_papers_formula(model, toy, naive):
    batch = naive.batch_of(model.data)
    (users, items), (user_side, item_side), _ = everyones(model, toy, naive)
    u, i, j = batch.users.numpy(), batch.positives.numpy(), batch.negatives.numpy()[:, 0]
    final_users, final_items = users + user_side, items + item_side
    margin = (final_users[u] * (final_items[i] - final_items[j])).sum(1)
    squares = sum(np.square(x).sum() for x in (final_users[u], final_items[i], final_items[j]))
    contrast = naive.infonce(item_side[i], items[i], 0.2) + naive.infonce(user_side[u], users[u], 0.2)
    loss = {name: float(value.detach()) for name, value in model.loss(batch).items()}
    assert loss == pytest.approx(
        {
            "bpr": np.mean(np.log1p(np.exp(-margin))),
            "contrast": 0.3 * contrast,
            "l2": 0.2 * squares / (2 * len(u)),
        },
        rel=1e-4,
    )


def test_scores_use_the_same_vectors_and_cold_items_join_their_neighbours(model, toy, naive):
    data, arrays = model.data, naive.parameters(model)
    (users, items), (user_side, item_side), views = everyones(model, toy, naive)
    warm = data.warm_items
    vectors = [x.detach().numpy() for x in model()[:2]]
    np.testing.assert_allclose(vectors[0], users + user_side, atol=1e-5)
    np.testing.assert_allclose(vectors[1][warm], (items + item_side)[warm], atol=1e-5)
    weights = model.cold.graph.toarray()
    identity = np.zeros_like(arrays["item_table"])
    identity[~warm] = weights @ arrays["item_table"]
    for row, item in enumerate(np.flatnonzero(~warm)):
        own, present = [], []
        for n, modality in enumerate(toy.modalities.values()):
            z = purified(naive, arrays, n, modality, identity)[item]
            own.append((z + (K - 1) * weights[row] @ views[n]) / K * modality.mask[item])
            present.append(modality.mask[item])
        behaviour = weights[row] @ items
        expected = behaviour + side(naive, arrays, behaviour, own, np.array(present))
        np.testing.assert_allclose(vectors[1][item], expected, atol=1e-5)


def test_an_item_without_any_content_has_no_side(toy):
    blank = np.arange(toy.n_items) < 3
    modalities = {
        name: Modality(m.features * ~blank[:, None], m.mask & ~blank) for name, m in toy.modalities.items()
    }
    plain = TrainingData.of(toy, make_split(toy, "random"))
    model = MGCN(MGCNSettings(width=4, k=K), TrainingData(plain.interactions, modalities), 0)
    items = model._views()[1]
    assert not model._side(items)[:3].any()
    torch.testing.assert_close(model().items[:3], items.behaviour[:3])


def test_edges_weigh_the_cosine():
    # Two items at cosine 0.6: rows (1, 0.6), each of sum 1.6, so every entry over 1.6.
    features = np.array([[1.0, 0.0], [0.6, 0.8]], np.float32)
    data = TrainingData(
        sp.csr_array(np.ones((1, 2), np.float32)), {"image": Modality(features, np.ones(2, bool))}
    )
    graph = MGCN(MGCNSettings(width=4, k=2), data, 0).graphs.graphs[0]
    torch.testing.assert_close(graph @ torch.eye(2), torch.tensor([[1, 0.6], [0.6, 1]]) / 1.6)
