"""What authors published: declared once a model, taken by --published, recorded with the run."""

import pytest
import yaml

from recsys.errors import UserError
from recsys.models import MODELS
from recsys.runs.config import RunConfig, resolve, resolve_settings
from recsys.runs.run import execute, make_evaluator, prepare

DECLARED = [name for name in MODELS.builtin if MODELS.get(name).published is not None]
QUICK = {"max_epochs": 1, "width": 4, "batch_size": 64}


@pytest.mark.parametrize("name", DECLARED)
def test_a_model_declares_what_differs_from_its_own_defaults(name):
    model = MODELS.get(name)
    ours, theirs = (
        {k: v for group in resolve_settings(model, values) for k, v in group.model_dump().items()}
        for values in ({}, model.published.settings)
    )
    assert {key for key in ours if ours[key] != theirs[key]} == set(model.published.settings)
    assert model.published.source.startswith("github.com/")


def test_the_layers_of_settings(toy):
    config = RunConfig(model="lattice", dataset="toy", published=True, settings={"eval_every": 2})
    found = resolve(config, toy)
    assert found.settings.interactions == "self-loops" and found.train_settings.monitor == "recall@20"
    assert found.train_settings.eval_every == 2, "what is set by hand counts"
    assert (found.train_settings.max_steps, found.train_settings.plateau) == (0, 1), (
        "no authors' protocol has them"
    )
    assert resolve(found.config, toy).config == found.config, "a resolved configuration stays as it is"
    assert resolve(config.model_copy(update={"published": False}), toy).settings.interactions == "symmetric"


def test_models_without_a_record_and_two_starts_are_refused(toy):
    with pytest.raises(
        UserError, match=r"what ease's authors published is not recorded; .* lattice, lightgcn"
    ):
        resolve(RunConfig(model="ease", dataset="toy", published=True), toy)
    with pytest.raises(UserError, match="ask for one of them"):
        resolve(RunConfig(model="mgcn", dataset="toy", published=True, tuned=True), toy)


def test_the_test_masks_training_alone_and_the_run_says_so(toy, tmp_path):
    run = prepare(RunConfig(model="lightgcn", dataset="toy", published=True, settings=QUICK), toy)
    metrics = execute(run, tmp_path / "run")
    scorer = run.model.scorer(run.data.query_users())
    parts = toy, run.split, run.data, "test"
    unmasked, masked = (
        make_evaluator(*parts, mask=each).evaluate(scorer).metrics["overall"]["ndcg@20"]
        for each in ("train", "train+valid")
    )
    assert metrics["test"]["ndcg@20"] == unmasked < masked
    kept = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())
    assert (kept["mask"], kept["settings"]["layers"]) == ("train", 3)
    assert kept["settings_from"].startswith(
        "github.com/gusye1234/LightGCN-PyTorch 947ca2b3b1, but for max_epochs"
    )


def test_command_line_and_python_ask_for_the_same(recsys, toy, tmp_path):
    import recsys as library

    sets = [word for key, value in QUICK.items() for word in ("--set", f"{key}={value}")]
    status, printed, err = recsys(
        "train",
        "--model",
        "lightgcn",
        "--dataset",
        "toy",
        "--published",
        *sets,
        "--out",
        str(tmp_path / "run"),
    )
    assert status == 0, err
    assert "settings as published: github.com/gusye1234/LightGCN-PyTorch" in " ".join(printed.split())
    run = library.train("lightgcn", toy, published=True, **QUICK)
    again = library.load_run(tmp_path / "run")
    assert run.metrics.test == again.metrics.test and again.config.mask == "train"
