"""MMHCL's loss, for each backbone, and its cold items against the formulas written out."""

import numpy as np
import pytest
import torch

from recsys.datasets.splits import make_split
from recsys.inputs.training_data import TrainingData
from recsys.models.multimodal.mmhcl import MMHCL, MMHCLSettings

K, TAU = 3, 0.5


def build(toy, **settings):
    data = TrainingData.of(toy, make_split(toy, "cold-item"))
    model = MMHCL(MMHCLSettings(width=4, k=K, temperature=TAU, neighbours=2, **settings), data, 0)
    return model.eval()


def nearest(modality, queries, base, naive):
    """Each of `queries` -> its K items of `base` of largest positive cosine; ties to the lower number."""
    similar = naive.similarities(modality, modality.mask)
    np.fill_diagonal(similar, np.where(modality.mask, 1.0, -np.inf))
    lists = {}
    for i in queries:
        ranked = sorted((-round(similar[i, j] * 2**24), j) for j in base if similar[i, j] > 0)
        lists[i] = [j for _, j in ranked[:K]]
    return lists


def incidence(data, rows, naive):
    """(n_items, M n_items): rows of H for the items `rows`, whose neighbours are warm."""
    n, parts = data.n_items, []
    for modality in data.modalities.values():
        part = np.zeros((n, n))
        for i, neighbours in nearest(modality, rows, np.flatnonzero(data.warm_items), naive).items():
            part[i, neighbours] = 1
        parts.append(part)
    return np.concatenate(parts, axis=1)


def first_order(model, arrays, naive):
    """(u_ui, i_ui) of the model's backbone."""
    users, items = arrays["user_table"], arrays["item_table"]
    if model.settings.backbone == "mf":
        return users, items
    if model.settings.backbone == "lightgcn":
        return naive.lightgcn(model.data, users, items, 2)
    a, e = naive.adjacency(model.data), np.concatenate([users, items])
    layers = [e]
    for layer in range(2):
        near, product = (
            (arrays[f"encoder.module.{kind}.{layer}.weight"], arrays[f"encoder.module.{kind}.{layer}.bias"])
            for kind in ("neighbours", "products")
        )
        e = (a @ e + e) @ near[0].T + near[1] + (a @ e * e) @ product[0].T + product[1]
        e = np.where(e > 0, e, 0.2 * e)
        layers.append(unit(e))
    mean = sum(layers) / 3
    return mean[: len(users)], mean[len(users) :]


def unit(x):
    norms = np.linalg.norm(x, axis=1, keepdims=True)
    return np.divide(x, norms, out=np.zeros_like(x), where=norms > 0)


def second_order(model, arrays, naive):
    """(E_uu, E_ii) after 3 and 2 layers."""
    data = model.data
    a_uu = data.interactions.toarray() @ data.interactions.toarray().T.astype(np.float64)
    np.fill_diagonal(a_uu, 0)
    a_uu /= np.maximum(a_uu.sum(1, keepdims=True), 1e-30)
    h = incidence(data, np.flatnonzero(data.warm_items), naive)
    a_ii = naive.normalised(h @ h.T)
    return np.linalg.matrix_power(a_uu, 3) @ arrays["user_second"], a_ii @ a_ii @ arrays["item_second"]


def infonce(x, y, naive):
    """With the other nodes of the same view as negatives too."""
    values = []
    for i in range(len(x)):
        below = sum(np.exp(naive.cosine(x[i], y[j]) / TAU) for j in range(len(x)))
        below += sum(np.exp(naive.cosine(x[i], x[j]) / TAU) for j in range(len(x)) if j != i)
        values.append(np.log(below) - naive.cosine(x[i], y[i]) / TAU)
    return np.mean(values)


@pytest.mark.parametrize("form", ["explicit", "implicit"])
@pytest.mark.parametrize("backbone", ["lightgcn", "ngcf", "mf"])
def test_loss_is_the_papers_formula(toy, naive, backbone, form):
    model = naive.shake_biases(
        build(toy, backbone=backbone, form=form, anchors=0, user_contrast=0.3, item_contrast=0.7, reg=0.2)
    )
    data, batch, arrays = model.data, naive.batch_of(model.data), naive.parameters(model)
    second = second_order(model, arrays, naive)
    users, items = (a + unit(b) for a, b in zip(first_order(model, arrays, naive), second, strict=True))
    u, i, j = batch.users.numpy(), batch.positives.numpy(), batch.negatives[:, 0].numpy()
    apart = ((items[i] - items[j]) * users[u]).sum(1)
    warm_users, warm_items = data.warm_users, data.warm_items
    assert not warm_items.all()
    expected = {
        "bpr": np.mean(-np.log(naive.sigmoid(apart))),
        "l2": 0.2 * (users[u] ** 2 + items[i] ** 2 + items[j] ** 2).sum() / (2 * len(u)),
        "users": 0.3 * infonce(users[warm_users], second[0][warm_users], naive),
        "items": 0.7 * infonce(items[warm_items], second[1][warm_items], naive),
    }
    loss = {name: float(value.detach()) for name, value in model.loss(batch).items()}
    assert loss == pytest.approx(expected, rel=1e-5)


def test_anchors_estimate_the_exact_loss_without_bias(toy, naive):
    exact, sampled = build(toy, anchors=0), build(toy, anchors=6)
    batch = naive.batch_of(exact.data)
    sampled.start_epoch(0, torch.Generator().manual_seed(4))
    with torch.no_grad():
        target = exact.loss(batch)
        draws = [sampled.loss(batch) for _ in range(300)]
    for name in ("users", "items"):
        values = torch.stack([d[name] for d in draws])
        assert values.std() > 0
        assert abs(values.mean() - target[name]) < 4 * values.std() / 300**0.5
    assert draws[0]["bpr"] == target["bpr"]


def test_a_cold_item_joins_the_hyperedges_of_its_nearest_warm_items(toy, naive):
    model = build(toy)
    data, arrays = model.data, naive.parameters(model)
    cold = np.flatnonzero(~data.warm_items)
    h = incidence(data, np.flatnonzero(data.warm_items), naive)
    degree = (h @ h.T).sum(1)
    half = np.divide(1, np.sqrt(degree), out=np.zeros_like(degree), where=degree > 0)
    before = naive.normalised(h @ h.T) @ arrays["item_second"]
    second = incidence(data, cold, naive)[cold] @ h.T @ (half[:, None] * before)
    first = model.cold.graph.toarray() @ first_order(model, arrays, naive)[1]
    assert np.linalg.norm(second, axis=1).all()
    np.testing.assert_allclose(model().items[cold].detach(), first + unit(second), atol=1e-5)


@pytest.mark.parametrize("side", ["user", "item"])
def test_without_a_hypergraph_there_are_neither_its_vectors_nor_its_contrast(toy, naive, side):
    model = build(toy, **{f"{side}_hypergraph": False})
    arrays = {name: value.detach().numpy().astype(float) for name, value in model.state_dict().items()}
    users, items = first_order(model, arrays, naive)
    vectors, warm = model(), model.data.warm_items
    if side == "user":
        np.testing.assert_allclose(vectors.users.detach().numpy(), users, atol=1e-5)
        assert not np.allclose(vectors.items.detach().numpy()[warm], items[warm], atol=1e-2)
        return
    np.testing.assert_allclose(vectors.items.detach().numpy()[warm], items[warm], atol=1e-5)
    cold = {name: m.rows(np.flatnonzero(~warm)) for name, m in toy.modalities.items()}
    encoded = model.encode_items(cold)
    np.testing.assert_allclose(encoded.numpy(), vectors.items.detach().numpy()[~warm], atol=1e-5)
    part = model.cold_part(vectors.items.detach().numpy())
    assert type(part).__name__ == "Resembling" and "items" not in model.terms.terms
