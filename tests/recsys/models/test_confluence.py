"""Confluence adds its components' scores on one scale, and trains them as they train alone."""

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
from recsys.models import MODELS
from recsys.models.confluence import Component, Confluence, ConfluenceSettings
from recsys.runs.config import RunConfig, resolve_settings
from recsys.runs.run import execute, prepare
from recsys.training.keeping import KeepBest
from recsys.training.weights import load_model

SETTINGS = {
    "cm3": {"width": 4, "k": 3},
    "mmhcl": {"width": 6, "anchors": 0},
    "lightgcn": {"width": 7},
    "aff": {"width": 4, "context": False, "calibrate_cold_offset": "none"},
    "twotower": {"width": 5},
    "hyperwalk": {"k": 12},
    "ease": {"k": 4, "content": 2.0},
    "contentridge": {"regularisation": 0.5},
    "wmf": {"width": 3, "reg": 5.0},
    "pop": {"power": 0.5},
}
NAMES = tuple(SETTINGS)
TRAINED = ("cm3", "mmhcl", "lightgcn", "aff", "twotower")
WEIGHTS = dict(zip(NAMES, (1.0, 1.0, 0.2, 0.4, 0.6, 0.5, 0.5, 0.3, 0.8, 1.0), strict=True))


def confluence(data, weights=WEIGHTS, cold=None, **settings):
    """All ten components unless `weights` or `cold` name fewer; those that `cold` does not name are left out for
    cold items."""
    components = {name: {"weight": weights.get(name, 0.0), "settings": SETTINGS[name]} for name in NAMES}
    if cold is not None:
        components = {name: one | {"cold_weight": cold.get(name, 0.0)} for name, one in components.items()}
    return Confluence(ConfluenceSettings(components=components, **settings), data, 0).eval()


@pytest.fixture
def data(toy):
    return TrainingData.of(toy, make_split(toy, "cold-item"))


def alone(data):
    for name, settings in SETTINGS.items():
        model_class = MODELS.get(name)
        model = model_class(model_class.Settings(**settings), data, 0).eval()
        if model.closed_form:
            model.fit()
        yield model


def standardised(data):
    """(components, users, items), each user's scores by each component to mean 0 and deviation 1 over warm items."""
    users, warm = np.arange(data.n_users), data.warm_items
    for model in alone(data):
        scores = model.scorer()(users).double().numpy()
        low = scores[:, warm].min(axis=1, keepdims=True)
        scores = np.maximum(scores, low) - scores[:, warm].mean(axis=1, keepdims=True)
        yield scores / scores[:, warm].std(axis=1, keepdims=True)


def test_scores_are_the_weighted_sum_of_standardised_scores(data):
    weights = (2.0, 0.5, 0.8, 1.1, 1.3, 0.3, 0.7, 0.4, 0.6, 0.9)
    model = confluence(data, dict(zip(NAMES, weights, strict=True)))
    expected = sum(weight * scores for weight, scores in zip(weights, standardised(data), strict=True))
    ours = model.scorer()(np.arange(data.n_users)).double().numpy()
    np.testing.assert_allclose(ours, expected, atol=2e-4)


def test_items_that_a_component_cannot_rank_do_not_set_its_scale(toy):
    """A warm item without content has nothing for ContentRidge to score it by."""
    split = make_split(toy, "cold-item")
    bare = int(np.flatnonzero(~split.cold_items)[0])
    modalities = {}
    for name, modality in toy.modalities.items():
        features, mask = modality.features.copy(), modality.mask.copy()
        features[bare], mask[bare] = 0, False
        modalities[name] = Modality(features, mask)
    data = TrainingData.of(replace(toy, modalities=modalities), split)
    model = confluence(data, {"cm3": 1.0, "contentridge": 1.0})
    model.weights[0] = 0.0
    scores = model.scorer()(np.flatnonzero(data.warm_users)).numpy()
    ranked = data.warm_items.copy()
    ranked[bare] = False
    np.testing.assert_allclose(scores[:, ranked].std(axis=1), 1.0, rtol=1e-4)
    np.testing.assert_array_equal(scores[:, bare], scores[:, ranked].min(axis=1))


def test_cold_items_have_weights_of_their_own_and_an_offset(data):
    model, users = confluence(data), np.arange(data.n_users)
    before = model.scorer()(users).numpy()
    model.cold_weights.copy_(3.0 * torch.tensor([name == "ease" for name in NAMES]))
    model.cold_offset.fill_(0.25)
    after, warm = model.scorer()(users).numpy(), data.warm_items
    np.testing.assert_array_equal(after[:, warm], before[:, warm])
    ease = list(standardised(data))[NAMES.index("ease")]
    np.testing.assert_allclose(after[:, ~warm], 3 * ease[:, ~warm] + 0.25, atol=2e-4)


def test_the_weights_and_the_offset_of_cold_items_can_be_given(data):
    """A component of weight 0 for warm items is there for cold ones."""
    weights = WEIGHTS | {"contentridge": 0.0}
    cold = {"ease": 3.0, "contentridge": 2.0}
    model = confluence(data, weights, cold, cold_offset=0.25, calibrate=False)
    model.calibrate(lambda group: pytest.fail("calibrated"))
    scores, warm = model.scorer()(np.arange(data.n_users)).numpy(), data.warm_items
    ease, ridge = (list(standardised(data))[NAMES.index(name)] for name in cold)
    np.testing.assert_allclose(scores[:, ~warm], (3 * ease + 2 * ridge)[:, ~warm] + 0.25, atol=2e-4)
    without = confluence(data, weights).scorer()(np.arange(data.n_users)).numpy()
    np.testing.assert_allclose(scores[:, warm], without[:, warm], atol=1e-6)


def near(*targets):
    """What falls with the distance of some tensors from their targets."""
    return lambda: -sum(abs(float(tensor[place]) - target) for tensor, place, target in targets)


def test_calibration_keeps_what_validation_likes(data):
    model = confluence(data, {"cm3": 2.0, "mmhcl": 0.5})
    likes = {
        "warm": near((model.weights, 0, 1.2), (model.weights, 1, 0.8)),
        "cold_pool": near((model.cold_weights, 0, 0.6), (model.cold_weights, 1, 1.25)),
        "overall": near((model.cold_offset, 0, 1.6), (model.cold_weights, 1, 2.2)),
    }
    model.calibrate(lambda group: likes[group]())
    assert model.weights.tolist() == pytest.approx([0.6 * 2.0, 1.6 * 0.5])
    # Cold weights are the settings' times 0.3 and 2.5; brought to the warm ones' sum, 2, they end scaled by 1.6. The
    # cold-item offset is one of its choices times that sum.
    assert model.cold_weights.tolist() == pytest.approx([1.6 * 0.6 * 2.0 / 1.85, 1.6 * 1.25 * 2.0 / 1.85])
    assert float(model.cold_offset) == pytest.approx(0.8 * 2.0)
    before = model.cold_weights.clone()
    model.calibrate(lambda group: 1.0)  # nothing is better than what is there
    assert model.weights.tolist() == pytest.approx([1.2, 0.8]) and torch.equal(model.cold_weights, before)
    assert float(model.cold_offset) == pytest.approx(0.8 * 2.0)


def test_the_cold_offset_serves_whom_it_is_said_to(data):
    """Answers whose figures are a + offset among cold and b - offset among warm ones; all answers are mostly warm."""

    def chosen_offset(choice):
        model = confluence(data, {"cm3": 1.0, "mmhcl": 1.0}, calibrate_cold_offset=choice)
        height = lambda: float(model.cold_offset) / float(model.weights.sum())  # noqa: E731
        likes = {
            "overall": lambda: 3.0 - height(),
            "cold_pool": lambda: 1.0,
            "warm": lambda: 3.0 - height(),
            "cold": lambda: 0.6 + height(),
        }
        model.calibrate(lambda group: likes[group]())
        return height()

    # (3 - x)(0.6 + x) is largest at 1.2.
    offsets = [chosen_offset(choice) for choice in ("none", "overall", "harmonic")]
    assert offsets == pytest.approx([0.0, -0.5, 1.2])


def test_without_cold_answers_the_cold_weights_stay(data):
    model = confluence(data)
    model.calibrate(lambda group: np.nan if group == "cold_pool" else -abs(float(model.weights[0]) - 2.5))
    assert model.weights[0] == pytest.approx(2.5) and model.cold_offset == 0
    assert torch.equal(model.cold_weights, model.weights)
    given = confluence(data, cold=WEIGHTS)
    given.calibrate(lambda group: np.nan if group == "cold_pool" else -abs(float(given.weights[0]) - 2.5))
    assert given.cold_weights.tolist() == pytest.approx(list(WEIGHTS.values()))


def test_calibration_scores_each_component_once_and_forgets(data, monkeypatch):
    model, users = confluence(data), np.arange(data.n_users)
    calls = []
    real = Confluence._standardised
    monkeypatch.setattr(Confluence, "_standardised", lambda *a: calls.append(1) or real(*a))

    def validate(group):
        scores = model.scorer()(users)
        (model.calibrating, cached), model.cached = (False, model.cached), []
        torch.testing.assert_close(scores, model.scorer()(users))
        calls.pop()
        model.calibrating, model.cached = True, cached
        return float(scores[0, 0])

    model.calibrate(validate)
    assert calls == [1] and not model.cached and not model.calibrating


STAGED = {
    "components.ease.settings": {"k": 4},
    "components.cm3.settings": {"width": 4, "learning_rate": 0.02},
    "components.mmhcl.settings.width": 6,
    "components.hyperwalk.settings.k": 12,
}
TRAINING = {"max_epochs": 4, "batch_size": 64, "learning_rate": 0.01}


def staged(toy, **settings):
    values = STAGED | TRAINING | settings
    return prepare(RunConfig(model="confluence", dataset="toy", split="random", settings=values), toy)


def test_a_component_is_trained_as_it_is_alone(toy, tmp_path):
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
        assert torch.equal(value, run.model.components["cm3"][0].state_dict()[name]), name
    history = pd.read_csv(tmp_path / "all" / "history.csv")
    assert history["stage"].tolist() == ["cm3"] * 4 + ["mmhcl"] * 4
    assert history["epoch"].tolist() == list(range(8)) and metrics["epochs"] == 8
    loaded = staged(toy)
    load_model(loaded.model, tmp_path / "all")
    users = np.arange(toy.n_users)
    assert torch.equal(loaded.model.eval().scorer()(users), run.model.scorer()(users))


def test_an_ensemble_is_trained_from_several_seeds_and_averaged(toy, tmp_path):
    one, two = staged(toy, calibrate=False), staged(toy, calibrate=False, ensemble_size=2)
    execute(one, tmp_path / "one")
    execute(two, tmp_path / "two")
    assert sorted(p.parent.name for p in (tmp_path / "two").glob("*/history.csv")) == [
        "cm3",
        "cm3-1",
        "mmhcl",
        "mmhcl-1",
    ]
    users, warm = np.arange(toy.n_users), one.data.warm_items
    total = torch.zeros(toy.n_users, toy.n_items)
    for name, models in two.model.components.items():
        assert len(models) == (2 if name in TRAINED else 1)
        scores = [StandardScorer([model.scorer()], warm)(users) for model in models]
        assert len(scores) == 1 or not torch.allclose(*scores)
        total += two.model.settings.components[name].weight * sum(scores) / len(scores)
    assert torch.allclose(two.model.scorer()(users), total, atol=1e-5)
    for name, value in one.model.components["mmhcl"][0].state_dict().items():
        assert torch.equal(value, two.model.components["mmhcl"][0].state_dict()[name]), name


@pytest.mark.parametrize("fatal", ["cm3", "mmhcl", "test"])
def test_a_run_killed_in_a_stage_or_after_all_ends_as_if_it_had_not_been(toy, tmp_path, monkeypatch, fatal):
    whole, run = execute(staged(toy), tmp_path / "whole"), tmp_path / "run"
    real = KeepBest.on_train_epoch_start

    def die(keeper, trainer, module):
        if keeper.folder.name == fatal and trainer.current_epoch == 2:
            raise MemoryError
        real(keeper, trainer, module)

    with monkeypatch.context() as patch:
        patch.setattr(KeepBest, "on_train_epoch_start", die)
        if fatal == "test":
            patch.setattr("recsys.runs.run._names", lambda *a: 1 / 0)
        with pytest.raises(ZeroDivisionError if fatal == "test" else MemoryError):
            execute(staged(toy), run)
    over = {"cm3": [], "mmhcl": ["cm3"], "test": ["cm3", "mmhcl"]}[fatal]
    written = {run / name / "history.csv": (run / name / "history.csv").stat().st_mtime_ns for name in over}
    assert execute(staged(toy), run, resume=True)["test"] == whole["test"]
    assert all(path.stat().st_mtime_ns == before for path, before in written.items()), "trained anew"
    assert not list(run.glob("*/last.ckpt"))


@pytest.mark.parametrize("left", ["cm3", "mmhcl"])
def test_a_component_of_weight_0_is_not_built(data, left):
    model = confluence(data, WEIGHTS | {left: 0.0})
    assert list(model.components) == [name for name in NAMES if name != left]
    kept = [type(part) for part in model.modules()]
    assert [kind in kept for kind in map(MODELS.get, NAMES)] == [name != left for name in NAMES]


def test_a_large_catalogue_goes_without_components_that_hold_items_by_items(data):
    for limit, built in ((data.n_items, True), (data.n_items - 1, False)):
        model = confluence(data, dense_up_to=limit)
        assert [name in model.components for name in ("ease", "contentridge")] == [built, built]
        assert len(model.weights) == len(model.components)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"weights": {}}, "each weight is 0"),
        ({"cold": {}}, "each cold_weight is 0"),
        ({"weights": {"ease": 1.0}, "dense_up_to": 0}, "each weight is 0"),
        ({"weights": {"ease": 1.0, "pop": 1.0}}, "ease, pop are not trained; add a component that is"),
    ],
)
def test_weights_that_make_no_sense_are_errors(data, settings, message):
    with pytest.raises(UserError, match=message):
        confluence(data, **settings)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"components.eese.weight": 1}, "no model 'eese'; did you mean 'ease'"),
        ({"components.confluence.weight": 1}, "confluence is made of components itself"),
        ({"components.ease.weight": -1}, "'components.ease.weight' of Confluence: .*, got -1"),
        ({"components.ease.cold_weight": -1}, "'components.ease.cold_weight' of Confluence: .*, got -1"),
        ({"components.ease.wieght": 1}, "no setting 'components.ease.wieght'; did you mean 'weight'"),
        (
            {"components.ease.settings.contnet": 1},
            "components.ease.settings: .* no setting 'contnet'.*'content'",
        ),
        ({"components.ease.settings.max_epochs": 1}, "components.ease.settings: .* no setting 'max_epochs'"),
        (
            {"components.mmhcl.settings.widht": 3},
            "components.mmhcl.settings: .*'widht'; did you mean 'width'",
        ),
        ({"components.mmhcl.settings.max_epochs": 0}, "'max_epochs' of components.mmhcl.settings: .*, got 0"),
        ({"walk": 0}, "no setting 'walk'; it is `components.hyperwalk.weight` now"),
        ({"linear_options": {}}, "no setting 'linear_options'; it is `components.ease.settings` now"),
        ({"cold_weights": {}}, "no setting 'cold_weights'; it is `components.NAME.cold_weight` now"),
    ],
)
def test_settings_that_cannot_be_end_in_one_line(settings, message):
    with pytest.raises(UserError, match=message) as caught:
        resolve_settings(Confluence, settings)
    assert "\n" not in str(caught.value)


def test_dotted_keys_change_the_default_and_a_mapping_replaces_it():
    default = ConfluenceSettings().components
    changed = resolve_settings(Confluence, {"components.ease.weight": 2, "components.wmf.weight": 1})[0]
    assert changed.components["ease"] == Component(weight=2.0, settings={"content": 1.0})
    assert list(changed.components) == [*default, "wmf"]
    whole = resolve_settings(Confluence, {"components": {"cm3": {}, "wmf": {"weight": 2}}})[0]
    assert whole.components == {"cm3": Component(), "wmf": Component(weight=2.0)}


def test_any_registered_model_is_a_component(data):
    components = {"bpr": {"settings": {"width": 4}}, "itemknn": {"settings": {"k": 3}}}
    model = Confluence(ConfluenceSettings(components=components), data, 0).eval()
    assert not model.reads_content and not model.ranks_cold_items
    assert torch.isfinite(model.scorer()(np.arange(data.n_users))).all()
    assert [type(models[0]) for models in model.components.values()] == [
        MODELS.get(name) for name in components
    ]


def test_the_code_of_its_components_counts_among_its_sources():
    settings = resolve_settings(Confluence, {"components": {"cm3": {}, "pop": {}}})[0].model_dump()
    sources = {f"recsys.models.{name}" for name in ("confluence", "multimodal.cm3", "closed_form.pop")}
    assert set(Confluence.source_modules(settings)) == sources
    assert "recsys.models.multimodal.mmhcl" in Confluence.source_modules({})


def test_kept_scores_calibrate_as_scores_made_anew(data, monkeypatch):
    def validate(model, group):
        # Any figure that depends on all weights; each call scores two blocks of users.
        scorer = model.scorer()
        scores = torch.cat([scorer(np.arange(3)), scorer(np.arange(3, 6))])
        return float(scores[:, :: 2 if group == "warm" else 3].sin().sum())

    chosen, calls = [], []
    score = StandardScorer.__call__
    monkeypatch.setattr(StandardScorer, "__call__", lambda *given: calls.append(1) or score(*given))
    for limit in (0, 2**31):
        monkeypatch.setattr("recsys.models.confluence.CACHED_BYTES", limit)
        calls.clear()
        model = confluence(data, {"ease": 0.5, "lightgcn": 1.0, "pop": 0.3})
        model.calibrate(lambda group, model=model: validate(model, group))
        chosen.append([buffer.tolist() for buffer in model.calibration().values()])
        assert (len(calls) > 100) == (limit == 0)
    assert chosen[0] == chosen[1]
    assert len(calls) == 2 * 3
