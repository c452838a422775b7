"""Fusion of views as an exchangeable part."""

import math
from typing import get_args

import numpy as np
import pytest
import torch

from recsys.encoders.fusion import Fusion, make_fusion
from recsys.errors import UserError
from recsys.models import MODELS
from recsys.runs.config import RunConfig
from recsys.runs.run import execute, load_run, prepare

NAMES = get_args(Fusion)
MODEL_NAMES = [name for name in MODELS.builtin if "fusion" in MODELS.get(name).Settings.model_fields]


def views(n=5, d=4, count=3):
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(n, d, generator=generator, requires_grad=True) for _ in range(count)]


def made(name, count=3):
    return make_fusion(name, count, 4, torch.Generator().manual_seed(1))


@pytest.mark.parametrize("name", NAMES)
def test_an_absent_view_counts_for_nothing_and_has_no_gradient(name):
    rows, fuse = views(), made(name)
    absent = torch.zeros(5, 3, dtype=torch.bool)
    absent[2, 1] = True
    damaged = [rows[0], rows[1].detach().clone(), rows[2]]
    damaged[1][2] = 9.0
    damaged[1].requires_grad_()
    out = fuse(damaged, absent)
    zeroed = [rows[0], torch.where(absent[:, 1:2], 0.0, rows[1]), rows[2]]
    torch.testing.assert_close(out, fuse(zeroed, absent))
    gradient = torch.autograd.grad(out.square().sum(), damaged[1])[0]
    assert gradient.isfinite().all() and (gradient[2] == 0).all() and gradient[1].abs().sum() > 0


@pytest.mark.parametrize("name", NAMES)
def test_rows_without_any_view_stay_finite(name):
    rows = [view.detach().clone() for view in views()]
    for view in rows:
        view[3] = 0
        view.requires_grad_()
    absent = torch.zeros(5, 3, dtype=torch.bool)
    absent[3] = True
    out = made(name)(rows, absent)
    assert out.isfinite().all()
    assert all(g.isfinite().all() for g in torch.autograd.grad(out.sum(), rows))


def test_by_hand():
    x, y = torch.tensor([[3.0, 0.0, 0.0, 0.0]]), torch.tensor([[0.0, 1.0, 0.0, 0.0]])
    assert made("sum", 2)([x, y]).tolist() == [[3, 1, 0, 0]]
    half = 2 * math.sqrt(0.5)  # halfway between the directions, as long as 3 and 1 are on average
    assert made("bezier", 2)([x, y])[0].tolist() == pytest.approx([half, half, 0, 0])
    mixed, gated = made("concatenation", 2), made("gates", 2)
    expected = torch.cat([x, y], 1) @ mixed.mix.weight.T
    torch.testing.assert_close(mixed([x, y]), expected)
    expected = sum(v * torch.sigmoid(v @ gate.weight.T) for v, gate in zip((x, y), gated.gates, strict=True))
    torch.testing.assert_close(gated([x, y]), expected)


@pytest.mark.parametrize("fusion", NAMES)
@pytest.mark.parametrize("name", MODEL_NAMES)
def test_every_fusion_trains_every_model_and_cold_items_follow(name, fusion, toy, root, tmp_path):
    settings = {"fusion": fusion, "width": 8, "batch_size": 64, "max_epochs": 2}
    config = RunConfig(model=name, dataset="toy", split="cold-item", settings=settings, data_root=str(root))
    run = prepare(config)
    execute(run, tmp_path / "run")
    scores = run.model.scorer()(np.arange(6))
    assert scores.isfinite().all()
    assert torch.equal(scores, load_run(tmp_path / "run", str(root)).model.scorer()(np.arange(6)))
    cold = np.flatnonzero(~run.data.warm_items)
    content = {name: type(m)(m.features[cold], m.mask[cold]) for name, m in run.model.modalities.items()}
    torch.testing.assert_close(run.model.encode_items(content), run.model().items[cold].detach())


def test_the_models_with_a_fusion_and_a_name_that_there_is_not(toy):
    assert MODEL_NAMES == ["cm3", "mgcn", "sige"]
    with pytest.raises(UserError, match="setting 'fusion' of CM3: Input should be 'attention'"):
        prepare(RunConfig(model="cm3", dataset="toy", settings={"fusion": "attentoin"}), toy)
