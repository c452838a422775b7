"""VBPR's loss, which projects what a batch's items differ in, against the scores of everybody."""

import pytest
import torch
from torch.nn.functional import softplus

from recsys.datasets.splits import make_split
from recsys.inputs.sampler import Sampler
from recsys.inputs.training_data import TrainingData
from recsys.models.multimodal.vbpr import VBPR, VBPRSettings


@pytest.mark.parametrize(("negatives", "biases"), [(1, True), (3, True), (3, False)])
def test_the_loss_is_that_of_the_scores(toy, naive, negatives, biases):
    data = TrainingData.of(toy, make_split(toy, "cold-item"))
    assert not all(modality.mask.all() for modality in toy.modalities.values())
    model = naive.shake_biases(VBPR(VBPRSettings(width=4, reg=0.3, biases=biases), data, 0))
    with torch.no_grad():
        model.item_bias.normal_(generator=torch.Generator().manual_seed(1))
    batch = next(Sampler(data, 64, negatives, 0).epoch(0))
    users, items, _ = model()
    scores = users @ items.T
    rows = batch.users.unsqueeze(1)
    apart = scores[rows, batch.negatives] - scores[batch.users, batch.positives].unsqueeze(1)
    tables = (
        model.user_table[batch.users],
        model.item_table[batch.positives],
        model.item_table[batch.negatives],
    )
    penalty = sum(t.square().sum() for t in tables) / 2 + sum(
        p.weight.square().sum() for p in model.projections
    )
    expected = softplus(apart).mean(), 0.3 * penalty / len(batch.users)
    terms = model.loss(batch)
    torch.testing.assert_close(terms["bpr"], expected[0])
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    got = torch.autograd.grad(sum(terms.values()), trained)
    wanted = torch.autograd.grad(sum(expected), trained)
    for own, other in zip(got, wanted, strict=True):
        torch.testing.assert_close(own, other)


def test_without_biases_no_item_is_preferred_by_everybody(toy):
    data = TrainingData.of(toy, make_split(toy, "cold-item"))
    model = VBPR(VBPRSettings(width=4, biases=False), data, 0)
    with torch.no_grad():
        model.user_table.zero_()
        model.item_bias.fill_(1.0)
    users, items, _ = model()
    assert not (users @ items.T).any()
