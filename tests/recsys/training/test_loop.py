"""Training: early stopping, one seed one result, and runs that survive a kill."""

import errno
import json
import math
import signal
from contextlib import contextmanager

import numpy as np
import pandas as pd
import pytest
import pytorch_lightning as pl
import torch

from recsys import files
from recsys.datasets.convert import convert
from recsys.errors import UserError
from recsys.models.collaborative.lightgcn import LightGCN
from recsys.objectives.alignment.alignment import alignment
from recsys.runs.config import RunConfig
from recsys.runs.run import execute, load_run, prepare
from recsys.training.distributed import Distributed
from recsys.training.keeping import AtomicCheckpointIO, KeepBest
from recsys.training.loop import train
from recsys.training.module import TrainingModule
from recsys.training.patience import Patience
from recsys.training.weights import checksum, load_model, read_arrays

SETTINGS = {"width": 8, "max_epochs": 6, "batch_size": 64, "learning_rate": 0.01, "smooth": 1}


def lightgcn(**settings):
    return RunConfig(model="lightgcn", dataset="toy", settings=SETTINGS | settings)


def validated(monkeypatch, values, popularity):
    """Each validation gives the next of `values`, and that of popularity's ranking `popularity`."""
    values, real = iter(values), KeepBest.__init__
    monkeypatch.setattr(
        KeepBest,
        "__init__",
        lambda self, folder, _, rule: real(self, folder, lambda model: next(values), rule),
    )
    monkeypatch.setattr("recsys.training.loop._popularity", lambda *_: popularity)


def test_the_best_epoch_is_kept_and_training_stops_when_patience_runs_out(toy, tmp_path, monkeypatch):
    validated(monkeypatch, [0.1, 0.3, 0.2, 0.3, 0.1, 0.9], popularity=0.1)
    metrics = execute(prepare(lightgcn(patience=3), toy), tmp_path / "run")
    assert (metrics["best_epoch"], metrics["best"], metrics["epochs"]) == (1, 0.3, 5)
    history = pd.read_csv(tmp_path / "run" / "history.csv")
    assert history["ndcg@20"].tolist() == [0.1, 0.3, 0.2, 0.3, 0.1]


def test_the_mean_of_the_last_validations_chooses_the_epoch(toy, tmp_path, monkeypatch):
    """Means of two: 0.1, 0.3, 0.3, 0.2, 0.325, 0.325, 0.2, 0.1."""
    validated(monkeypatch, [0.1, 0.5, 0.1, 0.3, 0.35, 0.3, 0.1, 0.1, 0.9], popularity=0.1)
    metrics = execute(prepare(lightgcn(patience=3, smooth=2, max_epochs=20), toy), tmp_path / "run")
    assert (metrics["best_epoch"], metrics["best"], metrics["epochs"]) == (4, 0.35, 8)


@pytest.mark.parametrize(
    "best, epochs",
    [
        (0.221, 3),  # risen: 2 validations of patience
        (0.219, 11),  # not 1.1 times popularity's 0.2: five times as many
    ],
)
def test_no_training_stops_where_popularity_stands(toy, tmp_path, monkeypatch, best, epochs):
    validated(monkeypatch, [best, *[0.1] * 19], popularity=0.2)
    metrics = execute(prepare(lightgcn(patience=2, max_epochs=20), toy), tmp_path / "run")
    assert (metrics["best_epoch"], metrics["epochs"]) == (0, epochs)


def test_patience_runs_again_once_a_model_rises_above_popularity(toy, tmp_path, monkeypatch):
    validated(monkeypatch, [0.2, 0.1, 0.1, 0.1, 0.3, 0.1, 0.1, 0.9], popularity=0.2)
    metrics = execute(prepare(lightgcn(patience=2, max_epochs=20), toy), tmp_path / "run")
    assert (metrics["best_epoch"], metrics["epochs"]) == (4, 7)


def test_a_resume_file_of_an_earlier_release_is_a_line(tmp_path):
    keeper = KeepBest(tmp_path, None, Patience(2, 1, 1, lambda: 0.0))
    with pytest.raises(UserError, match=r"last.ckpt is of an earlier release: remove it"):
        keeper.load_state_dict({"best": 0.1, "level": 0.1, "best_epoch": 0, "waited": 0, "history": []})


def test_validation_follows_eval_every(toy, tmp_path):
    execute(prepare(lightgcn(eval_every=4), toy), tmp_path / "run")
    history = pd.read_csv(tmp_path / "run" / "history.csv")
    assert history["ndcg@20"].notna().tolist() == [False, False, False, True, False, True]


def test_the_loss_falls(toy, tmp_path):
    execute(prepare(lightgcn(), toy), tmp_path / "run")
    bpr = pd.read_csv(tmp_path / "run" / "history.csv")["bpr"]
    assert bpr.iloc[-1] < bpr.iloc[0] < np.log(2) + 1e-3


class Killed(BaseException):
    """Stands for SIGKILL inside one process: nothing of ours catches it."""


def test_what_is_kept_is_the_average_of_the_weights_over_steps(toy, tmp_path, monkeypatch):
    steps, real = [], TrainingModule.on_train_batch_end

    def recorded(self, *arguments):
        steps.append(self.model.user_table.detach().numpy().copy())
        real(self, *arguments)

    monkeypatch.setattr(TrainingModule, "on_train_batch_end", recorded)
    run = prepare(lightgcn(weight_average=0.9), toy)
    best = execute(run, tmp_path / "run")["best_epoch"]
    taken = steps[: (best + 1) * len(steps) // 6]
    average = taken[0]
    for weights in taken[1:]:
        average = 0.9 * average + 0.1 * weights
    np.testing.assert_allclose(run.model.user_table.detach().numpy(), average, atol=1e-5)
    assert np.abs(average - taken[-1]).max() > 1e-3


def test_columns_are_not_averaged(toy, tmp_path):
    run = prepare(lightgcn(weight_average=0.9), toy)
    with pytest.raises(UserError, match="weight_average needs whole tables"):
        train(run.model, run.train_settings, tmp_path, None, 0, distributed=Distributed(devices=2))


def test_a_model_that_averages_its_weights_itself_does_not_twice(toy, tmp_path):
    config = RunConfig(model="aff", dataset="toy", settings={"weight_average": 0.9, "max_epochs": 1})
    with pytest.raises(UserError, match="averages its weights itself"):
        execute(prepare(config, toy), tmp_path / "run")


@pytest.mark.parametrize("average", [0.0, 0.9])
@pytest.mark.parametrize(
    "moment",
    ["before the resume file", "after the resume file", "in a step", "long after writing", "before the test"],
)
def test_a_killed_run_resumes_and_ends_with_the_same_metrics(toy, tmp_path, monkeypatch, moment, average):
    whole = execute(prepare(lightgcn(weight_average=average), toy), tmp_path / "whole")
    with monkeypatch.context() as patch:
        patch.setattr(
            "recsys.training.keeping.WRITE_EVERY", math.inf if moment == "long after writing" else 0
        )
        if moment in ("in a step", "long after writing"):
            step = LightGCN.loss
            calls = iter(range(10**6))
            patch.setattr(LightGCN, "loss", lambda self, b: _kill() if next(calls) == 14 else step(self, b))
        elif moment == "before the test":
            patch.setattr("recsys.runs.run.save_config", lambda *a: None)
            patch.setattr("recsys.runs.run.reported_figures", lambda *a: _kill())
        else:
            save = AtomicCheckpointIO.save_checkpoint
            calls = iter(range(10**6))

            def save_then_die(self, *args, **kwargs):
                last = next(calls) == 3
                if last and moment.startswith("before"):
                    _kill()
                save(self, *args, **kwargs)
                if last:
                    _kill()

            patch.setattr(AtomicCheckpointIO, "save_checkpoint", save_then_die)
        with pytest.raises(Killed):
            execute(prepare(lightgcn(weight_average=average), toy), tmp_path / "killed")
    assert not (tmp_path / "killed" / "metrics.json").exists()
    run = prepare(lightgcn(weight_average=average), toy)
    resumed = execute(run, tmp_path / "killed", resume=True)
    for key in ("test", "test_head", "best", "best_epoch", "epochs"):
        assert resumed[key] == whole[key], key
    histories = [
        pd.read_csv(tmp_path / n / "history.csv").drop(columns="seconds") for n in ("whole", "killed")
    ]
    pd.testing.assert_frame_equal(*histories)


def _kill():
    raise Killed


def test_between_writings_the_best_weights_wait_in_memory(toy, tmp_path, monkeypatch):
    """Whatever is written in between, the same is left; of epochs that are not written only the last leaves a file."""
    written, save = [], AtomicCheckpointIO.save_checkpoint

    def noted(self, checkpoint, path, storage_options=None):
        written.append(checkpoint["epoch"])
        save(self, checkpoint, path)

    monkeypatch.setattr(AtomicCheckpointIO, "save_checkpoint", noted)
    kept = {}
    for every in (0, math.inf):
        monkeypatch.setattr("recsys.training.keeping.WRITE_EVERY", every)
        execute(prepare(lightgcn(eval_every=2), toy), tmp_path / str(every))
        # Not the bytes: the file's header has no fixed order.
        kept[every] = checksum(read_arrays(tmp_path / str(every), "LightGCN"))
    assert written == [0, 1, 2, 3, 4, 5, 0, 5]
    assert kept[0] == kept[math.inf]


def test_a_training_that_a_callback_ends_is_written(toy, tmp_path, monkeypatch):
    class Enough(pl.Callback):
        def on_train_batch_start(self, trainer, module, batch, index):
            trainer.should_stop = trainer.current_epoch == 2

    monkeypatch.setattr("recsys.training.keeping.WRITE_EVERY", math.inf)
    run = prepare(lightgcn(), toy)
    values = iter([0.1, 0.2, 0.3])
    train(run.model, run.train_settings, tmp_path, lambda model: next(values), 0, callbacks=(Enough(),))
    assert len(pd.read_csv(tmp_path / "history.csv")) == 3
    fresh = prepare(lightgcn(), toy).model
    load_model(fresh, tmp_path)
    assert torch.equal(fresh.user_table, run.model.user_table)


def test_ctrl_c_leaves_a_run_that_goes_on(toy, tmp_path, monkeypatch):
    step, calls = LightGCN.loss, iter(range(10**6))
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it

    def interrupted(self, batch):
        if next(calls) == 14:
            signal.raise_signal(signal.SIGINT)
        return step(self, batch)

    whole = execute(prepare(lightgcn(), toy), tmp_path / "whole")
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(LightGCN, "loss", interrupted)
        execute(prepare(lightgcn(), toy), tmp_path / "run")
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert execute(prepare(lightgcn(), toy), tmp_path / "run", resume=True)["test"] == whole["test"]


def test_resuming_a_finished_run_changes_nothing(toy, tmp_path):
    first = execute(prepare(lightgcn(), toy), tmp_path / "run")
    before = {p.name: p.stat().st_mtime_ns for p in (tmp_path / "run").iterdir()}
    again = execute(prepare(lightgcn(), toy), tmp_path / "run", resume=True)
    assert json.loads(json.dumps(first)) == again
    assert before == {p.name: p.stat().st_mtime_ns for p in (tmp_path / "run").iterdir()}


def test_resuming_with_other_settings_is_refused(toy, tmp_path):
    execute(prepare(lightgcn(), toy), tmp_path / "run")
    with pytest.raises(UserError, match="holds a run with other settings: settings is"):
        execute(prepare(lightgcn(layers=1), toy), tmp_path / "run", resume=True)


def test_a_folder_in_use_is_refused(toy, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(UserError, match="is not empty"):
        execute(prepare(lightgcn(), toy), tmp_path)


def test_a_resume_file_that_is_no_resume_file(toy, tmp_path):
    (tmp_path / "last.ckpt").write_bytes(b"\x80\x04garbage")
    with pytest.raises(UserError, match="is not a resume file"):
        execute(prepare(lightgcn(), toy), tmp_path, resume=True)


def test_resume_files_admit_no_other_class(tmp_path):
    torch.save({"path": tmp_path}, tmp_path / "last.ckpt")
    with pytest.raises(UserError, match="is not a resume file"):
        AtomicCheckpointIO().load_checkpoint(tmp_path / "last.ckpt")


def interrupted_before_the_test(config, data, folder, monkeypatch):
    """A run that is trained and not tested."""
    with monkeypatch.context() as patch:
        patch.setattr("recsys.runs.run._tested", lambda run: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            execute(prepare(config, data), folder)


def test_a_resume_file_is_kept_until_the_run_is_finished_and_no_longer(toy, tmp_path, monkeypatch):
    config = lightgcn(max_epochs=2)
    interrupted_before_the_test(config, toy, tmp_path / "run", monkeypatch)
    assert (tmp_path / "run" / "last.ckpt").exists()
    figures = execute(prepare(config, toy), tmp_path / "run", resume=True)
    assert not (tmp_path / "run" / "last.ckpt").exists()
    again = prepare(config, toy)
    assert execute(again, tmp_path / "run", resume=True) == figures and not again.trained


def test_a_full_disk_keeps_the_checkpoint_before(toy, tmp_path, monkeypatch):
    interrupted_before_the_test(lightgcn(max_epochs=2), toy, tmp_path / "run", monkeypatch)
    kept = {n: (tmp_path / "run" / n).read_bytes() for n in ("last.ckpt", "model.safetensors")}

    def full(path):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(UserError, match="no space left to write"):
        AtomicCheckpointIO().save_checkpoint({"a": 1}, tmp_path / "run" / "last.ckpt")
    with pytest.raises(UserError, match="no space left to write"):
        execute(prepare(lightgcn(max_epochs=2), toy), tmp_path / "run", resume=True)
    assert kept == {n: (tmp_path / "run" / n).read_bytes() for n in kept}
    assert not [p for p in (tmp_path / "run").iterdir() if p.name.startswith(".")]


def test_a_loss_that_diverges_ends_in_one_line(toy, tmp_path, monkeypatch):
    monkeypatch.setattr(LightGCN, "loss", lambda self, b: {"bpr": self.user_table.sum() * float("nan")})
    with pytest.raises(UserError, match="not finite in epoch 0"):
        execute(prepare(lightgcn(), toy), tmp_path / "run")


def test_a_saved_model_that_does_not_fit_is_refused(toy):
    small = prepare(lightgcn(width=4), toy).model
    with pytest.raises(UserError, match="'user_table' is missing or has another shape"):
        prepare(lightgcn(), toy).model.load_arrays(small.arrays())


def test_a_run_is_kept_whole_and_loads_again(toy, tmp_path):
    convert(toy, tmp_path / "data" / "toy")
    config = RunConfig(
        model="lightgcn", dataset="toy", split="random", settings=SETTINGS, data_root=str(tmp_path / "data")
    )
    run = prepare(config)
    metrics = execute(run, tmp_path / "run")
    loaded = load_run(tmp_path / "run")
    users = np.arange(toy.n_users)
    np.testing.assert_array_equal(loaded.model.scorer()(users), run.model.scorer()(users))
    assert loaded.config == run.config
    per_user = pd.read_parquet(tmp_path / "run" / "per_user.parquet")
    overall = per_user[per_user["group"] == "overall"]
    assert overall["ndcg@20"].mean() == pytest.approx(metrics["test"]["ndcg@20"])
    environment = json.loads((tmp_path / "run" / "environment.json").read_text())
    assert environment["packages"]["torch"] == torch.__version__


def test_diagnostics_are_noted_at_each_validation_and_change_no_figure(toy, tmp_path):
    settings = {"width": 8, "max_epochs": 4, "batch_size": 64, "eval_every": 2}
    config = RunConfig(model="vbpr", dataset="toy", settings=settings)
    plain = execute(prepare(config, toy), tmp_path / "plain")
    config = config.model_copy(update={"settings": settings | {"diagnostics": True}})
    run = prepare(config, toy)
    told = execute(run, tmp_path / "told")
    assert told["test"] == plain["test"] and told["best"] == plain["best"]
    history = pd.read_csv(tmp_path / "told" / "history.csv")
    columns = [name for name in history if name.startswith("embedding_")]
    assert columns == [
        "embedding_alignment",
        "embedding_uniformity_users",
        "embedding_uniformity_items",
        "embedding_effective_rank_users",
        "embedding_effective_rank_items",
        "embedding_modality_gap_image_tags",
    ]
    for name in columns:
        assert history[name].notna().tolist() == [False, True, False, True]
    if told["best_epoch"] == 3:  # the weights that the last validation saw
        vectors, (users, items) = run.model(), run.data.interactions.nonzero()
        expected = alignment(vectors.users[users], vectors.items[items])
        assert history["embedding_alignment"].iloc[-1] == pytest.approx(float(expected.detach()), rel=1e-4)
    again = execute(prepare(config, toy), tmp_path / "plain", resume=True)
    assert again["test"] == plain["test"], "a run goes on whatever is noted"


LOGGERS = {"tensorboard": "TensorBoardLogger", "mlflow": "MLFlowLogger"}


def curves_of_tensorboard(folder):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder / "tensorboard")).Reload()
    return {name: [e.value for e in events.Scalars(name)] for name in events.Tags()["scalars"]}


def curves_of_mlflow(folder):
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")
    (run,) = client.search_runs([e.experiment_id for e in client.search_experiments()])
    return {
        name: [m.value for m in client.get_metric_history(run.info.run_id, name)] for name in run.data.metrics
    }


@pytest.mark.parametrize("logger", ["tensorboard", "mlflow"])
def test_curves_go_to_other_loggers_too(logger, toy, tmp_path):
    pytest.importorskip(logger, reason=f"needs the extra {logger}")
    config = lightgcn(max_epochs=3, logger=logger)
    execute(prepare(config, toy), tmp_path / "run")
    curves = globals()[f"curves_of_{logger}"](tmp_path / "run")
    history = pd.read_csv(tmp_path / "run" / "history.csv")
    for name in ("bpr", "l2", "ndcg@20"):
        # mlflow admits no @ in a name
        assert curves[name if name in curves else name.replace("@", "")] == pytest.approx(
            history[name].tolist(), rel=1e-5
        )


@pytest.mark.parametrize("logger", ["tensorboard", "mlflow"])
def test_a_logger_s_missing_package_is_named(logger, toy, tmp_path, monkeypatch):
    def missing(*arguments, **options):
        raise ModuleNotFoundError("no such package")

    monkeypatch.setattr(f"recsys.training.loop.pl.loggers.{LOGGERS[logger]}", missing)
    with pytest.raises(UserError, match=rf"pip install 'recsys\[{logger}\]'"):
        execute(prepare(lightgcn(max_epochs=1, logger=logger), toy), tmp_path / "run")


@pytest.mark.parametrize(("share", "entered"), [(0.99, 0), (1.01, 1)])
def test_freed_memory_is_kept_where_there_is_room_for_gaps(toy, tmp_path, monkeypatch, share, entered):
    """Gaps between kept pieces may take a quarter more: it takes 32 times the parameters' memory."""
    run, pieces = prepare(lightgcn(max_epochs=1), toy), []

    @contextmanager
    def kept(largest):
        pieces.append(largest)
        yield

    sizes = [parameter.nbytes for parameter in run.model.parameters()]
    monkeypatch.setattr("recsys.training.loop.available", lambda: int(share * 32 * sum(sizes)))
    monkeypatch.setattr("recsys.training.loop.kept", kept)
    execute(run, tmp_path / "run")
    assert pieces == [max(sizes)] * entered
