"""SIGE's graphs and loss against its formulas, item by item."""

import numpy as np
import pytest
import torch
from scipy.sparse import csr_matrix

from recsys.datasets.dataset import Modality
from recsys.datasets.splits import make_split
from recsys.graphs.cooccurrence import cooccurrence_graph
from recsys.inputs.training_data import TrainingData
from recsys.models.multimodal.sige import SIGE, SIGESettings, enhanced_graph

K, BETA = 4, 0.3


@pytest.fixture(params=[1, 2])
def model(toy, naive, request):
    data = TrainingData.of(toy, make_split(toy, "cold-item"))
    settings = SIGESettings(
        width=4,
        k=K,
        k_collaborative=3,
        beta=BETA,
        item_layers=request.param,
        strength=0.0,
        perturbed=0.5,
        anchored=0.4,
        fused=0.3,
        reg=0.2,
    )
    return naive.shake_biases(SIGE(settings, data, 0))


def everyones(model, toy, naive):
    """((users, items) of behaviour, of fused semantics, and for each modality), cold items' rows aside."""
    data, arrays = model.data, naive.parameters(model)
    behaviour = naive.lightgcn(data, arrays["user_table"], arrays["item_table"], 2)
    users_by_items = naive.adjacency(data)[: data.n_users, data.n_users :]
    together = cooccurrence_graph(data.interactions, 3).toarray().astype(np.float64)
    semantics = []
    for n, modality in enumerate(toy.modalities.values()):
        held = modality.mask & data.warm_items
        near = naive.similarities(modality, held)
        graph = np.zeros_like(together)
        for i in np.flatnonzero(held):
            graph[i, i] = 1
            best = np.argsort(-near[i].round(7), kind="stable")[: K - 1]
            graph[i, best] = np.maximum(near[i, best], 0)
        mixed = naive.normalised((1 - BETA) * graph + BETA * together * np.outer(held, held))
        projected = naive.unit(modality) @ arrays[f"project.{n}.weight"].T + arrays[f"project.{n}.bias"]
        z = arrays["item_table"] * naive.sigmoid(projected * modality.mask[:, None])
        for _ in range(model.settings.item_layers):
            z = mixed @ z
        semantics.append((users_by_items @ z, z))
    present = np.column_stack([m.mask for m in toy.modalities.values()])
    fused = []
    for views, shown in zip(zip(*semantics, strict=True), (np.ones((data.n_users, 2)), present), strict=True):
        scores = [
            np.tanh(e @ arrays["fuse.query.0.weight"].T + arrays["fuse.query.0.bias"])
            @ arrays["fuse.query.2.weight"][0]
            for e in views
        ]
        weights = np.exp(np.stack(scores, 1)) * shown
        weights /= weights.sum(1, keepdims=True)
        fused.append(sum(w[:, None] * e for w, e in zip(weights.T, views, strict=True)))
    return behaviour, fused, semantics


def test_loss_is_the_formula_that_the_docstring_gives(model, toy, naive):
    batch = naive.batch_of(model.data)
    behaviour, fused, semantics = everyones(model, toy, naive)
    u, i, j = batch.users.numpy(), batch.positives.numpy(), batch.negatives.numpy()[:, 0]
    users, items = (b + f for b, f in zip(behaviour, fused, strict=True))
    margin = (users[u] * (items[i] - items[j])).sum(1)
    squares = sum(np.square(x).sum() for x in (users[u], items[i], items[j]))
    sides = (np.unique(u), np.unique(i))
    assert len(sides[0]) < len(u), "the batch repeats users: distinct ones are contrasted"
    perturbed = sum(naive.infonce(f[s], f[s], 0.2) for f, s in zip(fused, sides, strict=True))
    pulled = sum(naive.infonce(b[s], f[s], 0.2) for b, f, s in zip(behaviour, fused, sides, strict=True))
    anchored = 0.0
    for modality, views in zip(toy.modalities.values(), semantics, strict=True):
        for noun, held in enumerate((sides[0], sides[1][modality.mask[sides[1]]])):
            anchored += naive.infonce(behaviour[noun][held], views[noun][held], 0.2)
    loss = {name: float(value.detach()) for name, value in model.loss(batch).items()}
    assert loss == pytest.approx(
        {
            "bpr": np.mean(np.log1p(np.exp(-margin))),
            "perturbed": 0.5 * perturbed,
            "anchored": 0.4 * anchored,
            "fused": 0.3 * pulled,
            "l2": 0.2 * squares / (2 * len(u)),
        },
        rel=1e-4,
    )


def test_scores_use_the_same_vectors(model, toy, naive):
    behaviour, fused, _ = everyones(model, toy, naive)
    vectors, warm = [x.detach().numpy() for x in model()[:2]], model.data.warm_items
    np.testing.assert_allclose(vectors[0], behaviour[0] + fused[0], atol=1e-5)
    np.testing.assert_allclose(vectors[1][warm], (behaviour[1] + fused[1])[warm], atol=1e-5)


def test_anchors_stand_still(model, naive):
    """With the anchored term alone, behaviour is not moved: user rows enter through behaviour only."""
    model.loss(naive.batch_of(model.data))["anchored"].backward()
    assert model.user_table.grad is None or not model.user_table.grad.any()
    assert model.item_table.grad.any()


def test_perturbed_views_differ_by_the_strength_and_repeat_with_the_generator(model, naive):
    batch = naive.batch_of(model.data)
    still = float(model.loss(batch)["perturbed"].detach())
    model.settings = model.settings.model_copy(update={"strength": 0.5})
    losses = []
    for seed in (3, 3, 4):
        model.start_epoch(0, torch.Generator().manual_seed(seed))
        losses.append(float(model.loss(batch)["perturbed"].detach()))
    assert losses[0] == losses[1] != losses[2]
    assert losses[0] > still


def test_infused_graph_of_three_items_by_hand():
    """Items 0 and 1 look alike (cosine 3/5), 1 and 2 were taken together, 3 has no content, 4 is cold.

    With k = 2 and beta = 1/2 the sums of rows 0, 1, 2 are 1/2 (1 + 3/5), that plus 1/2, and 1/2 + 1/2.
    """
    features = np.array([[1, 0, 0], [0.6, 0.8, 0], [0, 0, 1], [0, 0, 0], [1, 0, 0]], dtype=np.float32)
    modality = Modality(features, np.array([True, True, True, False, True]))
    warm = np.array([True, True, True, True, False])
    together = np.zeros((5, 5))
    together[1, 2] = together[2, 1] = together[2, 3] = together[3, 2] = 1
    graph = enhanced_graph(modality, warm, csr_matrix(together), 2, 0.5).toarray()
    mixed = np.zeros((5, 5))
    mixed[0, :2] = 1 / 2, 3 / 10
    mixed[1, :3] = 3 / 10, 1 / 2, 1 / 2
    mixed[2, 1:3] = 1 / 2, 1 / 2
    sums = np.array([8 / 10, 13 / 10, 1, 1, 1])
    np.testing.assert_allclose(graph, mixed / np.sqrt(np.outer(sums, sums)), atol=1e-7)
