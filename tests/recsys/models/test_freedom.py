"""FREEDOM's loss, pruning and cold items against the formulas written out."""

import numpy as np
import pytest
import scipy.sparse as sp
import torch

from recsys.datasets.dataset import Modality
from recsys.datasets.splits import make_split
from recsys.inputs.training_data import TrainingData
from recsys.models.multimodal.freedom import FREEDOM, FREEDOMSettings

K = 3
WEIGHTS = {"image": 3.0, "tags": 1.0}


@pytest.fixture
def model(toy, naive):
    data = TrainingData.of(toy, make_split(toy, "cold-item"))
    settings = FREEDOMSettings(width=4, k=K, content=0.4, prune=0.75, weights=WEIGHTS)
    return naive.shake_biases(FREEDOM(settings, data, 0))


def similar(model, naive):
    """(n_items, n_items): the weighted sum of the modalities' graphs, an item's own edge and K - 1 more."""
    total = 0
    for (name, modality), share in zip(model.modalities.items(), (0.75, 0.25), strict=True):
        held = modality.mask & model.data.warm_items
        cosines, graph = naive.similarities(modality, held), np.diag(held.astype(np.float64))
        for i in np.flatnonzero(held):
            ranked = sorted((-round(cosines[i, j] * 2**24), j) for j in np.flatnonzero(held) if j != i)
            graph[i, [j for _, j in ranked[: K - 1]]] = 1
        total = total + share * naive.normalised(graph)
        assert WEIGHTS[name] / 4 == share
    return total


def test_loss_is_the_papers_formula(model, toy, naive):
    data, batch, arrays = model.data, naive.batch_of(model.data), naive.parameters(model)
    users, items = naive.lightgcn(data, arrays["user_table"], arrays["item_table"], 2)
    items = items + similar(model, naive) @ arrays["item_table"]
    u, i, j = batch.users.numpy(), batch.positives.numpy(), batch.negatives[:, 0].numpy()

    def bpr(x, rows):
        apart = ((x[i] - x[j]) * users[u]).sum(1)[rows]
        return np.mean(-np.log(naive.sigmoid(apart)))

    expected = {"bpr": bpr(items, slice(None))}
    for n, (name, modality) in enumerate(toy.modalities.items()):
        x = naive.unit(modality) @ arrays[f"projections.{n}.weight"].T + arrays[f"projections.{n}.bias"]
        expected[name] = 0.4 * bpr(x, modality.mask[i] & modality.mask[j])
    assert not toy.modalities["tags"].mask[np.concatenate([i, j])].all()
    loss = {name: float(value.detach()) for name, value in model.loss(batch).items()}
    assert loss == pytest.approx(expected, rel=1e-5)


def test_an_epoch_keeps_a_share_of_the_interactions_and_normalises_it_anew(model, naive):
    data = model.data
    model.start_epoch(0, torch.Generator().manual_seed(1))
    kept = data.interactions.copy()
    x = torch.eye(data.n_items)
    pruned = (model.pruned @ x).numpy()
    assert np.count_nonzero(pruned) == int(kept.nnz * 0.25)
    assert not pruned[kept.toarray() == 0].any()
    times = torch.empty(kept.nnz, dtype=torch.float64).exponential_(
        generator=torch.Generator().manual_seed(1)
    )
    ends = np.stack(kept.nonzero())[:, np.argsort((times / model.edge_weights).numpy())]
    assert (pruned[tuple(ends[:, : int(kept.nnz * 0.25)])] > 0).all(), "the earliest are kept"
    binary = (pruned > 0).astype(np.float64)
    scale = [np.where(d > 0, d, 1) ** -0.5 for d in (binary.sum(1), binary.sum(0))]
    np.testing.assert_allclose(pruned, scale[0][:, None] * binary * scale[1], atol=1e-6)
    before = model().users
    model.start_epoch(0, torch.Generator().manual_seed(1))
    np.testing.assert_array_equal((model.pruned @ x).numpy(), pruned)
    model.start_epoch(1, torch.Generator().manual_seed(2))
    assert not np.array_equal((model.pruned @ x).numpy(), pruned)
    assert torch.equal(model().users, before), "scores come from all interactions"


def test_an_edge_between_popular_ends_is_pruned_more_often():
    """One of four edges is kept, in proportion to 1 / sqrt(d_u d_i); degrees are 2, 1, 1 on either side."""
    r = sp.csr_array(np.array([[1, 1, 0, 0], [1, 0, 0, 0], [0, 0, 1, 0]], dtype=np.float32))
    content = {"x": Modality(np.eye(4, dtype=np.float32) + 1, np.ones(4, bool))}
    model = FREEDOM(FREEDOMSettings(width=2, k=1, prune=0.7), TrainingData(r, content), 0)
    generator, drawn = torch.Generator().manual_seed(0), np.zeros(r.shape)
    for epoch in range(2000):
        model.start_epoch(epoch, generator)
        drawn += (model.pruned @ torch.eye(4)).numpy() > 0
    weights = np.array([1 / 2, 2**-0.5, 2**-0.5, 1])
    share = drawn[[0, 0, 1, 2], [0, 1, 0, 2]] / 2000
    np.testing.assert_allclose(share, weights / weights.sum(), atol=0.04)


def test_a_cold_item_is_placed_by_its_weighted_neighbours(model, naive):
    cold = np.flatnonzero(~model.data.warm_items)
    arrays = naive.parameters(model)
    _, items = naive.lightgcn(model.data, arrays["user_table"], arrays["item_table"], 2)
    graph = model.cold.graph.toarray()
    warm = np.flatnonzero(model.data.warm_items)
    for row, c in enumerate(cold):
        by_hand = np.zeros(graph.shape[1])
        for modality, share in zip(model.modalities.values(), (0.75, 0.25), strict=True):
            if modality.mask[c]:
                cosines = naive.similarities(modality, modality.mask)[c]
                ranked = sorted((-round(cosines[j] * 2**24), j) for j in warm if modality.mask[j])
                by_hand[[j for _, j in ranked[:K]]] += share / K
        np.testing.assert_allclose(graph[row], by_hand / by_hand.sum(), atol=1e-6)
    expected = graph @ (items + arrays["item_table"])
    np.testing.assert_allclose(model().items[cold].detach(), expected, atol=1e-6)
