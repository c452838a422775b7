"""Cells and scans on a Dask cluster: a worker killed in the middle, and addresses that do not answer."""

import io
import json
import multiprocessing
import os
import signal
import threading
import time

import pandas as pd
import pytest
import yaml
from rich.console import Console

from recsys.errors import UserError
from recsys.experiments import cluster
from recsys.experiments.bench import on_cluster
from recsys.experiments.bench.config import load_datasets, make_jobs, read_experiment
from recsys.experiments.bench.jobs import Outcome, run_job
from recsys.experiments.bench.runner import BenchOptions, Progress, run_bench

LocalCluster = pytest.importorskip("distributed", reason="needs the extra dask").LocalCluster
EPOCHS = 40
LONG = {"model": "lightgcn", "settings": {"width": 4, "max_epochs": EPOCHS, "patience": EPOCHS}}


def cells_of(root, folder, **changes):
    path = folder / "toys.yaml"
    path.write_text(
        yaml.safe_dump({"models": {"long": LONG}, "datasets": ["toy"], "splits": ["random"]} | changes)
    )
    datasets = load_datasets(["toy"], str(root))
    return make_jobs(read_experiment(path), datasets, folder / "out", data_root=str(root))


def test_a_worker_killed_in_the_middle_costs_no_cell(root, tmp_path):
    cells = cells_of(root, tmp_path, seeds=[0, 1])
    killed = []

    def kill_the_worker():
        while not killed:
            time.sleep(0.02)
            if any((cell.folder / "last.ckpt").exists() for cell in cells):
                killed.append(multiprocessing.active_children()[0].pid)
                os.kill(killed[0], signal.SIGKILL)

    thread = threading.Thread(target=kill_the_worker)
    thread.start()
    outcomes = list(on_cluster.on_dask(cells, "local:1"))
    thread.join()
    assert sorted(c.name for c, _ in outcomes) == sorted(c.name for c in cells)
    assert [outcome.error for _, outcome in outcomes] == ["", ""]
    for cell in cells:
        assert pd.read_csv(cell.folder / "history.csv")["epoch"].tolist() == list(range(EPOCHS))
        assert json.loads((cell.folder / "metrics.json").read_text())["epochs"] == EPOCHS


@pytest.mark.parametrize(
    "address", ["tcp://127.0.0.1:1", "nowhere.invalid:8786", "local:x", "local:0", "ftp://x"]
)
def test_addresses_that_do_not_answer_end_in_one_line(recsys, tmp_path, monkeypatch, address):
    monkeypatch.setattr(cluster, "ANSWER_WITHIN", 0.5)
    path = tmp_path / "toys.yaml"
    path.write_text(yaml.safe_dump({"models": ["pop"], "datasets": ["toy"]}))
    status, _, err = recsys("bench", path, "--dask", address, "--out", "out")
    assert status == 2 and err.count("\n") == 1 and err.startswith("recsys: ") and address in err
    assert "local:N" in err
    (tmp_path / "scan.yaml").write_text(yaml.safe_dump({"run": {"model": "itemknn", "dataset": "toy"}}))
    status, _, err = recsys("scan", "scan.yaml", "--dask", address, "--out", "scan")
    assert status == 2 and err.count("\n") == 1 and address in err


@pytest.fixture
def threads():
    """A scheduler with one worker in this process: its address."""
    with LocalCluster(1, threads_per_worker=1, processes=False, dashboard_address=None) as here:
        yield here.scheduler_address


def test_a_worker_that_writes_elsewhere_is_told(root, tmp_path, monkeypatch, threads):
    monkeypatch.setattr(on_cluster, "_job", lambda cell: Outcome("", 1.0))
    with pytest.raises(UserError, match="give --out a folder that all machines share"):
        list(on_cluster.on_dask(cells_of(root, tmp_path), threads))


def test_a_full_disk_on_a_worker_ends_in_one_line(root, tmp_path, monkeypatch, threads):
    def full(cell):
        raise UserError("no space left to write x")

    monkeypatch.setattr(on_cluster, "_job", full)
    with pytest.raises(UserError, match="no space left to write x"):
        list(on_cluster.on_dask(cells_of(root, tmp_path), threads))


def test_a_scheduler_lost_in_the_middle_ends_in_one_line_and_keeps_finished_cells(
    root, tmp_path, monkeypatch
):
    path = tmp_path / "toys.yaml"
    path.write_text(
        yaml.safe_dump({"models": ["pop"], "datasets": ["toy"], "splits": ["random"], "seeds": [0, 1]})
    )
    options = {"out": tmp_path / "out", "data_root": str(root)}
    console = Console(file=io.StringIO())
    done = Progress.done

    with LocalCluster(1, threads_per_worker=1, processes=False, dashboard_address=None) as here:

        def lose(self, cell, outcome):
            done(self, cell, outcome)
            threading.Thread(target=here.close).start()

        with monkeypatch.context() as patch:
            patch.setattr(on_cluster, "_job", lambda cell: (time.sleep(0.5), run_job(cell))[1])
            patch.setattr(Progress, "done", lose)
            with pytest.raises(UserError, match=r"lost the Dask scheduler at .*; what is finished stays"):
                run_bench(str(path), BenchOptions(dask=here.scheduler_address, **options), console)
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "out").rglob("metrics.json")}
    assert before
    assert len(run_bench(str(path), BenchOptions(**options), console)["tables"][0]["rows"]) == 1
    after = {p: p.stat().st_mtime_ns for p in (tmp_path / "out").rglob("metrics.json")}
    assert len(after) == 2 and before.items() <= after.items()


def test_a_scan_runs_on_the_cluster(recsys, tmp_path, threads):
    file = {"run": {"model": "itemknn", "dataset": "toy"}, "search": {"k": [2, 4, 8]}, "sampler": "grid"}
    (tmp_path / "scan.yaml").write_text(yaml.safe_dump(file))
    status, out, _ = recsys("scan", "scan.yaml", "--out", "scan", "--dask", threads)
    assert status == 0 and "[3/3]" in out and "3 complete, 0 pruned, 0 failed" in out
    assert yaml.safe_load((tmp_path / "scan" / "best.yaml").read_text())["k"] in (2, 4, 8)
