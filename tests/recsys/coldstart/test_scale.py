"""The factor of cold items' vectors: what validation chooses, and that cold, new and served items all get it."""

import dataclasses

import numpy as np
import pytest
import torch

from recsys.coldstart.cold_items import take
from recsys.coldstart.scale import SCALES
from recsys.errors import UserError
from recsys.inputs.requests import NewItems
from recsys.models import MODELS
from recsys.runs.config import RunConfig
from recsys.runs.run import execute, prepare
from recsys.runs.towers import towers
from recsys.serving.cold import Bank
from recsys.training.weights import load_model

SCALED = sorted(
    name for name in MODELS.builtin if "calibrate_cold_scale" in MODELS.get(name).Settings.model_fields
)


def model_of(name, toy, by):
    settings = {"width": 8, "calibrate_cold_scale": by}
    model = prepare(RunConfig(model=name, dataset="toy", split="cold-item", settings=settings), toy).model
    model.start_epoch(0, torch.Generator().manual_seed(0))
    return model.eval()


def new_items(toy, rows):
    return NewItems([str(row) for row in rows], take(toy.modalities, rows), toy.item_attributes.iloc[rows])


@pytest.mark.parametrize("name", SCALED)
def test_cold_new_and_served_items_are_scaled_and_warm_ones_are_not(name, toy):
    plain, scaled = model_of(name, toy, "none"), model_of(name, toy, "overall")
    scaled.cold_scale.fill_(1.5)
    users, warm = plain.data.query_users(), plain.data.warm_items
    cold = np.flatnonzero(~warm)
    new = new_items(toy, cold)
    before, after = plain.embed(users, new), scaled.embed(users, new)
    torch.testing.assert_close(after[0], before[0])
    factor = np.where(np.append(warm, np.zeros(len(cold), bool)), 1.0, 1.5)[:, None]
    torch.testing.assert_close(after[1], before[1] * torch.from_numpy(factor).float())
    part = scaled.vector_part(users)
    served = part.cold.place(new, Bank(toy.modalities, warm))
    expected = 1.5 * plain.vector_part(users).cold.place(new, Bank(toy.modalities, warm))
    np.testing.assert_allclose(served, expected, rtol=1e-6)
    if part.cold.exact:
        np.testing.assert_allclose(served, after[1][toy.n_items :].numpy(), atol=1e-5)


def test_the_item_tower_is_scaled_too(toy):
    settings = {"width": 8, "calibrate_cold_scale": "overall"}
    run = prepare(RunConfig(model="bm3", dataset="toy", split="cold-item", settings=settings), toy)
    run.model.eval()
    plain = towers(run)
    run.model.cold_scale.fill_(1.5)
    scaled = towers(run)
    content = [torch.tensor(toy.modalities[name].features[:3]) for name in plain[2]]
    torch.testing.assert_close(scaled[1](*content), 1.5 * plain[1](*content))


def test_an_item_without_content_stands_where_it_stood(toy):
    blank = np.flatnonzero(~model_of("vbpr", toy, "none").data.warm_items)[:1]
    has = np.arange(toy.n_items) != blank
    modalities = {name: type(m)(m.features, m.mask & has) for name, m in toy.modalities.items()}
    without = dataclasses.replace(toy, modalities=modalities)
    plain, scaled = model_of("vbpr", without, "none"), model_of("vbpr", without, "overall")
    scaled.cold_scale.fill_(2.0)
    before, after = plain.embed(plain.data.query_users())[1], scaled.embed(plain.data.query_users())[1]
    torch.testing.assert_close(after[blank], before[blank])


def test_it_is_chosen_by_all_answers_or_by_the_harmonic_mean(toy):
    overall, harmonic = model_of("mmhcl", toy, "overall"), model_of("mmhcl", toy, "harmonic")
    figures = {"overall": lambda s: -abs(s - 1.25), "warm": lambda s: 3 - s, "cold": lambda s: s - 1}
    for model in (overall, harmonic):
        model.calibrate(lambda group, model=model: figures[group](float(model.cold_scale)))
    assert float(overall.cold_scale) == 1.25
    assert float(harmonic.cold_scale) == 2.0
    assert {1.25, 2.0} < set(SCALES)


def test_validation_without_cold_answers_leaves_it_at_one(toy):
    model = model_of("mmhcl", toy, "harmonic")
    model.calibrate(lambda group: float("nan") if group == "cold" else 0.5)
    assert float(model.cold_scale) == 1.0


def test_a_run_keeps_the_chosen_factor(toy, tmp_path):
    settings = {"width": 8, "max_epochs": 2, "batch_size": 64, "calibrate_cold_scale": "harmonic"}
    run = prepare(RunConfig(model="mmhcl", dataset="toy", split="cold-item", settings=settings), toy)
    execute(run, tmp_path / "run")
    chosen = float(run.model.cold_scale)
    assert chosen in SCALES
    loaded = model_of("mmhcl", toy, "harmonic")
    load_model(loaded, tmp_path / "run")
    assert float(loaded.cold_scale) == chosen
    users = loaded.data.query_users()
    torch.testing.assert_close(loaded.embed(users)[1], run.model.eval().embed(users)[1])


def test_a_part_of_another_model_refuses_it(toy):
    settings = {"base_settings": {"width": 8, "calibrate_cold_scale": "overall"}}
    with pytest.raises(UserError, match="calibrate_cold_scale is of whole models"):
        prepare(RunConfig(model="multistage", dataset="toy", split="cold-item", settings=settings), toy)
