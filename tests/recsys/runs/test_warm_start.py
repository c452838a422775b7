"""Training that starts from another run's weights: by raw id, recorded, resumed exactly, and never from the test's."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

import recsys as package
from recsys.datasets.dataset import Modality
from recsys.errors import UserError
from recsys.models import MODELS
from recsys.models.collaborative.lightgcn import LightGCN
from recsys.runs.config import RunConfig
from recsys.runs.package import keep_bundle
from recsys.runs.run import execute, load_run, prepare
from recsys.runs.warm_start import warm_start_of

QUICK = {"max_epochs": 2, "batch_size": 64}
NONE = {"split": "none"}
LEARNED = [name for name in sorted(MODELS.builtin) if not MODELS.get(name).closed_form and name != "student"]


def reordered(dataset, users, items):
    """The data set of some of the users and items, numbered in this order, with the interactions among them."""
    frame = dataset.interactions
    frame = frame[frame["user"].isin(users) & frame["item"].isin(items)].copy()
    for noun, rows in (("user", users), ("item", items)):
        frame[noun] = np.argsort(rows)[np.searchsorted(np.sort(rows), frame[noun])]
    return replace(
        dataset,
        interactions=frame.sort_values(["user", "item"], ignore_index=True),
        user_ids=dataset.user_ids[users],
        item_ids=dataset.item_ids[items],
        modalities={k: Modality(m.features[items], m.mask[items]) for k, m in dataset.modalities.items()},
        item_attributes=dataset.item_attributes.iloc[items].reset_index(drop=True),
    )


@pytest.fixture(scope="module")
def past(toy):
    """Some of the toy data's users and items, in another order."""
    rng = np.random.default_rng(0)
    return reordered(toy, rng.permutation(48)[:40], rng.permutation(36)[:30])


def settings_of(name):
    return QUICK | ({"width": 8} if "width" in MODELS.get(name).Settings.model_fields else {})


def config_of(name, start=None, **changes):
    given = {"settings": settings_of(name), **NONE, **changes}
    return RunConfig(model=name, dataset="toy", warm_start=start and warm_start_of(start), **given)


def trained(name, data, folder, **changes):
    run = prepare(config_of(name, **changes), data)
    execute(run, folder)
    return run


@pytest.mark.parametrize("name", LEARNED)
def test_rows_of_known_ids_and_dense_layers_are_taken_over(name, toy, past, tmp_path):
    old = trained(name, past, tmp_path / "old")
    keep_bundle(old, tmp_path / "old")
    saved = load_file(tmp_path / "old" / "model.safetensors")
    fresh = prepare(config_of(name), toy)
    warm = prepare(config_of(name, tmp_path / "old"), toy)
    tables, initial = warm.model.id_tables(), dict(fresh.model.named_parameters())
    ids = {"users": (toy.user_ids, past.user_ids), "items": (toy.item_ids, past.item_ids)}
    changed = 0
    for parameter_name, parameter in warm.model.named_parameters():
        if parameter_name not in tables:
            if saved[parameter_name].shape == parameter.shape:
                assert torch.equal(parameter, saved[parameter_name]), parameter_name
                changed += not torch.equal(parameter, initial[parameter_name])
            continue
        here, there = ids[tables[parameter_name][1]]
        place = {str(raw): row for row, raw in enumerate(there)}
        for row, raw in enumerate(here):
            old_row = place.get(str(raw))
            expected = initial[parameter_name][row] if old_row is None else saved[parameter_name][old_row]
            assert torch.equal(parameter[row], expected), (parameter_name, raw)
        changed += not torch.equal(parameter, initial[parameter_name])
    assert changed
    started = warm.started
    assert (started["users"], started["items"], started["of_users"], started["of_items"]) == (40, 30, 48, 36)
    execute(warm, tmp_path / "new")
    record = json.loads((tmp_path / "new" / "environment.json").read_text())
    assert record["warm_start"] == started and started["fingerprint"] == warm.config.warm_start.fingerprint
    assert any("starts from the weights of old, for 40 of 48 users" in note for note in record["notes"])


def test_it_begins_where_the_other_ended(toy, tmp_path):
    """An epoch that hardly moves is as good as the other's best, on the same validation part."""
    given = {"split": "random", "width": 8, "batch_size": 64}
    first = package.train(
        "lightgcn", toy, max_epochs=40, learning_rate=0.02, folder=tmp_path / "first", **given
    )
    runs = (
        package.train("lightgcn", toy, max_epochs=1, learning_rate=1e-7, warm_start=start, **given)
        for start in (None, first, tmp_path / "first")
    )
    cold, warm, again = (run.metrics.values["best"] for run in runs)
    assert warm == again == pytest.approx(first.metrics.values["best"], rel=1e-3) and warm > 1.5 * cold


def test_a_killed_one_resumes_and_a_rerun_repeats_it(recsys, toy, past, tmp_path, monkeypatch):
    keep_bundle(trained("lightgcn", past, tmp_path / "old"), tmp_path / "old")
    config = config_of("lightgcn", tmp_path / "old", settings=settings_of("lightgcn") | {"max_epochs": 4})
    execute(prepare(config, toy), tmp_path / "whole")
    for stop in (0, 9):  # before there is a resume file, and after
        step, calls = LightGCN.loss, iter(range(10**6))

        def loss(self, batch, step=step, calls=calls, stop=stop):
            if next(calls) == stop:
                raise KeyboardInterrupt
            return step(self, batch)

        with monkeypatch.context() as patch:
            patch.setattr(LightGCN, "loss", loss)
            with pytest.raises(KeyboardInterrupt):
                execute(prepare(config, toy), tmp_path / f"killed-{stop}")
        execute(prepare(config, toy), tmp_path / f"killed-{stop}", resume=True)
        one, other = (load_file(tmp_path / n / "model.safetensors") for n in ("whole", f"killed-{stop}"))
        assert all(torch.equal(one[name], other[name]) for name in one)
    status, out, err = recsys("rerun", tmp_path / "whole")
    assert status == 0 and "equal: all" in out, err
    (tmp_path / "old").rename(tmp_path / "moved")
    status, _, err = recsys("rerun", tmp_path / "whole")
    assert status == 2 and "old, which is not there any more" in err and len(err.strip().splitlines()) == 1
    assert load_run(tmp_path / "whole").model is not None  # a trained run needs nobody
    moved = config_of("lightgcn", tmp_path / "moved", settings=config.settings)
    assert execute(prepare(moved, toy), tmp_path / "whole", resume=True)["epochs"] == 4


def test_the_runs_own_bundle_tells_the_ids_after_the_data_have_grown(toy, root, past, tmp_path):
    run = trained("lightgcn", past, tmp_path / "old", data_root=str(root))
    with pytest.raises(UserError, match="has changed since this run was trained, and the run keeps no"):
        prepare(config_of("lightgcn", tmp_path / "old"), toy)
    keep_bundle(run, tmp_path / "old")
    later = package.load_bundle(tmp_path / "old" / "serving")
    arrived = pd.DataFrame({"user": ["stranger"], "item": [str(past.item_ids[0])]})
    later.updated(arrived).save(tmp_path / "old" / "serving")
    assert prepare(config_of("lightgcn", tmp_path / "old"), toy).started["users"] == 40


@pytest.fixture
def source(toy, tmp_path):
    return package.train("lightgcn", toy, split="random", folder=tmp_path / "old", width=8, **QUICK)


@pytest.mark.parametrize(
    ("model", "changes", "message"),
    [
        ("bpr", {}, "model is 'lightgcn' there and 'bpr' here"),
        ("lightgcn", {"width": 4}, "width is 8 there and 4 here"),
        ("lightgcn", {"layers": 1}, "layers is 2 there and 1 here"),
        ("ease", {}, "ease keeps no weights that a training could start from"),
        ("student", {"teacher": "lightgcn"}, "student keeps no weights that a training could start from"),
        ("lightgcn", {"split_seed": 1}, "holds out here, so that the test would be of what it remembers"),
    ],
)
def test_what_cannot_be_started_from_is_refused_in_one_line(toy, source, tmp_path, model, changes, message):
    given = {"split": "random", "warm_start": source, "folder": tmp_path / "new"}
    learned = {} if model in ("ease", "student") else QUICK | {"width": 8}
    with pytest.raises(UserError, match=message) as error:
        package.train(model, toy, **given, **learned | changes)
    assert "\n" not in str(error.value) and not (tmp_path / "new").exists()


def test_a_folder_that_is_no_run(toy, tmp_path):
    with pytest.raises(UserError, match="is not a run's folder"):
        package.train("lightgcn", toy, warm_start=tmp_path)
    run = package.train("lightgcn", toy, split="random", folder=tmp_path / "run", width=8, **QUICK)
    (run.folder / "metrics.json").unlink()
    with pytest.raises(UserError, match="holds no finished run to start from"):
        package.train("lightgcn", toy, warm_start=run)


def test_cold_rows_are_never_taken_over(toy, tmp_path):
    """A user or item that is cold here was trained there: nothing of it comes along."""
    source = package.train("mmhcl", toy, split="none", folder=tmp_path / "old", width=8, **QUICK)
    with pytest.raises(UserError, match="was trained on"):
        package.train("mmhcl", toy, split="cold-item", warm_start=source, width=8, **QUICK)
    settings = QUICK | {"width": 8}
    half = {"split": "cold-item", "settings": settings}
    base = package.train("mmhcl", toy, split="cold-item", seed=1, folder=tmp_path / "base", **settings)
    fresh, warm = (prepare(config_of("mmhcl", start, **half), toy) for start in (None, base.folder))
    cold = torch.tensor(warm.split.cold_items)
    assert torch.equal(warm.model.item_table[cold], fresh.model.item_table[cold])
    assert not torch.equal(warm.model.item_table[~cold], fresh.model.item_table[~cold])


def test_the_command(recsys, toy, tmp_path):
    train = ("train", "--model", "lightgcn", "--dataset", "toy", "--split", "random", "--set", "width=4")
    train = (*train, "--set", "max_epochs=2")
    assert recsys(*train, "--out", "old")[0] == 0
    status, out, err = recsys(*train, "--out", "new", "--warm-start", "old")
    assert (
        status == 0 and "note: starts from the weights of old, for 48 of 48 users and 36 of 36 items" in out
    ), err
    status, _, err = recsys(*train, "--out", "other", "--warm-start", "old", "--controls")
    assert status == 2 and "--controls and --warm-start" in err
    status, _, err = recsys("train", "--refit", "new", "--warm-start", "old")
    assert status == 2 and "--warm-start and --refit" in err
    assert not (tmp_path / "other").exists()


def test_models_of_recbole_are_refused(toy, tmp_path):
    pytest.importorskip("recbole")
    run = package.train("recbole:BPR", toy, split="random", folder=tmp_path / "old", max_epochs=1)
    with pytest.raises(UserError, match="numbers its rows itself"):
        package.train("recbole:BPR", toy, split="random", warm_start=run, max_epochs=1)
