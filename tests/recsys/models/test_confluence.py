"""Confluence adds its parts' scores on one scale, and trains them as they train alone."""

import numpy as np
import pandas as pd
import pytest
import torch

from recsys.data import TrainingData
from recsys.datasets.splits import make_split
from recsys.errors import UserError
from recsys.models.cm3 import CM3
from recsys.models.confluence import Confluence, ConfluenceSettings
from recsys.models.hyperwalk import HyperWalk
from recsys.models.mmhcl import MMHCL
from recsys.runs import RunConfig, execute, prepare
from recsys.training import KeepBest, load_model

OPTIONS = {
    "calibrated_options": {"width": 4, "k": 3},
    "contrastive_options": {"width": 6, "anchors": 0},
    "walk_options": {"k": 12},
}


@pytest.fixture
def data(toy):
    return TrainingData.of(toy, make_split(toy, "cold-item"))


def parts_of(data):
    for model, options in zip((CM3, MMHCL, HyperWalk), OPTIONS.values(), strict=True):
        yield model(model.Settings(**options), data, 0)


def test_scores_are_the_weighted_sum_of_standardised_scores(data):
    model = Confluence(ConfluenceSettings(calibrated=2.0, contrastive=0.5, walk=0.3, **OPTIONS), data, 0)
    users, warm, total = np.arange(data.n_users), data.warm_items, 0
    for part, weight in zip(parts_of(data), (2.0, 0.5, 0.3), strict=True):
        scores = part.scorer()(users).double().numpy()
        total = total + weight * scores / scores[:, warm].std(axis=1, keepdims=True)
    ours = model.scorer()(users).double().numpy()
    # A constant for each user changes no ranking.
    difference = ours - total
    np.testing.assert_allclose(difference - difference[:, :1], 0, atol=2e-4)


def test_the_loss_is_the_parts_losses_side_by_side(data, naive):
    model, batch = Confluence(ConfluenceSettings(**OPTIONS), data, 0), naive.batch_of(data)
    model.start_epoch(0, torch.Generator().manual_seed(1))
    # The parts draw from one generator, the first part first.
    generator, expected = torch.Generator().manual_seed(1), {}
    for name, part in zip(("calibrated", "contrastive"), parts_of(data), strict=False):
        part.start_epoch(0, generator)
        expected |= {f"{name} {term}": float(v.detach()) for term, v in part.loss(batch).items()}
    assert {name: float(value.detach()) for name, value in model.loss(batch).items()} == pytest.approx(
        expected
    )


def test_settling_keeps_what_validation_likes_and_leaves_out_parts_alone(data):
    model = Confluence(ConfluenceSettings(walk=0.0, calibrated=2.0, contrastive=0.5, **OPTIONS), data, 0)
    model.settle(lambda: -abs(float(model.mix[0]) - 1.2) - abs(float(model.mix[1]) - 0.8))
    assert model.mix.tolist() == pytest.approx([0.6 * 2.0, 1.6 * 0.5, 0.0])
    model.settle(lambda: 1.0)  # nothing is better than what is there
    assert model.mix.tolist() == pytest.approx([0.6 * 2.0, 1.6 * 0.5, 0.0])


STAGED = {"calibrated_options": {"width": 4, "learning_rate": 0.02}, "contrastive_options": {"width": 6}}
TRAINING = {"max_epochs": 4, "batch_size": 64, "learning_rate": 0.01}


def staged(toy, **settings):
    values = STAGED | TRAINING | {"walk_options": {"k": 12}} | settings
    return prepare(RunConfig(model="confluence", dataset="toy", split="random", settings=values), toy)


def test_a_part_is_trained_as_it_is_alone(toy, tmp_path):
    run = staged(toy)
    metrics = execute(run, tmp_path / "all")
    alone = prepare(
        RunConfig(
            model="cm3",
            dataset="toy",
            split="random",
            settings=TRAINING | {"width": 4, "learning_rate": 0.02},
        ),
        toy,
    )
    execute(alone, tmp_path / "alone")
    for name, value in alone.model.state_dict().items():
        assert torch.equal(value, run.model.parts["calibrated"].state_dict()[name]), name
    history = pd.read_csv(tmp_path / "all" / "history.csv")
    assert history["stage"].tolist() == ["calibrated"] * 4 + ["contrastive"] * 4
    assert history["epoch"].tolist() == list(range(8)) and metrics["epochs"] == 8
    loaded = staged(toy)
    load_model(loaded.model, tmp_path / "all")
    users = np.arange(toy.n_users)
    assert torch.equal(loaded.model.eval().scorer()(users), run.model.scorer()(users))


@pytest.mark.parametrize("fatal", ["calibrated", "contrastive"])
def test_a_run_killed_in_a_stage_ends_as_if_it_had_not_been(toy, tmp_path, monkeypatch, fatal):
    whole = execute(staged(toy), tmp_path / "whole")
    real = KeepBest.on_train_epoch_start

    def die(keeper, trainer, module):
        if keeper.folder.name == fatal and trainer.current_epoch == 2:
            raise MemoryError
        real(keeper, trainer, module)

    with monkeypatch.context() as patch:
        patch.setattr(KeepBest, "on_train_epoch_start", die)
        with pytest.raises(MemoryError):
            execute(staged(toy), tmp_path / "run")
    assert execute(staged(toy), tmp_path / "run", resume=True)["test"] == whole["test"]
    assert not list((tmp_path / "run").glob("*/last.ckpt"))


@pytest.mark.parametrize("left", ["calibrated", "contrastive"])
def test_a_part_of_weight_0_is_not_built(data, left):
    model = Confluence(ConfluenceSettings(**{left: 0.0}, **OPTIONS), data, 0)
    assert list(model.parts) == [name for name in ("calibrated", "contrastive") if name != left]
    assert not any(left in name for name, _ in model.named_parameters())


def test_without_learned_parts_it_says_so(data):
    with pytest.raises(UserError, match="calibrated and contrastive are both 0"):
        Confluence(ConfluenceSettings(calibrated=0.0, contrastive=0.0), data, 0)


def test_a_mistyped_setting_of_a_part_is_an_error(data):
    with pytest.raises(UserError, match="no setting 'widht'; did you mean 'width'"):
        Confluence(ConfluenceSettings(contrastive_options={"widht": 3}), data, 0)
