"""CLCRec's loss against its formulas, slot by slot."""

import numpy as np
import pytest
import torch

from recsys.datasets.dataset import Modality
from recsys.datasets.splits import make_split
from recsys.inputs.sampler import Batch
from recsys.inputs.training_data import TrainingData
from recsys.models.cold_start.clcrec import CLCRec, CLCRecSettings


@pytest.fixture
def data(toy):
    """The toy data, without any content for every fourth item."""
    plain = TrainingData.of(toy, make_split(toy, "cold-item"))
    blank = np.arange(toy.n_items) % 4 == 0
    modalities = {
        name: Modality(m.features * ~blank[:, None], m.mask & ~blank) for name, m in toy.modalities.items()
    }
    return TrainingData(plain.interactions, modalities)


def model_of(data, naive, **settings):
    settings = {"width": 4, "hidden": 5, "balance": 0.3, "temperature": 0.5, "reg": 0.2} | settings
    model = naive.shake_biases(CLCRec(CLCRecSettings(**settings), data, 0))
    return model


def batch_of(data, naive):
    batch = naive.batch_of(data)
    return Batch(batch.users, batch.positives, torch.cat([batch.negatives, batch.negatives.roll(3, 0)], 1))


def encoded(arrays, data, naive):
    hidden = sum(
        naive.unit(m) @ arrays[f"first.{n}.weight"].T for n, m in enumerate(data.modalities.values())
    )
    hidden = hidden + arrays["bias"]
    hidden = np.where(hidden > 0, hidden, 0.01 * hidden)
    return hidden @ arrays["second.weight"].T + arrays["second.bias"]


@pytest.mark.parametrize("mixed", [0.0, 1.0])
def test_loss_is_the_papers_formula(data, naive, mixed):
    model, batch = model_of(data, naive, mixed=mixed), batch_of(data, naive)
    arrays = naive.parameters(model)
    content, identity = encoded(arrays, data, naive), arrays["item_table"]
    present = np.any([m.mask for m in data.modalities.values()], axis=0)
    item_terms, user_terms, item_norms, user_norms = [], [], [], []
    for u, i, js in zip(
        batch.users.tolist(), batch.positives.tolist(), batch.negatives.tolist(), strict=True
    ):
        if present[i]:
            scores = [naive.cosine(identity[i], content[j]) / 0.5 for j in (i, *js) if present[j]]
            item_terms.append(np.log(np.exp(scores).sum()) - scores[0])
        user = arrays["user_table"][u]
        scores = [user @ (content[j] if mixed and present[j] else identity[j]) / 0.5 for j in (i, *js)]
        user_terms.append(np.log(np.exp(scores).sum()) - scores[0])
        user_norms.append(np.linalg.norm(user))
        item_norms += [np.linalg.norm(identity[j]) for j in (i, *js)]
    assert 0 < len(item_terms) < len(user_terms)
    loss = {name: float(value.detach()) for name, value in model.loss(batch).items()}
    assert loss == pytest.approx(
        {
            "item": 0.3 * np.mean(item_terms),
            "user": 0.7 * np.mean(user_terms),
            "norm": 0.2 * (np.mean(user_norms) + np.mean(item_norms)) / 2,
        },
        rel=1e-5,
    )


def test_mixing_share_lies_between_its_ends_and_repeats_with_the_generator(data, naive):
    model, batch = model_of(data, naive, mixed=0.5), batch_of(data, naive)
    values = []
    for seed in (1, 1, 2):
        model.start_epoch(0, torch.Generator().manual_seed(seed))
        values.append(float(model.loss(batch)["user"].detach()))
    assert values[0] == values[1] != values[2]


def test_cold_items_are_their_content_and_warm_ones_their_rows(data, naive):
    model = model_of(data, naive)
    items, arrays = model().items.detach().numpy(), naive.parameters(model)
    warm = data.warm_items
    np.testing.assert_array_equal(items[warm], model.item_table.detach().numpy()[warm])
    np.testing.assert_allclose(items[~warm], encoded(arrays, data, naive)[~warm], atol=1e-5)


def test_slots_are_drawn_each_by_itself_or_with_replacement(data, naive):
    """As many draws as half of the slots, with replacement, reach 1 - exp(-1/2) of them."""
    shape = torch.Size((200, 100))
    shares = {
        draws: model_of(data, naive, mixed=0.5, draws=draws)._drawn(shape).float().mean().item()
        for draws in ("each", "replaced")
    }
    assert shares["each"] == pytest.approx(0.5, abs=0.02)
    assert shares["replaced"] == pytest.approx(1 - np.exp(-0.5), abs=0.02)
