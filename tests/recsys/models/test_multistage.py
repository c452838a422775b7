"""Stages of one model: what each compares, what is frozen, and what comes out."""

import numpy as np
import pytest
import torch

from recsys.errors import UserError
from recsys.inputs.sampler import Sampler
from recsys.models.multistage import clustered
from recsys.runs.config import RunConfig
from recsys.runs.run import execute, load_run, prepare


def prepared(toy, model="mmhcl", n_stages=2, split="cold-item", **settings):
    own = {"width": 8} | settings
    values = {
        "base": model,
        "base_settings": own,
        "n_stages": n_stages,
        "clusters": 3,
        "max_epochs": 4,
        "batch_size": 64,
    }
    return prepare(RunConfig(model="multistage", dataset="toy", split=split, settings=values), toy)


@pytest.fixture(scope="module")
def finished(toy, tmp_path_factory):
    run = prepared(toy, n_stages=3, learning_rate=0.01)
    folder = tmp_path_factory.mktemp("run") / "run"
    execute(run, folder)
    return run, folder


def test_a_score_is_the_sum_of_the_stages_scores(finished):
    run, _ = finished
    users = np.arange(run.data.n_users)
    parts = [part.embed(run.data.query_users()) for part in run.model.parts]
    expected = sum(u @ i.T for u, i in parts)
    scores = run.model.scorer()(users)
    torch.testing.assert_close(scores, expected, rtol=1e-5, atol=1e-5)
    assert run.model()[0].shape[1] == 3 * 8
    assert not torch.allclose(parts[0][0], parts[1][0]), "the stages are one model"


def test_labels_join_the_clusters_of_all_stages_so_far(finished):
    run, _ = finished
    second, third = (run.model.parts[n].terms.labels for n in (1, 2))
    assert not run.model.parts[0].terms.labels
    for side, warm in (("users", run.data.warm_users), ("items", run.data.warm_items)):
        first = clustered(getattr(run.model.parts[0](), side)[warm], 3, 0)
        assert (second[side][~warm] == -1).all() and (second[side][warm] >= 0).all()
        assert len(np.unique(second[side][warm])) == len(np.unique(first)) == 3
        assert torch.equal(third[side][warm] // 3, second[side][warm]), "what was apart came together"


@pytest.mark.parametrize("model", ["mmhcl", "cm3", "sige", "mgcn", "simgcl"])
def test_a_step_compares_nodes_of_one_label(model, toy, monkeypatch):
    run = prepared(toy, model)
    inner = run.model.parts[1]
    labels = {
        "users": torch.arange(run.data.n_users) % 3,
        "items": torch.where(torch.from_numpy(run.data.warm_items), torch.arange(run.data.n_items) % 3, -1),
    }
    inner.terms.labels = labels
    inner.start_epoch(0, torch.Generator().manual_seed(0))
    seen = []
    forward = inner.terms.forward
    monkeypatch.setattr(inner.terms, "forward", lambda nodes: (seen.append(nodes), forward(nodes))[1])
    batch = next(iter(Sampler(run.data, 64, 1, 0).epoch(0)))
    drawn = {"users": set(), "items": set()}
    for step in range(8):
        torch.manual_seed(step)
        loss = inner.loss(batch)
        assert all(value.isfinite() for value in loss.values())
    for nodes in seen:
        for side in ("users", "items"):
            of = set(labels[side][nodes[side].ids].tolist())
            assert len(of) == 1 and len(nodes[side].ids) > 1
            drawn[side] |= of
    assert drawn == {"users": {0, 1, 2}, "items": {0, 1, 2}}


def test_earlier_stages_are_frozen_while_a_later_one_trains(toy, tmp_path):
    one, two = (prepared(toy, n_stages=n, learning_rate=0.01) for n in (1, 2))
    for number, run in enumerate((one, two)):
        execute(run, tmp_path / str(number))
    ours, theirs = (dict(run.model.parts[0].named_parameters()) for run in (one, two))
    assert all(torch.equal(parameter, theirs[name]) for name, parameter in ours.items())


def test_a_saved_run_scores_alike_and_the_record_tells_its_stages(toy, root, tmp_path):
    values = {"base_settings": {"width": 8}, "max_epochs": 2, "clusters": 3}
    config = RunConfig(
        model="multistage", dataset="toy", split="cold-item", settings=values, data_root=str(root)
    )
    run = prepare(config)
    record = execute(run, tmp_path / "run")
    loaded = load_run(tmp_path / "run", str(root))
    assert torch.equal(run.model.scorer()(np.arange(5)), loaded.model.scorer()(np.arange(5)))
    assert record["epochs"] == 4
    assert sorted(path.name for path in (tmp_path / "run").iterdir() if path.is_dir()) == [
        "stage-1",
        "stage-2",
    ]


def test_the_models_own_training_defaults_hold_where_the_run_says_nothing(toy):
    run = prepared(toy)
    training = run.model.stages(run.train_settings)["stage-1"][1]
    assert (training.learning_rate, training.sample_by, training.batch_size) == (1e-4, "users", 64)
    own = prepared(toy, learning_rate=0.5)
    assert own.model.stages(own.train_settings)["stage-2"][1].learning_rate == 0.5


@pytest.mark.parametrize(
    ("model", "settings", "told"),
    [
        ("lightgcn", {}, "lightgcn has no term that compares users or items; add one"),
        ("ease", {}, "ease offers no views of users and items; use one of bm3"),
        ("clhe", {}, "clhe offers no views"),
        ("mmhcl", {"widht": 3}, "did you mean 'width'"),
    ],
)
def test_what_cannot_be_is_told_in_one_line(model, settings, told, toy):
    with pytest.raises(UserError) as error:
        values = {"base": model, "base_settings": settings}
        prepare(RunConfig(model="multistage", dataset="toy", settings=values), toy)
    assert told in str(error.value) and "\n" not in str(error.value)


def test_an_added_term_makes_any_model_multistage(toy, tmp_path):
    run = prepared(toy, "lightgcn", **{"objectives.extra": [{"objective": "infonce", "nodes": "both"}]})
    assert execute(run, tmp_path / "run")["epochs"] == 8
