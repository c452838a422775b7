"""LATTICE's loss, its learned graph and its gradient, and its cold items, against dense formulas."""

import numpy as np
import pytest
import torch
from torch.nn.functional import normalize, softplus

from recsys.datasets.splits import make_split
from recsys.inputs.training_data import TrainingData
from recsys.models.multimodal.lattice import LATTICE, LATTICESettings
from recsys.runs.config import resolve_settings
from recsys.training.module import TrainingModule

K, SKIP, REG = 3, 0.6, 0.3


@pytest.fixture
def model(toy, naive):
    data = TrainingData.of(toy, make_split(toy, "cold-item"))
    model = naive.shake_biases(LATTICE(LATTICESettings(width=4, k=K, skip=SKIP, reg=REG), data, 0))
    with torch.no_grad():
        model.logits.copy_(torch.tensor([0.4, -0.3]))
    return model


def kept(similar, rows, base):
    """(n, n) bool: the K largest positive entries of each row of `rows` among the columns `base`."""
    out = np.zeros(similar.shape, bool)
    for i in rows:
        ranked = sorted((-round(similar[i, j] * 2**24), j) for j in base if similar[i, j] > 0)
        out[i, [j for _, j in ranked[:K]]] = True
    return out


def laplacian(matrix):
    half = matrix.sum(1).clamp_min(1e-9).rsqrt()
    return half[:, None] * matrix * half


def dense_graph(model, arrays, naive):
    """A (n_items, n_items) in float64, differentiable, from similarities of all pairs."""
    shares, raw, learned = arrays["logits"].softmax(0), 0, 0
    for n, modality in enumerate(model.modalities.values()):
        held = np.flatnonzero(modality.mask & model.data.warm_items)
        cosines = naive.similarities(modality, modality.mask & model.data.warm_items)
        cosines[held, held] = 2  # an item is its own first neighbour in the frozen graph
        near = kept(cosines, held, held)
        cosines[held, held] = 1
        raw = raw + shares[n] * laplacian(torch.from_numpy(np.where(near, cosines, 0)))
        x = torch.from_numpy(naive.unit(modality))
        z = normalize(x @ arrays[f"projections.{n}.weight"].T + arrays[f"projections.{n}.bias"], dim=1)
        similar = z @ z.T
        near = kept(similar.detach().numpy(), held, held)
        learned = learned + shares[n] * similar * torch.from_numpy(near)
    return SKIP * raw + (1 - SKIP) * laplacian(learned)


def dense_loss(model, arrays, graph, batch, naive):
    a = torch.from_numpy(naive.adjacency(model.data))
    x = torch.cat([arrays["user_table"], arrays["item_table"]])
    mean = (x + a @ x + a @ a @ x) / 3
    users, items = mean.split([model.data.n_users, model.data.n_items])
    items = items + normalize(graph @ arrays["item_table"], dim=1)
    u, i, j = users[batch.users], items[batch.positives], items[batch.negatives[:, 0]]
    bpr = softplus((u * j).sum(1) - (u * i).sum(1)).mean()
    return bpr, REG * (u.square() + i.square() + j.square()).sum() / (2 * len(u))


def doubles(model):
    return {
        name: p.detach().double().requires_grad_()
        for name, p in model.named_parameters(remove_duplicate=False)
    }


def test_the_first_step_of_an_epoch_learns_the_graph_and_the_others_keep_it(model, naive):
    batch, arrays = naive.batch_of(model.data), doubles(model)
    graph = dense_graph(model, arrays, naive)
    expected = dense_loss(model, arrays, graph, batch, naive)
    sum(expected).backward()
    model.start_epoch(0, torch.Generator())
    loss = model.loss(batch)
    assert [float(v.detach()) for v in loss.values()] == pytest.approx(
        [float(v.detach()) for v in expected], rel=1e-5
    )
    sum(loss.values()).backward()
    for name, parameter in model.named_parameters():
        reference = arrays[name].grad
        assert reference.any(), name
        torch.testing.assert_close(parameter.grad.double(), reference, rtol=1e-3, atol=1e-6, msg=name)
    model.zero_grad()
    again = model.loss(batch)
    assert [float(v.detach()) for v in again.values()] == pytest.approx(
        [float(v.detach()) for v in expected], rel=1e-5
    )
    sum(again.values()).backward()
    assert model.logits.grad is None
    with torch.no_grad():
        model.logits.add_(torch.tensor([3.0, 0.0]))
    assert float(model.loss(batch)["bpr"].detach()) == float(again["bpr"].detach())
    model.start_epoch(1, torch.Generator())
    assert float(model.loss(batch)["bpr"].detach()) != float(again["bpr"].detach())


def test_a_cold_item_has_its_own_row_of_the_graph(model, naive):
    data, arrays = model.data, naive.parameters(model)
    warm, cold = np.flatnonzero(data.warm_items), np.flatnonzero(~data.warm_items)
    shares = np.exp(arrays["logits"]) / np.exp(arrays["logits"]).sum()
    rows = np.zeros((data.n_items, data.n_items))
    for n, modality in enumerate(model.modalities.values()):
        held = [j for j in warm if modality.mask[j]]
        mine = [c for c in cold if modality.mask[c]]
        z = naive.unit(modality) @ arrays[f"projections.{n}.weight"].T + arrays[f"projections.{n}.bias"]
        z /= np.linalg.norm(z, axis=1, keepdims=True)
        for share, similar in ((SKIP, naive.similarities(modality, modality.mask)), (1 - SKIP, z @ z.T)):
            part = np.where(kept(similar, mine, held), similar, 0)
            rows += share * shares[n] * part / np.maximum(part.sum(1, keepdims=True), 1e-30)
    second = rows[cold] @ arrays["item_table"]
    second /= np.linalg.norm(second, axis=1, keepdims=True)
    _, items = naive.lightgcn(data, arrays["user_table"], arrays["item_table"], 2)
    expected = model.cold.graph @ items + second
    np.testing.assert_allclose(model().items[cold].detach(), expected, atol=1e-5)


def test_the_learning_rate_decays_as_in_the_authors_code(model):
    _, training = resolve_settings(LATTICE, {})
    module = TrainingModule(model, training, 0)
    (optimizer,), (schedule,) = module.configure_optimizers()
    rates = []
    for _ in range(101):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    np.testing.assert_allclose([rates[0], rates[50], rates[100]], [5e-4, 5e-4 * 0.96, 5e-4 * 0.96**2])
