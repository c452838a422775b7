"""CM3's loss and cold items against the formulas written out, for one, two and three modalities."""

from itertools import combinations, pairwise

import numpy as np
import pytest
import torch

from recsys.datasets.dataset import Modality
from recsys.datasets.splits import make_split
from recsys.encoders.beta import symmetric_beta
from recsys.inputs.training_data import TrainingData
from recsys.models.multimodal.cm3 import CM3, CM3Settings

K, WIDTH, LAYERS, GAMMA, ALPHA = 3, 4, 2, 0.8, 0.4


def build(toy, naive, modalities=2, **settings):
    rng = np.random.default_rng(2)
    present = np.arange(toy.n_items) % 3 > 0
    sound = (rng.normal(size=(toy.n_items, 5)) * present[:, None]).astype(np.float32)
    content = dict([*toy.modalities.items(), ("sound", Modality(sound, present))][:modalities])
    data = TrainingData(TrainingData.of(toy, make_split(toy, "cold-item")).interactions, content)
    chosen = CM3Settings(
        width=WIDTH, layers=LAYERS, k=K, gamma=GAMMA, alpha=ALPHA, s_min=0.1, s_max=0.8, **settings
    )
    model = naive.shake_biases(CM3(chosen, data, 0))
    with torch.no_grad():
        model.user_logits.uniform_(-1, 1, generator=torch.Generator().manual_seed(3))
    return model


def unit(x):
    norms = np.linalg.norm(x, axis=-1, keepdims=True)
    return np.divide(x, norms, out=np.zeros_like(x), where=norms > 0)


def slerp(a, b, s):
    theta = np.arccos(np.clip(a @ b, -1, 1))
    return (np.sin((1 - s) * theta) * a + np.sin(s * theta) * b) / np.sin(theta)


def bezier(points, s):
    while len(points) > 1:
        points = [slerp(a, b, s) for a, b in pairwise(points)]
    return points[0] if points else np.zeros(WIDTH)


def layer_zero(model, arrays, s, naive):
    """(users, items, f): the channels side by side; `s` has a place for each item."""
    channels, points = [], []
    for n, modality in enumerate(model.modalities.values()):
        x, held = naive.unit(modality), modality.mask[:, None]
        hidden = x @ arrays[f"hidden.{n}.weight"].T + arrays[f"hidden.{n}.bias"]
        hidden = np.where(hidden > 0, hidden, 0.01 * hidden)
        channels.append(unit(hidden @ arrays[f"output.{n}.weight"].T) * held)
        points.append(unit(x @ arrays[f"points.{n}.weight"].T + arrays[f"points.{n}.bias"]))
    masks = [m.mask for m in model.modalities.values()]
    fused = np.stack(
        [
            bezier([p[i] for p, held in zip(points, masks, strict=True) if held[i]], s[i])
            for i in range(len(s))
        ]
    )
    users = unit(arrays["user_table"].reshape(len(arrays["user_table"]), -1, WIDTH))
    return users.reshape(len(users), -1), np.concatenate([*channels, fused], axis=1), fused


def propagate(model, arrays, s, naive):
    """(users, items, items before the hop, f) for all items; the rows of cold ones mean nothing."""
    users, items, fused = layer_zero(model, arrays, s, naive)
    users, items = (x * (LAYERS + 1) for x in naive.lightgcn(model.data, users, items, LAYERS))
    logits = np.exp(arrays["user_logits"])
    weights = np.repeat(logits / logits.sum(1, keepdims=True), WIDTH, axis=1)
    graph = 0
    for modality in model.modalities.values():
        held = modality.mask & model.data.warm_items
        cosines, part = naive.similarities(modality, held), np.diag(held.astype(np.float64))
        for i in np.flatnonzero(held):
            ranked = sorted((-round(cosines[i, j] * 2**24), j) for j in np.flatnonzero(held) if j != i)
            part[i, [j for _, j in ranked[: K - 1]]] = 1
        graph = graph + naive.normalised(part) / len(model.modalities)
    return users * weights, items + graph @ items, items, fused


@pytest.mark.parametrize("modalities", [1, 2, 3])
def test_loss_is_the_papers_formula(toy, naive, modalities):
    model = build(toy, naive, modalities)
    data, batch, arrays = model.data, naive.batch_of(model.data), naive.parameters(model)
    s = np.full(data.n_items, 0.5)
    generator = torch.Generator().manual_seed(9)
    s[data.warm_items] = symmetric_beta(int(data.warm_items.sum()), ALPHA, generator).numpy()
    users, items, _, fused = propagate(model, arrays, s, naive)
    u, i, j = unit(users)[batch.users], unit(items)[batch.positives], unit(items)[batch.negatives[:, 0]]
    f = unit(fused)[batch.negatives[:, 0]]
    pairs = list(combinations(range(len(u)), 2))
    apart = [np.exp(-2 * ((u[a] - u[b]) ** 2).sum()) for a, b in pairs]
    calibrated = [
        np.exp(-2 * (((j[a] - j[b]) ** 2).sum() - 2 + 2 * np.clip(f[a] @ f[b], 0.1, 0.8))) for a, b in pairs
    ]
    model.start_epoch(0, torch.Generator().manual_seed(9))
    loss = {name: float(value.detach()) for name, value in model.loss(batch).items()}
    expected = {
        "alignment": ((u - i) ** 2).sum(1).mean(),
        "users": GAMMA / 2 * np.log(np.mean(apart)),
        "items": GAMMA / 2 * np.log(np.mean(calibrated)),
    }
    assert loss == pytest.approx(expected, rel=1e-4, abs=1e-5)


@pytest.mark.parametrize("modalities", [1, 2, 3])
def test_warm_and_cold_vectors_are_the_papers_and_the_neighbours(toy, naive, modalities):
    model = build(toy, naive, modalities)
    data, arrays = model.data, naive.parameters(model)
    half = np.full(data.n_items, 0.5)
    _, own, _ = layer_zero(model, arrays, half, naive)
    users, items, before, _ = propagate(model, arrays, half, naive)
    vectors, cold = model(), ~data.warm_items
    np.testing.assert_allclose(vectors.users.detach(), users, atol=1e-4)
    np.testing.assert_allclose(vectors.items[data.warm_items].detach(), items[data.warm_items], atol=1e-4)
    expected = own[cold] + model.cold.graph @ (before - own) + model.cold.graph @ before
    np.testing.assert_allclose(vectors.items[cold].detach(), expected, atol=1e-4)


def test_fusion_is_drawn_in_training_and_fixed_when_scoring(toy, naive):
    model = build(toy, naive)
    batch = naive.batch_of(model.data)
    losses = []
    for seed in (1, 1, 2):
        model.start_epoch(0, torch.Generator().manual_seed(seed))
        losses.append(float(model.loss(batch)["items"].detach()))
    assert losses[0] == losses[1] != losses[2]
    assert torch.equal(model().items, model().items)


def test_weights_of_modalities_reach_the_item_graph(toy, naive):
    image = build(toy, naive, weights={"tags": 0.0})
    assert image.item_graph.nnz < build(toy, naive).item_graph.nnz
    assert image.item_graph.nnz == K * int(image.data.warm_items.sum())


def test_scores_can_take_the_last_steps_s(toy, naive):
    """As in the published code: what the last training step drew, also in a model that was saved and loaded."""
    model = build(toy, naive, score_at="last")
    half = build(toy, naive)()
    torch.testing.assert_close(model().items, half.items)
    model.start_epoch(0, torch.Generator().manual_seed(5))
    model.loss(naive.batch_of(model.data))
    warm = model.data.warm_items
    s = np.full(model.data.n_items, 0.5)
    s[warm] = symmetric_beta(int(warm.sum()), ALPHA, torch.Generator().manual_seed(5)).float().numpy()
    expected = propagate(model, naive.parameters(model), s, naive)[1]
    np.testing.assert_allclose(model().items.detach().numpy()[warm], expected[warm], atol=1e-4)
    again = build(toy, naive, score_at="last")
    again.load_arrays(model.arrays())
    torch.testing.assert_close(again().items, model().items)
    assert "last" not in build(toy, naive).arrays()
