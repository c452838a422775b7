"""One training by processes that divide the columns: the weights and figures of one, and mistakes in one line."""

import json
import os
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from recsys.datasets.convert import convert
from recsys.errors import UserError
from recsys.models.base import Model
from recsys.models.columns import Columns
from recsys.runs.config import RunConfig
from recsys.runs.run import execute, prepare
from recsys.training.columns import cut
from recsys.training.distributed import Distributed

SETTINGS = {"width": 8, "max_epochs": 4, "batch_size": 101, "learning_rate": 0.02}
SCRIPT = """
import sys
from recsys.errors import UserError
from recsys.runs.config import RunConfig
from recsys.runs.run import execute, prepare
from recsys.training.distributed import Distributed
from recsys.training.module import TrainingModule
from pathlib import Path

config, folder, devices, stop = sys.argv[1:]
begin = TrainingModule.on_train_epoch_start


def begin_or_stop(self):
    if self.current_epoch == int(stop):
        raise UserError("stopped here")
    begin(self)


TrainingModule.on_train_epoch_start = begin_or_stop
run = prepare(RunConfig.model_validate_json(config))
execute(run, Path(folder), resume=True, distributed=Distributed(int(devices), strategy="auto"))
"""


def config_of(model, toy, tmp_path):
    card = tmp_path / "data" / "toy" / "card.yaml"
    if not card.exists():
        convert(toy, card.parent)
    return RunConfig(model=model, dataset=str(card), split="random", settings=SETTINGS, device="cpu")


def in_processes(config, folder, devices, stop=-1):
    """What a training by so many processes says where it stops before epoch `stop`."""
    script = folder.parent / "script.py"
    script.write_text(SCRIPT)
    command = [sys.executable, str(script), config.model_dump_json(), str(folder), str(devices), str(stop)]
    env = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=300)
    assert (done.returncode == 0) == (stop < 0), done.stderr
    return done.stderr


def check_same(folder, other):
    arrays, others = (load_file(path / "model.safetensors") for path in (folder, other))
    assert arrays.keys() == others.keys()
    for name, array in arrays.items():
        # A bias drops out of FREEDOM's differences of scores: its gradient is rounding alone, which Adam blows up.
        torch.testing.assert_close(array, others[name], rtol=0, atol=1e-3 if name.endswith("bias") else 1e-5)
    metrics = [json.loads((path / "metrics.json").read_text()) for path in (folder, other)]
    assert metrics[0]["epochs"] == metrics[1]["epochs"] == 4
    for group in (key for key in metrics[0] if key.startswith("test") and isinstance(metrics[0][key], dict)):
        assert metrics[1][group] == pytest.approx(metrics[0][group], abs=1e-6)
    histories = [pd.read_csv(path / "history.csv").drop(columns="seconds") for path in (folder, other)]
    pd.testing.assert_frame_equal(*histories, rtol=1e-5)


@pytest.mark.parametrize(
    "model", ["lightgcn", *(pytest.param(name, marks=pytest.mark.slow) for name in ("freedom", "bpr"))]
)
def test_two_processes_give_the_weights_of_one(model, toy, tmp_path):
    config = config_of(model, toy, tmp_path)
    execute(prepare(config), tmp_path / "one")
    in_processes(config, tmp_path / "two", 2)
    check_same(tmp_path / "one", tmp_path / "two")
    assert json.loads((tmp_path / "two" / "environment.json").read_text())["processes"] == 2


@pytest.mark.parametrize(("first", "then"), [(2, 1), pytest.param(1, 2, marks=pytest.mark.slow)])
def test_a_training_goes_on_with_another_number_of_processes(first, then, toy, tmp_path):
    config = config_of("lightgcn", toy, tmp_path)
    execute(prepare(config), tmp_path / "one")
    assert "stopped here" in in_processes(config, tmp_path / "other", first, stop=2)
    state = torch.load(tmp_path / "other" / "last.ckpt", weights_only=True)
    shapes = {key: tuple(value.shape) for key, value in state["state_dict"].items()}
    assert shapes == {"model.user_table": (toy.n_users, 8), "model.item_table": (toy.n_items, 8)}
    moments = state["optimizer_states"][0]["state"]
    assert sorted(tuple(m["exp_avg_sq"].shape) for m in moments.values()) == sorted(shapes.values())
    if then == 1:
        execute(prepare(config), tmp_path / "other", resume=True)
    else:
        in_processes(config, tmp_path / "other", then)
    check_same(tmp_path / "one", tmp_path / "other")


def test_a_share_is_a_block_of_columns_and_of_one_process_all():
    table = torch.arange(12.0).view(2, 6)
    assert [Columns(rank, 3).share(table, 1).tolist() for rank in range(3)] == [
        [[0, 1], [6, 7]],
        [[2, 3], [8, 9]],
        [[4, 5], [10, 11]],
    ]
    assert Columns(1, 2).share(table, 0).tolist() == [[6, 7, 8, 9, 10, 11]]
    (alone,) = Columns().sum(table)
    assert alone is table


def test_whether_columns_are_divided():
    """`auto` divides columns where it can, and batches where it cannot."""

    class Of(Model):
        def __init__(self, width, by_columns):
            torch.nn.Module.__init__(self)
            self.settings = type("Settings", (), {"width": width})
            self.trains_by_columns = by_columns

    assert Distributed(2).by_columns(Of(8, True)) and Distributed(2, 2, "columns").by_columns(Of(8, True))
    assert not Distributed(2).by_columns(Of(7, True)) and not Distributed(2).by_columns(Of(8, False))
    assert not Distributed(1).by_columns(Of(8, True))
    assert not Distributed(2, strategy="ddp").by_columns(Of(8, True))


@pytest.mark.parametrize(
    ("model", "settings"),
    [
        ("lightgcn", {"backbone": "ngcf"}),
        ("lightgcn", {"objectives.extra": [{"objective": "infonce"}]}),
        ("lightgcn", {"objectives.log_gradients": True}),
        ("lightgcn", {"objectives.harmonise": ["bpr", "l2"]}),
        ("freedom", {"features": "trained"}),
        ("simgcl", {}),
    ],
)
def test_settings_that_read_whole_vectors_are_refused_in_one_line(model, settings, toy):
    built = prepare(RunConfig(model=model, dataset="toy", split="random", settings=settings), toy).model
    with pytest.raises(
        UserError, match=f"{model} cannot be divided by columns.*bpr, freedom, lightgcn"
    ) as told:
        Distributed(2, strategy="columns").check(model, built)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize(
    ("model", "strategy", "message"),
    [
        ("lightgcn", "columns", "width 8 cannot be divided by 3 .*a multiple of 3, or use --strategy ddp"),
        ("freedom", "auto", "width 8 cannot be divided by 3 processes; set a width that is a multiple of 3$"),
        ("freedom", "ddp", "not a mean over the rows of a batch; use --devices 1 .or --strategy columns."),
        ("mmhcl", "columns", "mmhcl cannot be divided by columns.*use --strategy ddp, or one of bpr"),
    ],
)
def test_what_cannot_be_divided_is_refused_in_one_line(model, strategy, message, toy):
    built = prepare(RunConfig(model=model, dataset="toy", split="random", settings={"width": 8}), toy).model
    with pytest.raises(UserError, match=message) as told:
        Distributed(3, strategy=strategy).check(model, built)
    assert "\n" not in str(told.value)


def test_a_parameter_without_columns_is_told_by_name(toy):
    model = prepare(RunConfig(model="bpr", dataset="toy", split="random", settings={"width": 8}), toy).model
    model.temperature = torch.nn.Parameter(torch.ones(()))
    with pytest.raises(UserError, match=r"BPR says .* leaves out 'temperature'"):
        cut(model, Columns(0, 2))


def test_a_model_that_is_cut_is_as_wide_as_its_share(toy):
    model = prepare(
        RunConfig(model="lightgcn", dataset="toy", split="random", settings={"width": 8}), toy
    ).model
    users = model().users.detach().numpy()
    cut(model, Columns(1, 2))
    np.testing.assert_allclose(model().users.detach().numpy(), users[:, 4:], rtol=1e-6)
