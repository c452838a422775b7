"""Confluence adds its parts' scores on one scale, and trains them as they train alone."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from recsys.datasets.dataset import Modality
from recsys.datasets.splits import make_split
from recsys.errors import UserError
from recsys.evaluation.scorers import StandardScorer
from recsys.inputs.training_data import TrainingData
from recsys.models.closed_form.contentridge import ContentRidge
from recsys.models.closed_form.ease import EASE
from recsys.models.closed_form.hyperwalk import HyperWalk
from recsys.models.closed_form.pop import Pop
from recsys.models.closed_form.wmf import WMF
from recsys.models.cold_start.aff import AFF
from recsys.models.cold_start.twotower import TwoTower
from recsys.models.collaborative.lightgcn import LightGCN
from recsys.models.confluence import TRAINED, Confluence, ConfluenceSettings
from recsys.models.multimodal.cm3 import CM3
from recsys.models.multimodal.mmhcl import MMHCL
from recsys.runs.config import RunConfig
from recsys.runs.run import execute, prepare
from recsys.training.loop import KeepBest, load_model

OPTIONS = {
    "calibrated_options": {"width": 4, "k": 3},
    "contrastive_options": {"width": 6, "anchors": 0},
    "collaborative_options": {"width": 7},
    "adaptive_options": {"width": 4, "context": False, "calibrate_cold_offset": "none"},
    "tower_options": {"width": 5},
    "walk_options": {"k": 12},
    "linear_options": {"k": 4, "content": 2.0},
    "ridge_options": {"regularisation": 0.5},
    "factors_options": {"width": 3, "reg": 5.0},
    "popularity_options": {"power": 0.5},
}
NAMES = tuple(name.removesuffix("_options") for name in OPTIONS)
NOTHING_ELSE = {name: 0.0 for name in NAMES if name not in ("calibrated", "contrastive")}


def confluence(data, **settings):
    every = {"collaborative": 0.2, "adaptive": 0.4, "tower": 0.6, "factors": 0.8}
    return Confluence(ConfluenceSettings(**OPTIONS | every | settings), data, 0).eval()


@pytest.fixture
def data(toy):
    return TrainingData.of(toy, make_split(toy, "cold-item"))


def parts_of(data):
    models = (CM3, MMHCL, LightGCN, AFF, TwoTower, HyperWalk, EASE, ContentRidge, WMF, Pop)
    for model, options in zip(models, OPTIONS.values(), strict=True):
        part = model(model.Settings(**options), data, 0).eval()
        if part.closed_form:
            part.fit()
        yield part


def standardised(data):
    """(parts, users, items), each user's scores by each part to mean 0 and deviation 1 over warm items."""
    users, warm = np.arange(data.n_users), data.warm_items
    for part in parts_of(data):
        scores = part.scorer()(users).double().numpy()
        low = scores[:, warm].min(axis=1, keepdims=True)
        scores = np.maximum(scores, low) - scores[:, warm].mean(axis=1, keepdims=True)
        yield scores / scores[:, warm].std(axis=1, keepdims=True)


def test_scores_are_the_weighted_sum_of_standardised_scores(data):
    weights = (2.0, 0.5, 0.8, 1.1, 1.3, 0.3, 0.7, 0.4, 0.6, 0.9)
    model = confluence(data, **dict(zip(NAMES, weights, strict=True)))
    expected = sum(w * scores for w, scores in zip(weights, standardised(data), strict=True))
    ours = model.scorer()(np.arange(data.n_users)).double().numpy()
    np.testing.assert_allclose(ours, expected, atol=2e-4)


def test_items_that_a_part_cannot_rank_do_not_set_its_scale(toy):
    """A warm item without content has nothing that the ridge could say of it."""
    split = make_split(toy, "cold-item")
    bare = int(np.flatnonzero(~split.cold_items)[0])
    modalities = {}
    for name, modality in toy.modalities.items():
        features, mask = modality.features.copy(), modality.mask.copy()
        features[bare], mask[bare] = 0, False
        modalities[name] = Modality(features, mask)
    data = TrainingData.of(replace(toy, modalities=modalities), split)
    model = confluence(data, **{name: float(name in ("calibrated", "ridge")) for name in NAMES})
    model.mix[0] = 0.0
    scores = model.scorer()(np.flatnonzero(data.warm_users)).numpy()
    ranked = data.warm_items.copy()
    ranked[bare] = False
    np.testing.assert_allclose(scores[:, ranked].std(axis=1), 1.0, rtol=1e-4)
    np.testing.assert_array_equal(scores[:, bare], scores[:, ranked].min(axis=1))


def test_cold_items_have_weights_of_their_own_and_a_lift(data):
    model, users = confluence(data), np.arange(data.n_users)
    before = model.scorer()(users).numpy()
    model.cold_mix.copy_(3.0 * torch.tensor([name == "linear" for name in NAMES]))
    model.cold_offset.fill_(0.25)
    after, warm = model.scorer()(users).numpy(), data.warm_items
    np.testing.assert_array_equal(after[:, warm], before[:, warm])
    linear = list(standardised(data))[NAMES.index("linear")]
    np.testing.assert_allclose(after[:, ~warm], 3 * linear[:, ~warm] + 0.25, atol=2e-4)


def test_the_weights_and_the_lift_of_cold_items_can_be_given(data):
    """A part of weight 0 for warm items is there for cold ones."""
    model = confluence(
        data, ridge=0.0, cold_weights={"linear": 3.0, "ridge": 2.0}, cold_offset=0.25, calibrate=False
    )
    model.calibrate(lambda group: pytest.fail("settled"))
    scores, warm = model.scorer()(np.arange(data.n_users)).numpy(), data.warm_items
    linear, ridge = (list(standardised(data))[NAMES.index(name)] for name in ("linear", "ridge"))
    np.testing.assert_allclose(scores[:, ~warm], (3 * linear + 2 * ridge)[:, ~warm] + 0.25, atol=2e-4)
    without = confluence(data, ridge=0.0).scorer()(np.arange(data.n_users)).numpy()
    np.testing.assert_allclose(scores[:, warm], without[:, warm], atol=1e-6)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ({"lineer": 1.0}, "no part 'lineer'.*linear"),
        ({"linear": -1.0}, "linear is -1; give 0 or more"),
        ({"linear": 0.0}, "all 0"),
    ],
)
def test_cold_weights_that_make_no_sense_are_errors(data, weights, message):
    with pytest.raises(UserError, match=message):
        confluence(data, cold_weights=weights)


def near(*targets):
    """What falls with the distance of some tensors from their targets."""
    return lambda: -sum(abs(float(tensor[place]) - target) for tensor, place, target in targets)


def test_settling_keeps_what_validation_likes(data):
    model = confluence(data, calibrated=2.0, contrastive=0.5, **NOTHING_ELSE)
    likes = {
        "warm": near((model.mix, 0, 1.2), (model.mix, 1, 0.8)),
        "cold_pool": near((model.cold_mix, 0, 0.6), (model.cold_mix, 1, 1.25)),
        "overall": near((model.cold_offset, 0, 1.6), (model.cold_mix, 1, 2.2)),
    }
    model.calibrate(lambda group: likes[group]())
    assert model.mix.tolist() == pytest.approx([0.6 * 2.0, 1.6 * 0.5])
    # Cold weights are the settings' times 0.3 and 2.5; brought to the warm ones' sum, 2, they end scaled by 1.6. The
    # cold-item offset is one of its choices times that sum.
    assert model.cold_mix.tolist() == pytest.approx([1.6 * 0.6 * 2.0 / 1.85, 1.6 * 1.25 * 2.0 / 1.85])
    assert float(model.cold_offset) == pytest.approx(0.8 * 2.0)
    before = model.cold_mix.clone()
    model.calibrate(lambda group: 1.0)  # nothing is better than what is there
    assert model.mix.tolist() == pytest.approx([1.2, 0.8]) and torch.equal(model.cold_mix, before)
    assert float(model.cold_offset) == pytest.approx(0.8 * 2.0)


def test_the_lift_serves_whom_it_is_said_to(data):
    """Answers whose figures are a + offset among cold and b - offset among warm ones; all answers are mostly warm."""

    def cold_offset(lift):
        model = confluence(data, calibrate_cold_offset=lift, **NOTHING_ELSE)
        height = lambda: float(model.cold_offset) / float(model.mix.sum())  # noqa: E731
        likes = {
            "overall": lambda: 3.0 - height(),
            "cold_pool": lambda: 1.0,
            "warm": lambda: 3.0 - height(),
            "cold": lambda: 0.6 + height(),
        }
        model.calibrate(lambda group: likes[group]())
        return height()

    # (3 - x)(0.6 + x) is largest at 1.2.
    found = [cold_offset(lift) for lift in ("none", "overall", "harmonic")]
    assert found == pytest.approx([0.0, -0.5, 1.2])


def test_without_cold_answers_the_cold_weights_stay(data):
    model = confluence(data)
    model.calibrate(lambda group: np.nan if group == "cold_pool" else -abs(float(model.mix[0]) - 2.5))
    assert model.mix[0] == pytest.approx(2.5) and model.cold_offset == 0
    assert torch.equal(model.cold_mix, model.mix)


def test_settling_scores_each_part_once_and_forgets(data, monkeypatch):
    model, users = confluence(data), np.arange(data.n_users)
    calls = []
    real = Confluence._standardised
    monkeypatch.setattr(Confluence, "_standardised", lambda *a: calls.append(1) or real(*a))

    def validate(group):
        scores = model.scorer()(users)
        (model.calibrating, kept), model.kept = (False, model.kept), []
        torch.testing.assert_close(scores, model.scorer()(users))
        calls.pop()
        model.calibrating, model.kept = True, kept
        return float(scores[0, 0])

    model.calibrate(validate)
    assert calls == [1] and not model.kept and not model.calibrating


STAGED = {
    "linear_options": {"k": 4},
    "calibrated_options": {"width": 4, "learning_rate": 0.02},
    "contrastive_options": {"width": 6},
}
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
        assert torch.equal(value, run.model.parts["calibrated"][0].state_dict()[name]), name
    history = pd.read_csv(tmp_path / "all" / "history.csv")
    assert history["stage"].tolist() == ["calibrated"] * 4 + ["contrastive"] * 4
    assert history["epoch"].tolist() == list(range(8)) and metrics["epochs"] == 8
    loaded = staged(toy)
    load_model(loaded.model, tmp_path / "all")
    users = np.arange(toy.n_users)
    assert torch.equal(loaded.model.eval().scorer()(users), run.model.scorer()(users))


def test_members_are_trained_from_seeds_of_their_own_and_averaged(toy, tmp_path):
    one, two = staged(toy, calibrate=False), staged(toy, calibrate=False, ensemble_size=2)
    execute(one, tmp_path / "one")
    execute(two, tmp_path / "two")
    assert sorted(p.parent.name for p in (tmp_path / "two").glob("*/history.csv")) == [
        "calibrated",
        "calibrated-1",
        "contrastive",
        "contrastive-1",
    ]
    users, warm = np.arange(toy.n_users), one.data.warm_items
    total = torch.zeros(toy.n_users, toy.n_items)
    for name, members in two.model.parts.items():
        assert len(members) == (2 if name in TRAINED else 1)
        scores = [StandardScorer([member.scorer()], warm)(users) for member in members]
        assert len(scores) == 1 or not torch.allclose(*scores)
        total += getattr(two.model.settings, name) * sum(scores) / len(scores)
    assert torch.allclose(two.model.scorer()(users), total, atol=1e-5)
    for name, value in one.model.parts["contrastive"].state_dict().items():
        assert torch.equal(value, two.model.parts["contrastive"].state_dict()[name]), name


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
    model = confluence(data, **{left: 0.0})
    assert list(model.parts) == [name for name in NAMES if name != left]
    assert not any(left in name for name, _ in model.named_parameters())


def test_a_large_catalogue_goes_without_parts_that_hold_items_by_items(data):
    for limit, built in ((data.n_items, True), (data.n_items - 1, False)):
        model = confluence(data, dense_up_to=limit)
        assert [name in model.parts for name in ("linear", "ridge")] == [built, built]
        assert len(model.mix) == len(model.parts)


def test_without_learned_parts_it_says_so(data):
    with pytest.raises(UserError, match="all weights are 0"):
        confluence(data, **dict.fromkeys(NAMES, 0.0))
    with pytest.raises(UserError, match="calibrated, contrastive, collaborative, adaptive, tower are all 0"):
        confluence(data, calibrated=0.0, contrastive=0.0, collaborative=0.0, adaptive=0.0, tower=0.0)


def test_a_mistyped_setting_of_a_part_is_an_error(data):
    with pytest.raises(UserError, match="no setting 'widht'; did you mean 'width'"):
        Confluence(ConfluenceSettings(contrastive_options={"widht": 3}), data, 0)
