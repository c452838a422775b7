"""One training by several processes: the figures of one, and mistakes that end in one line."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
import torch

from recsys.datasets.convert import convert
from recsys.errors import UserError
from recsys.inputs.sampler import Batch
from recsys.runs.config import RunConfig
from recsys.runs.run import execute, prepare
from recsys.training.distributed import Distributed

SETTINGS = {"width": 8, "max_epochs": 3, "batch_size": 7001, "learning_rate": 0.02}


def test_shares_of_a_batch():
    rows = torch.arange(5)
    batch = Batch(rows, rows + 10, rows.unsqueeze(1) + 20)
    parts = [batch.share(rank, 3) for rank in range(3)]
    assert [p.users.tolist() for p in parts] == [[0, 3], [1, 4], [2]]
    assert [p.negatives.tolist() for p in parts] == [[[20], [23]], [[21], [24]], [[22]]]
    assert [p.weight for p in parts] == [2 / 5, 2 / 5, 1 / 5] and {p.size for p in parts} == {batch.size} == {
        5
    }
    empty = batch.share(5, 6)
    assert (empty.users.tolist(), empty.weight) == ([0], 0.0)
    assert empty.to("cpu") == empty or empty.to("cpu").whole == 5


@pytest.mark.parametrize("command", [["run.py"], pytest.param(["-m", "recsys"], marks=pytest.mark.slow)])
def test_two_processes_give_the_figures_of_one(command, tmp_path, monkeypatch):
    """Two processes of gloo on this machine, each with half of every batch, to 1e-4."""
    pytest.importorskip("recbole", reason="the embedded data set comes inside the recbole wheel")
    config = RunConfig(model="lightgcn", dataset="ml-100k", settings=SETTINGS, device="cpu")
    one = execute(prepare(config), tmp_path / "one")
    # Where the data sets lie is no part of the comparison, though config.yaml records it.
    monkeypatch.delenv("RECSYS_DATA", raising=False)
    root = Path(__file__).parents[3]
    arguments = ["train", "--model", "lightgcn", "--device", "cpu", "--devices", "2", "--strategy", "ddp"]
    arguments += [a for key, value in SETTINGS.items() for a in ("--set", f"{key}={value}")]
    told = subprocess.run(
        [sys.executable, *command, *arguments, "--out", str(tmp_path / "two")],
        cwd=root,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        check=True,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert told.stderr == "" and told.stdout.count("run kept in") == 1
    two = json.loads((tmp_path / "two" / "metrics.json").read_text())
    groups = [key for key in one if key.startswith("test") and isinstance(one[key], dict)]
    assert len(groups) >= 4 and one["epochs"] == two["epochs"] == 3
    for group in groups:
        assert two[group] == pytest.approx(one[group], abs=1e-4)
    columns = ["epoch", "bpr", "l2", "ndcg@20"]
    histories = [pd.read_csv(tmp_path / name / "history.csv")[columns] for name in ("one", "two")]
    pd.testing.assert_frame_equal(*histories, rtol=1e-4)
    record = json.loads((tmp_path / "two" / "environment.json").read_text())
    assert record["processes"] == 2
    assert (tmp_path / "two" / "config.yaml").read_text() == (tmp_path / "one" / "config.yaml").read_text()


@pytest.mark.slow
def test_a_process_killed_in_the_middle_ends_in_one_line_and_the_training_goes_on(toy, tmp_path):
    psutil = pytest.importorskip("psutil", reason="finds the process to kill")
    convert(toy, tmp_path / "data" / "toy")
    settings = {"width": 4, "max_epochs": 400, "patience": 400, "batch_size": 64}
    command = [
        sys.executable,
        "-m",
        "recsys",
        "train",
        "--model",
        "lightgcn",
        "--dataset",
        "toy",
    ]
    command += [
        "--split",
        "random",
        "--data-root",
        str(tmp_path / "data"),
        "--device",
        "cpu",
        "--devices",
        "2",
    ]
    command += [a for key, value in settings.items() for a in ("--set", f"{key}={value}")]
    command += ["--out", str(tmp_path / "run")]
    env = os.environ | {"OMP_NUM_THREADS": "1"}
    leader = subprocess.Popen(command, env=env, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    deadline = time.monotonic() + 300
    while (
        not (tmp_path / "run" / "last.ckpt").exists()
        and time.monotonic() < deadline
        and leader.poll() is None
    ):
        time.sleep(0.02)
    (other,) = psutil.Process(leader.pid).children()
    other.kill()
    _, err = leader.communicate(timeout=60)
    assert leader.returncode == 2 and err.count("\n") == 1
    assert "lost another process of this training" in err and "--resume" in err
    assert not (tmp_path / "run" / "metrics.json").exists()
    subprocess.run([*command, "--resume"], env=env, check=True, stdout=subprocess.DEVNULL, timeout=200)
    two = json.loads((tmp_path / "run" / "metrics.json").read_text())
    config = RunConfig(model="lightgcn", dataset="toy", split="random", settings=settings, device="cpu")
    one = execute(prepare(config, toy), tmp_path / "one")
    assert two["epochs"] == one["epochs"] == 400
    assert two["best"] == pytest.approx(one["best"], abs=0.02)  # rounding adds up over 400 epochs


def test_a_worker_of_a_cluster_that_trains_alone_writes_its_files(toy, tmp_path, monkeypatch):
    """Slurm numbers the tasks of `srun recsys scan`; task 3 is no part of a training by four."""
    for name, value in {
        "SLURM_JOB_NAME": "scan",
        "SLURM_NTASKS": "4",
        "SLURM_NTASKS_PER_NODE": "4",
        "SLURM_PROCID": "3",
        "SLURM_LOCALID": "3",
        "SLURM_NODEID": "0",
        "SLURM_JOB_ID": "7",
    }.items():
        monkeypatch.setenv(name, value)
    from pytorch_lightning.utilities import rank_zero_only

    monkeypatch.setattr(rank_zero_only, "rank", 3)  # what pytorch-lightning takes from them on import
    config = RunConfig(model="lightgcn", dataset="toy", settings={"width": 4, "max_epochs": 2})
    assert execute(prepare(config, toy), tmp_path / "run")["epochs"] == 2
    assert (tmp_path / "run" / "model.safetensors").exists() and rank_zero_only.rank == 0


def test_a_gpu_is_asked_for_by_number():
    assert Distributed().trainer_options("cuda:1")["devices"] == [1]
    assert Distributed().trainer_options("cuda:1")["accelerator"] == "cuda"
    several = Distributed(2, 3).trainer_options("cuda")
    assert (several["devices"], several["num_nodes"]) == (2, 3) and Distributed(2, 3).processes == 6
    with pytest.raises(UserError, match="with --devices 2 give --device cuda"):
        Distributed(2).trainer_options("cuda:1")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Distributed(0), "--devices 0: expected 1 or more"),
        (lambda: Distributed(1, 0), "--num-nodes 0: expected 1 or more"),
        (lambda: Distributed(2, strategy="fsdp"), "--strategy fsdp: expected auto, columns, ddp"),
        (lambda: Distributed(2).check("bm3"), "bm3 cannot be trained by several processes.*lightgcn"),
        (lambda: Distributed(2).check("ease"), "ease cannot be trained by several processes"),
        pytest.param(
            lambda: Distributed(2).rank("cuda"),
            "--devices 2: ",
            marks=pytest.mark.skipif(torch.cuda.device_count() > 1, reason="there are two GPUs"),
        ),
    ],
)
def test_what_cannot_be_is_one_line(make, message):
    with pytest.raises(UserError, match=message) as told:
        make()
    assert "\n" not in str(told.value)


def test_one_process_trains_whatever_model():
    Distributed().check("bm3")
    assert Distributed().rank("cuda") == 0
