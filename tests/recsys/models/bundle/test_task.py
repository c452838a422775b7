"""The bundle task end to end: leaks, groups, limits, and completion."""

import dataclasses

import numpy as np
import pytest
import torch

from recsys.datasets.bundles import Feedback, bundle_view
from recsys.errors import DataError, LeakError, UserError
from recsys.experiments.tune.tuning import Tuning
from recsys.inputs.content import unit_rows
from recsys.inputs.training_data import TrainingData
from recsys.runs.complete import complete, examples_table
from recsys.runs.config import RunConfig
from recsys.runs.run import execute, prepare

FAST = {"width": 8, "max_epochs": 3, "feedback_epochs": 2}


def config(model, settings=None, **more):
    return RunConfig(model=model, dataset="bundled", task="bundle", settings=settings or {}, **more)


def test_the_report_has_the_papers_cuts_groups_and_chance(bundled, tmp_path):
    metrics = execute(prepare(config("cooccurrence-content"), bundled), tmp_path / "run")
    for k in (5, 10, 20, 40, 80):
        assert {f"recall@{k}", f"ndcg@{k}"} <= metrics["test"].keys() & metrics["chance"]["test"].keys()
    assert metrics["task"] == "bundle" and metrics["users"]["test"] == 6
    assert "test_warm" in metrics and "test_cold_users" not in metrics
    assert metrics["test"]["recall@20"] == 1.0  # a bundle's kind has 12 items


@pytest.mark.parametrize("model", ["clhe", "clhe-signals"])
def test_bundles_are_completed_with_their_own_kind(model, bundled, tmp_path):
    run = prepare(config(model, FAST | {"max_epochs": 30, "learning_rate": 0.02, "batch_size": 16}), bundled)
    metrics = execute(run, tmp_path / "run")
    assert metrics["test"]["recall@10"] > 0.7 > 2 * metrics["chance"]["test"]["recall@10"]


def test_feedback_of_held_out_bundles_is_not_there_to_train_on(bundled):
    run = prepare(config("clhe", FAST), bundled)
    held_out = np.flatnonzero(run.split.cold_users)
    whole = run.dataset.feedback
    lost = whole.matrix - run.data.feedback.matrix
    rows, items = lost.nonzero()
    assert len(rows)
    for user, item in zip(rows, items, strict=True):
        sources = np.flatnonzero(
            whole.owners[[user]].toarray()[0] * whole.contents[:, [item]].toarray()[:, 0]
        )
        assert len(sources) and set(sources) <= set(held_out)


def test_the_audit_finds_a_planted_leak_of_feedback(bundled, tmp_path, monkeypatch):
    """Training data that keeps all feedback: a pair that only a held-out bundle tells reaches the slot."""
    monkeypatch.setattr(Feedback, "within", lambda self, bundles: self)
    run = prepare(config("clhe", FAST), bundled)
    with pytest.raises(LeakError, match="feedback 'item vectors' touches 12 cold users"):
        execute(run, tmp_path / "run")


def test_the_audit_finds_a_planted_bundle(bundled, tmp_path, monkeypatch):
    real = TrainingData.of.__func__

    def planted(cls, dataset, split):
        data = real(cls, dataset, split)
        rows = np.concatenate([split.train, split.test_support[:1]])
        return cls(dataset.matrix(rows), dataset.modalities, feedback=data.feedback)

    monkeypatch.setattr(TrainingData, "of", classmethod(planted))
    with pytest.raises(LeakError, match="cold users"):
        execute(prepare(config("cooccurrence"), bundled), tmp_path / "run")


def test_a_bundle_longer_than_the_limit_is_an_error(bundled):
    with pytest.raises(
        UserError, match=r"holds 4 items, more than max_length=3; raise it with --set max_length=4"
    ):
        prepare(config("clhe", FAST | {"max_length": 3}), bundled)


def test_the_task_needs_bundles(toy):
    with pytest.raises(DataError, match="'toy' has no bundles"):
        prepare(RunConfig(model="pop", dataset="toy", task="bundle"), toy)


@pytest.fixture(scope="module")
def trained(bundled, tmp_path_factory):
    run = prepare(config("clhe", FAST | {"max_epochs": 30, "learning_rate": 0.02, "batch_size": 16}), bundled)
    execute(run, tmp_path_factory.mktemp("run") / "run")
    return run


def test_complete_ranks_titles_without_the_items_given(trained):
    frame = complete(trained, ["i0", "i1", "i2"], k=5)
    assert frame.columns.tolist() == ["item", "score", "title"] and len(frame) == 5
    assert frame["title"].tolist() == [f"Item {i[1:]}" for i in frame["item"]]
    assert not set(frame["item"]) & {"i0", "i1", "i2"}
    assert (np.diff(frame["score"]) <= 0).all()
    assert {int(i[1:]) // 12 for i in frame["item"]} == {0}
    assert complete(trained, ["i2", "i0", "i1", "i0"], k=5)["item"].tolist() == frame["item"].tolist()


def test_an_item_without_feature_or_bundle_is_never_offered(trained):
    assert "i36" not in set(complete(trained, ["i0"], k=100)["item"])


@pytest.mark.parametrize(
    ("items", "message"),
    [
        (["i0", "ix"], "'bundled' has no item 'ix'; did you mean"),
        ([" "], "no items given: name at least one"),
    ],
)
def test_complete_says_what_is_wrong(trained, items, message):
    with pytest.raises(UserError, match=message):
        complete(trained, items)


def test_complete_needs_a_run_of_bundles(bundled):
    run = prepare(RunConfig(model="pop", dataset="bundled"), bundled)
    with pytest.raises(UserError, match="train one with --task bundle"):
        complete(run, ["i0"])


def test_the_view_is_what_the_run_trains_on(bundled):
    run = prepare(config("pop"), bundled)
    assert run.dataset.n_users == bundle_view(bundled).n_users == 60
    assert run.config.split == "random" and dataclasses.is_dataclass(run.dataset)


def test_examples_mark_what_was_given_and_what_was_held_out(trained):
    table = examples_table(trained, bundles=2, k=3)
    marks, items = (list(table.columns[n].cells) for n in (1, 2))
    assert marks.count("+") == 4 and len(marks) == 2 * (2 + 3) and "*" in marks
    view, split = trained.dataset, trained.split
    first = next(n for n, label in enumerate(table.columns[0].cells) if label)
    bundle = np.flatnonzero(view.user_ids == list(table.columns[0].cells)[first])[0]
    held = {f"Item {i}" for i in view.matrix(split.test)[[bundle]].indices}
    assert {i for m, i in zip(marks[:5], items[:5], strict=True) if m == "*"} == held & set(items[:5])


def test_the_improved_form_starts_at_rates_and_the_likeness_of_what_is_rare(bundled):
    """Before its first step: 4 P(j | i) + m / (m + n_j) times the cosine, averaged over the given items i."""
    from recsys.models.bundle.clhe_signals import PRIOR

    run = prepare(config("clhe-signals"), bundled)
    support = run.dataset.matrix(run.split.test_support)
    tested = np.flatnonzero(np.diff(support.indptr))
    rows = run.data.interactions.toarray()
    together, count = rows.T @ rows, rows.sum(0)
    np.fill_diagonal(together, 0)
    content = [unit_rows(m.features.astype(np.float64)) for m in run.data.modalities.values()]
    likeness = np.mean([x @ x.T for x in content], axis=0) * (0.5 / (0.5 + count))
    pairs = 4 * together / np.maximum(count, 1)[:, None] + likeness
    expected = PRIOR * (support[tested] @ pairs) / np.diff(support.indptr)[tested][:, None]
    scores = run.model.eval().scorer(run.data.query_users(support))(tested).numpy()
    offered = np.arange(36)
    np.testing.assert_allclose(scores[:, offered], expected[:, offered], atol=1e-3)


@pytest.mark.parametrize("best", [0.0, 0.4, 1.0])
def test_validation_chooses_how_much_of_the_scores_is_learnt(bundled, best):
    model = prepare(config("clhe-signals"), bundled).model
    model.calibrate(lambda group: -abs(float(model.learnt) - best))
    assert float(model.learnt) == pytest.approx(best)
    said = prepare(config("clhe-signals", {"learnt": 0.25}), bundled).model
    said.calibrate(lambda group: 1 / 0)
    assert float(said.learnt) == 0.25


def test_a_training_bundle_meets_counts_without_its_fold(bundled):
    model = prepare(config("clhe-signals"), bundled).model
    rows = model.data.interactions
    for bundle in np.flatnonzero(np.diff(rows.indptr) > 1)[:5]:
        fold = model.fold_of[bundle]
        expected = model.signals.without(rows[model.fold_of == fold])(rows[[bundle]], np.arange(9))
        found = model._unseen(rows[[bundle]], np.array([bundle]), np.arange(9))
        torch.testing.assert_close(found, expected)
    order = np.arange(12)[::-1].copy()
    whole = model._unseen(rows[:12], np.arange(12), np.arange(9))
    torch.testing.assert_close(model._unseen(rows[order], order, np.arange(9)), whole.flip(0))


def test_a_trial_knows_nothing_of_test_bundles(bundled, tmp_path):
    tuning = Tuning.of(config("clhe-signals", FAST), bundled)
    view, split = bundle_view(bundled), prepare(config("pop"), bundled).split
    tested = np.flatnonzero(np.diff(view.matrix(split.test).indptr))
    feedback = tuning.dataset.feedback
    assert not tuning.dataset.matrix(np.arange(len(tuning.dataset.interactions)))[tested].nnz
    assert not feedback.contents[tested].nnz and not feedback.owners[:, tested].nnz
    # Two bundles a user: what only the tested one tells is gone, what both tell stays.
    others = np.setdiff1d(np.arange(60), tested)
    told = (view.feedback.owners[:, others] @ view.feedback.contents[others]) > 0
    np.testing.assert_array_equal(feedback.matrix.toarray() > 0, told.toarray())
    settled = tuning.value({"hidden": 2}, tmp_path / "trial")
    run = prepare(config("clhe-signals", FAST | {"hidden": 2}), bundled)
    assert settled == execute(run, tmp_path / "run")["best"]
