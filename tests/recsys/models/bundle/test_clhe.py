"""CLHE's attention by hand, and its loss against its formulas, bundle by bundle and item by item."""

from math import log

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from torch.nn.functional import cosine_similarity, normalize

from recsys.datasets.dataset import Modality
from recsys.encoders.feature_attention import AttentionMean
from recsys.inputs.sampler import Batch
from recsys.inputs.training_data import TrainingData
from recsys.models.bundle.clhe import CLHE, CLHESettings
from recsys.models.bundle.sets import draw_given
from recsys.objectives.contrastive.infonce import infonce

BUNDLES = np.array(
    [[1, 1, 1, 0, 0, 0, 0, 0], [0, 1, 0, 1, 1, 1, 0, 0], [0, 0, 1, 1, 0, 0, 0, 0], [1, 0, 0, 0, 0, 0, 1, 0]],
    dtype=np.float32,
)
"""Item 7 is in no bundle; item 6 lacks a modality; items 3 and 7 have no vector of users' feedback."""


@pytest.fixture
def made():
    def make(**settings):
        rng = np.random.default_rng(3)
        mask = np.arange(8) != 6
        rows = rng.normal(size=(8, 5)).astype(np.float32) * mask[:, None]
        modalities = {
            "look": Modality(rows, mask),
            "text": Modality(rng.normal(size=(8, 3)).astype(np.float32), np.ones(8, dtype=bool)),
        }
        values = {"width": 4, "feedback_epochs": 0} | settings
        model = CLHE(CLHESettings(**values), TrainingData(sp.csr_array(BUNDLES), modalities), 0)
        model.vectors.normal_(generator=torch.Generator().manual_seed(1))
        model.held.copy_(torch.tensor([True, True, True, False, True, True, True, False]))
        return model.double()

    return make


def attention(layer, rows):
    """(n, d) -> (d,), row by row."""
    out = []
    for row in rows:
        weights = torch.stack([(layer.query.weight @ row) @ (layer.key.weight @ other) for other in rows])
        out.append((weights / len(row) ** 0.5).softmax(0) @ rows)
    return torch.stack(out).mean(0)


def slots_of(model, encoder, i):
    """Content, table row and feedback of item i, unit, each None where it has none."""
    content = torch.zeros(4, dtype=torch.float64)
    for name, mlp in encoder.mlps.items():
        row, first = model.content[name].dense[i], mlp.first
        if model.content[name].present[i]:
            hidden = (first.weight @ row + first.bias).relu()
            hidden = (mlp.second.weight @ hidden + mlp.second.bias).relu()
            content = content + normalize(mlp.third.weight @ hidden + mlp.third.bias, dim=0)
    table = encoder.item_table[i] if model.warm[i] else None
    feedback = encoder.map.weight @ model.vectors[i] + encoder.map.bias if model.held[i] else content
    return [None if slot is None else normalize(slot, dim=0) for slot in (content, table, feedback)]


def item(model, encoder, i):
    slots = [slot for slot in slots_of(model, encoder, i) if slot is not None]
    return attention(encoder.attention, torch.stack(slots))


def bundle(model, items):
    rows = []
    for i in items:
        row = item(model, model.encoder, i)
        rows.append((row - row.mean()) / (row.var(correction=0) + 1e-9).sqrt())
    return attention(model.bundle_attention, torch.stack(rows))


def contrast(first, second, temperature):
    rows = [cosine_similarity(x.unsqueeze(0), second) / temperature for x in first]
    return -torch.stack([row.log_softmax(0)[n] for n, row in enumerate(rows)]).mean()


def batch():
    return Batch(torch.arange(4), torch.zeros(4, dtype=torch.int64), torch.zeros(4, 1, dtype=torch.int64))


def test_attention_by_hand():
    layer = AttentionMean(2, torch.Generator().manual_seed(0)).double()
    layer.query.weight.data = 2**0.5 * log(3) * torch.eye(2, dtype=torch.float64)
    layer.key.weight.data = torch.eye(2, dtype=torch.float64)
    rows = torch.tensor([[[1.0, 0.0], [0.0, 2.0], [7.0, 7.0]]], dtype=torch.float64)
    # Scores ln 3 and 0 of the first, 0 and ln 81 of the second; the third is absent.
    first, second = (3 / 4 + 1 / 82) / 2, (1 / 4 + 81 / 82) / 2
    found = layer(rows, torch.tensor([[True, True, False]]))
    torch.testing.assert_close(found, torch.tensor([[first, 2 * second]], dtype=torch.float64))
    assert not layer(rows, torch.zeros(1, 3, dtype=torch.bool)).any()


def test_the_loss_is_the_formulas_and_so_is_its_gradient(made):
    model = made(item_noise=0.1, item_weight=0.3, bundle_weight=0.7, reg=0.01)
    model.noise.manual_seed(4)
    torch.manual_seed(5)
    terms = model.loss(batch())
    model.noise.manual_seed(4)
    kept = draw_given(model.sets_of(batch())[0], model.noise, 0.5)
    torch.manual_seed(5)
    noise = [torch.randn(7, 4, dtype=torch.float64) for _ in range(2)]

    bundles = [np.flatnonzero(row).tolist() for row in BUNDLES]
    keys = torch.stack([item(model, model.decoder, i) for i in range(7)])
    vectors = torch.stack([bundle(model, items) for items in bundles])
    logs = [(keys @ v).log_softmax(0)[items].mean() for v, items in zip(vectors, bundles, strict=True)]
    parts = [[i for i, k in zip(b, row, strict=False) if k] for b, row in zip(bundles, kept, strict=True)]
    assert [len(p) for p in parts] == [2, 2, 1, 1]
    items = torch.stack([item(model, model.encoder, i) for i in range(7)])
    first, second = (model.project(items + 0.1 * n) for n in noise)
    frozen = ("bundle_attention.query.weight", "bundle_attention.key.weight")
    trained = {name: w for name, w in model.named_parameters() if name not in frozen}
    known = [w[:7] if name.endswith("item_table") else w for name, w in trained.items()]
    expected = {
        "likelihood": -torch.stack(logs).mean(),
        "items": 0.3 * contrast(first, second, 0.2),
        "bundles": 0.7 * contrast(vectors, torch.stack([bundle(model, part) for part in parts]), 0.2),
        "weights": 0.01 / 2 * sum(w.square().sum() for w in known),
    }
    assert list(terms) == list(expected)
    for name, value in expected.items():
        torch.testing.assert_close(terms[name], value, msg=name)
    ours = torch.autograd.grad(sum(terms.values()), trained.values())
    theirs = torch.autograd.grad(sum(expected.values()), trained.values())
    for name, own, their in zip(trained, ours, theirs, strict=True):
        torch.testing.assert_close(own, their, msg=name)
    assert not any(dict(model.named_parameters())[name].requires_grad for name in frozen)


def test_every_item_is_ranked_by_its_slots(made):
    model = made()
    with torch.no_grad():
        expected = torch.stack([item(model, model.decoder, i) for i in range(8)])
    torch.testing.assert_close(model.decode().detach(), expected)


def item_contrast(model, items):
    nodes = model._item_views(items)
    return infonce(*(nodes.copy(number, "fused") for number in range(2)), 0.2)


def test_a_dropped_slot_stays_in_the_softmax_and_in_the_mean(made):
    model = made(item_view="MD", item_drop=0.4)
    items = torch.arange(8)
    torch.manual_seed(2)
    found = item_contrast(model, items)
    torch.manual_seed(2)
    views = []
    for drawn in [torch.rand(8, 3) for _ in range(2)]:
        slots = [slots_of(model, model.encoder, i) for i in items]
        assert (drawn < 0.4).any()
        kept = [
            [slot * (d >= 0.4) for slot, d in zip(s, row, strict=True) if slot is not None]
            for s, row in zip(slots, drawn, strict=True)
        ]
        views.append(torch.stack([attention(model.encoder.attention, torch.stack(s)) for s in kept]))
    torch.testing.assert_close(found, contrast(*views, 0.2))


def test_items_as_they_are_are_only_pushed_apart(made):
    model = made(item_view="NA")
    items = torch.stack([item(model, model.encoder, i) for i in range(8)])
    torch.testing.assert_close(item_contrast(model, torch.arange(8)), contrast(items, items, 0.2))


def test_replacements_come_from_all_items_of_bundles(made):
    model = made(bundle_view="IR")
    sets, _, _ = model.sets_of(batch())
    drawn = set()
    for _ in range(100):
        view = model.bundle_view(sets)
        assert torch.equal(view.present, sets.present)
        drawn |= set(view.items[2][view.present[2]].tolist())
    assert drawn == set(range(7))


def test_attention_of_bundles_is_trained_where_asked(made):
    model = made(train_bundle_attention=True)
    sum(model.loss(batch()).values()).backward()
    assert model.bundle_attention.query.weight.grad.any()
