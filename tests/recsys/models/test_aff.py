"""AFF's loss and scores against its formulas, and its switches."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import torch

import recsys
from recsys.datasets.splits import make_split
from recsys.encoders.fields import time_fields
from recsys.errors import UserError
from recsys.experiments.benchmarks.decisive import counted, planted
from recsys.inputs.training_data import TrainingData
from recsys.models.cold_start.aff import AFF, AFFSettings
from recsys.objectives.contrastive.infonce import infonce

PARTS = {
    "gates": False,
    "attention": False,
    "view_contrast": False,
    "interaction_contrast": False,
    "context": False,
}


@pytest.fixture(scope="module")
def told(toy):
    users = pd.DataFrame({"colour": np.repeat(["red", "green", "blue"], 16), "age": np.arange(48.0)})
    return replace(toy, user_attributes=users)


def model_of(dataset, split="cold-item", **settings):
    data = TrainingData.of(dataset, make_split(dataset, split))
    options = {
        "width": 4,
        "dropout": 0.0,
        "content_dropout": 0.0,
        "id_dropout": 0.0,
        "new_users": 0.0,
        "average": 0.0,
    } | settings
    model = AFF(AFFSettings(**options), data, 0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += torch.randn(parameter.shape, generator=model.init_generator) * 0.3
    return model


def undrawn(model):
    """The model with zeros for all that a step draws: nothing is given as history, nothing is dropped."""
    model._drawn = lambda *shape: torch.zeros(*shape)
    return model


def towers(model):
    """(users, item vectors, popularities, second item vectors, moments) of a step that draws zeros, float64: an
    item's popularity is log(1 + the users who took it), or what is expected of a cold one. A user's ID stands beside
    the vector, where it meets the item's gated content: nobody has a history."""
    data = model.data
    items = model._items(model._item_fields())
    nobody = sp.csr_array(data.interactions.shape, dtype=np.float32)
    users = model.user_fusion(model._known_users(items.keys, nobody))[0]
    moments = model._moments(torch.arange(168))[0] if model.has_context else torch.zeros(168, 0)
    popularity = items.bias[:, 0]
    if model.settings.popularity:
        known = torch.from_numpy(np.log1p(data.item_counts()))
        popularity = torch.where(torch.from_numpy(data.warm_items), known, popularity)
    if model.has_product:
        users = torch.cat([users, model.user_table * model.warm_users[:, None]], 1)
    vectors = torch.cat([items.vectors, gated_content(model)], 1)
    found = users, vectors, popularity, items.moments, moments
    return [x.detach().double().numpy() for x in found]


def gated_content(model):
    """(n, d): the sum of the content fields that an item has, each times its gate; (n, 0) without the product."""
    fields = model._item_fields()
    gates = model.item_fusion(fields)[1]
    if not model.has_product:
        return gates[:, :0]
    names = model.names["item"]
    assert names[-1] == "id" and len(names) == len(fields.vectors)
    rows = [
        sum(gates[i, f] * fields.vectors[f][i] for f in range(len(names) - 1) if fields.present[i, f])
        for i in range(len(gates))
    ]
    return torch.stack([row if isinstance(row, torch.Tensor) else torch.zeros(4) for row in rows])


@pytest.mark.parametrize("popularity", [0.0, 1.0])
@pytest.mark.parametrize("context", [True, False])
def test_rank_is_the_softmax_over_the_warm_items_at_each_moment(told, naive, context, popularity):
    options = {"view_contrast": False, "interaction_contrast": False, "popularity": popularity}
    model = undrawn(model_of(told, context=context, **options))
    data, batch = model.data, replace(naive.batch_of(model.data), users=torch.tensor([3, 0, 40]))
    u, v, b, w, c = towers(model)
    times = time_fields(data.use_timestamps("test"))
    moment = times["hour"] * 7 + times["weekday"]
    losses = []
    for place, (user, item) in enumerate(zip(*data.interactions.nonzero(), strict=True)):
        if user in batch.users.tolist():
            scores = v @ u[user] + b + (w @ c[moment[place]] if context else 0)
            losses.append(np.log(np.exp(scores[data.warm_items]).sum()) - scores[item])
    terms = model.loss(batch)
    assert set(terms) == {"rank"} | ({"popularity"} if popularity else set())
    assert terms["rank"].item() == pytest.approx(np.mean(losses), rel=1e-4)


def test_scores_take_the_mean_moment_of_the_training(told):
    model = model_of(told)
    _, v, b, w, c = towers(model)
    vectors = model()
    scores = (vectors.users @ vectors.items.T).detach().numpy()
    times = time_fields(model.data.use_timestamps("test"))
    mean = c[times["hour"] * 7 + times["weekday"]].mean(0)
    users = model.user_fusion(model._known_users(vectors.extras["keys"], model.data.interactions))[0]
    content = gated_content(model).detach().numpy()
    tastes = [content[model.data.interactions[[u]].indices] for u in range(told.n_users)]
    tastes = np.stack([rows.sum(0) / np.sqrt(max(len(rows), 1)) for rows in tastes])
    tastes += model.user_table.detach().numpy() * model.data.warm_users[:, None]
    users = np.concatenate([users.detach().numpy(), tastes], 1)
    np.testing.assert_allclose(scores, users @ v.T + b + w @ mean, atol=1e-4)


@pytest.mark.parametrize("split", ["random", "cold-user"])
def test_who_arrives_with_a_history_has_its_content_for_taste(told, split):
    """No ID: two who took the same are one, and the product alone tells them from one who took nothing."""
    model = model_of(told, split).eval()
    history = sp.csr_array(model.data.interactions[[0]])
    vectors = model()
    found = model.encode_users(history, vectors=vectors)[0, 4:8].detach()
    content = gated_content(model)[history.indices].detach()
    torch.testing.assert_close(found, content.sum(0) / len(content) ** 0.5, atol=1e-5, rtol=0)
    nobody = sp.csr_array((1, told.n_items), dtype=np.float32)
    assert not model.encode_users(nobody, vectors=vectors)[0, 4:8].any()


@pytest.mark.parametrize("missing", [{"history": False}, {"product": False}, {"modalities": {}}])
def test_without_histories_or_content_there_is_no_product(told, missing):
    data = replace(told, modalities={}) if "modalities" in missing else told
    model = model_of(data, "random", **({} if "modalities" in missing else missing))
    assert not model.has_product and model().items.shape[1] == 4 + 1 + 4
    assert model_of(told, "random")().items.shape[1] == 4 + 4 + 1 + 4


def test_a_model_saved_without_the_product_is_not_loaded_with_it(told):
    old = model_of(told, product=False).arrays()
    with pytest.raises(UserError, match="trained without the product of fields; train it again"):
        model_of(told).load_arrays(old)
    model_of(told).load_arrays(model_of(told).arrays())
    model_of(told, product=False).load_arrays(old)


@pytest.mark.parametrize("numbers", [False, True])
def test_an_attribute_that_decides_taste_is_found(numbers):
    """One of 100 categories, told in words or in numbers, beside three attributes that say nothing. What a user's taste
    by category reaches, counted in the training part, is 0.874, and chance 0.088. Without `product` and `codes` it was
    0.108 and 0.094."""
    data = planted(numbers=numbers)
    most = recsys.evaluate(counted(data), data, split="cold-item").metrics.cold_pool["ndcg@20"]
    run = recsys.train("aff", data, split="cold-item", max_epochs=40, eval_every=8, learning_rate=0.01)
    assert run.metrics.cold_pool["ndcg@20"] > 0.8 * most
    gates = run.model.field_gates()["item"]
    mean = dict(zip(gates.fields, gates.values[~gates.warm].mean(0), strict=True))
    assert mean.pop("category") > 0.9 and max(mean.values()) < 0.2


def test_popularity_is_expected_of_items_that_do_without_their_ids(told, naive):
    """With a draw of zeros and id_dropout > 0 none has one."""
    model = undrawn(model_of(told, id_dropout=0.5, popularity=2.0))
    nobody = torch.zeros(told.n_items, dtype=torch.bool)
    warm, items = (
        model.warm_ids,
        model._items(model.item_content(told.n_items).plus(model.item_table, nobody)),
    )
    known = np.log1p(model.data.interactions.sum(axis=0))[warm]
    expected = items.bias[warm, 0].detach().numpy()
    errors = ((expected - known) / known.std()) ** 2
    terms = model.loss(naive.batch_of(model.data))
    assert terms["popularity"].item() == pytest.approx(2 * errors.mean(), rel=1e-4)
    kept = undrawn(model_of(told, id_dropout=0.0, popularity=2.0))
    assert kept.loss(naive.batch_of(kept.data))["popularity"].item() == 0


@pytest.mark.parametrize("share", [0.4, 1.0])
def test_a_ridge_draws_what_cold_items_are_worth_to_the_usual_user(told, share):
    plain, drawn = (model_of(told, popularity=1.0, ridge=r, regularisation=0.7).eval() for r in (0.0, share))
    data = drawn.data
    rows = np.hstack(
        [
            m.features / np.linalg.norm(m.features, axis=1, keepdims=True).clip(1e-12)
            for m in told.modalities.values()
        ]
    )
    cold = ~data.warm_items
    x, y = rows[data.warm_items].astype(np.float64), np.log1p(data.item_counts()[data.warm_items])
    centred = x - x.mean(0)
    weight = np.linalg.solve(centred.T @ centred + 0.7 * np.eye(x.shape[1]), centred.T @ (y - y.mean()))
    expected = (rows[cold] - x.mean(0)) @ weight + y.mean()
    scores = [(v.users @ v.items.T).detach().numpy() for v in (plain(), drawn())]
    usual = [s[data.warm_users].mean(0) for s in scores]
    np.testing.assert_allclose(
        usual[1][cold], usual[0][cold] + share * (expected - usual[0][cold]), atol=1e-4
    )
    np.testing.assert_allclose(scores[1][:, ~cold], scores[0][:, ~cold], atol=1e-6)
    own = [s[:, cold] - s[data.warm_users][:, cold].mean(0) for s in scores]
    np.testing.assert_allclose(own[1], own[0], atol=1e-4)
    new = {k: type(m)(m.features[cold], m.mask[cold]) for k, m in told.modalities.items()}
    torch.testing.assert_close(
        drawn.encode_items(new), drawn().items[torch.from_numpy(cold)], atol=1e-5, rtol=0
    )


def test_a_ridge_needs_content_of_items(told):
    bare = replace(told, modalities={}, item_attributes=pd.DataFrame(index=range(told.n_items)))
    with pytest.raises(UserError, match="AFF has no item field to regress popularity on; set ridge=0"):
        model_of(bare, "random", ridge=0.5)


def test_in_new_catalogues_no_item_has_an_id(told, naive):
    batch, grads = naive.batch_of(model_of(told).data), []
    for share in (0.0, 1.0):
        model = model_of(told, new_catalogues=share)
        sum(model.loss(batch).values()).backward()
        grads.append(float(model.item_table.grad.abs().sum()))
    assert grads[0] > 0 and grads[1] == 0


def test_contrasts_are_infonce_of_views_and_of_pairs(told, naive):
    model = undrawn(
        model_of(told, "random", view_weight=0.5, interaction_weight=0.25, temperature=0.5, view_mask=0.0)
    )
    batch = naive.batch_of(model.data)
    batch = replace(batch, users=batch.users.unique())
    u, v, *_ = (torch.from_numpy(x[:, :4]) for x in towers(model)[:2])
    users, items = (
        torch.from_numpy(ids.astype(np.int64))
        for ids in model.data.interactions[batch.users.numpy()].nonzero()
    )
    users = batch.users[users]
    terms = model.loss(batch)
    # Both views show all fields here, so each is the other.
    among = v[items.unique()], u[batch.users]
    views = sum(infonce(x, x, 0.5) for x in among)
    assert terms["views"].item() == pytest.approx(0.5 * views.item() / 2, rel=1e-4)
    pairs = infonce(u[users], v[items], 0.5, symmetric=True)
    assert terms["interactions"].item() == pytest.approx(0.25 * pairs.item(), rel=1e-4)


@pytest.mark.parametrize("switch", PARTS)
def test_each_module_can_be_left_out(told, naive, switch):
    full, without = (model_of(told, **options) for options in ({}, {switch: False}))
    batch = naive.batch_of(full.data)
    term = {"view_contrast": "views", "interaction_contrast": "interactions"}.get(switch)
    names = [set(dict(model.named_parameters())) for model in (full, without)]
    if term:
        assert set(full.loss(batch)) - set(without.loss(batch)) == {term} and names[0] == names[1]
        return
    marks = {"context": ("hour", "weekday", "context_fusion", "item_fusion")}.get(switch, (f".{switch}.",))
    left = names[0] - names[1]
    assert left and all(any(mark in name for mark in marks) for name in left)
    assert np.isfinite(sum(x.item() for x in without.loss(batch).values()))


def test_without_ids_or_histories_there_is_no_row_for_anybody(told):
    model = model_of(told, ids=False, history=False)
    assert model.id_tables() == {} and model.names["user"] == ["colour", "age"]
    assert model.names["item"] == ["image", "tags"]


def test_new_users_are_placed_by_their_attributes_too(told):
    model = model_of(told, "cold-user").eval()
    nobody = sp.csr_array((2, told.n_items), dtype=np.float32)
    frame = pd.DataFrame({"colour": ["red", "blue"], "age": [1.0, 47.0]})
    vectors = model()
    two = model.encode_users(nobody, frame, vectors)
    assert not torch.allclose(two[0], two[1])
    plain = model.encode_users(nobody, vectors=vectors)
    assert torch.equal(plain[0], plain[1]) and torch.isfinite(plain).all()


def test_context_that_is_asked_for_needs_timestamps(told):
    timeless = replace(told, interactions=told.interactions.drop(columns="timestamp"))
    assert not model_of(timeless).has_context
    with pytest.raises(
        UserError, match="context=true needs interactions with timestamps, and this data set has none"
    ):
        model_of(timeless, context=True)


def test_users_about_whom_nothing_is_known_are_one_line(toy):
    with pytest.raises(UserError, match="AFF has no user field to read; set ids=true"):
        model_of(toy, ids=False, history=False)


@pytest.mark.parametrize("by, expected", [("overall", 0.5), ("harmonic", 1.2), ("none", 0.0)])
def test_the_lift_of_cold_items_is_what_validation_likes_best(told, by, expected):
    model = model_of(told, calibrate_cold_offset=by).eval()
    before = model().items.detach()

    def validate(group):
        lift = model.cold_offset.item()
        warm, cold = 2.4 - lift, lift
        return {"overall": -abs(lift - 0.4), "warm": warm, "cold": cold}[group]

    model.calibrate(validate)
    assert model.cold_offset.item() == pytest.approx(expected)
    gained = (model().items - before).detach().numpy()
    cold = ~model.data.warm_items
    assert gained[cold, 8] == pytest.approx(expected) and not gained[~cold].any()
    new = {k: type(m)(m.features[cold], m.mask[cold]) for k, m in told.modalities.items()}
    torch.testing.assert_close(
        model.encode_items(new), model().items[torch.from_numpy(cold)], atol=1e-5, rtol=0
    )
