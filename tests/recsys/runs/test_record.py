"""What a run's folder tells of commit, machine, and what the run took."""

import json
import os
import shutil
import subprocess
import sys
import time

import numpy as np
import pytest

from recsys.runs.artifacts import ENVIRONMENT_FILE
from recsys.runs.config import RunConfig
from recsys.runs.record import Usage, commit, hardware, peak_memory, usage
from recsys.runs.run import execute, prepare


def git(folder, *arguments):
    command = ["git", "-C", str(folder), "-c", "user.name=a", "-c", "user.email=a@example.org", *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def package(tmp_path):
    """A package in a checkout of its own."""
    if not shutil.which("git"):
        pytest.skip("git is not there")
    folder = tmp_path / "repo" / "package"
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text("x = 1\n")
    (folder / "README.md").write_text("one\n")
    git(folder, "init", "-q")
    git(folder, "add", ".")
    git(folder, "commit", "-q", "-m", "first")
    commit.cache_clear()
    yield folder
    commit.cache_clear()


def test_the_commit_and_whether_code_has_changed_since(package):
    head = git(package, "rev-parse", "HEAD")
    assert len(head) == 40 and commit(package) == head
    commit.cache_clear()
    (package / "README.md").write_text("two\n")
    assert commit(package) == head
    commit.cache_clear()
    (package / "__init__.py").write_text("x = 2\n")
    assert commit(package) == f"{head}-dirty"


def test_a_package_installed_below_a_checkout_has_no_commit(package, tmp_path, monkeypatch):
    inside = package / "venv" / "other"
    inside.mkdir(parents=True)
    (inside / "__init__.py").write_text("")
    assert commit(inside) is None and commit(tmp_path) is None
    monkeypatch.setenv("PATH", "")
    commit.cache_clear()
    assert commit(package) is None


def test_usage_counts_from_where_it_was_told(monkeypatch):
    since = Usage.now()
    end = time.process_time() + 0.2
    while time.process_time() < end:
        pass
    used = usage(since)
    assert 0.15 < used["cpu_seconds"] < 5 and used["wall_seconds"] >= 0.15
    child = Usage.now()
    subprocess.run(["python3", "-c", "sum(range(10**7))"], check=True)
    assert usage(child)["cpu_seconds"] > 0.03, "children count"


def test_peak_memory_is_the_process_s_own_and_not_its_parent_s():
    held = np.ones(2**26)
    asked = "from recsys.runs.record import peak_memory; print(peak_memory())"
    told = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True).stdout
    assert 20 < float(told) < peak_memory() - held.nbytes / 2**20 / 2


def test_peak_memory_grows_by_what_is_taken():
    before = peak_memory()
    taken = np.ones(round(before + 64) * 2**17)  # so many MiB of 8-byte numbers: a peak whatever was before
    assert before + 32 < peak_memory() < 10 * (before + 64) and taken[-1] == 1


def test_hardware_is_named():
    found = hardware()
    assert found["cores"] == os.cpu_count() and found["memory_gib"] > 0.1 and isinstance(found["gpus"], list)
    assert found["cpu"] or found["machine"]


def test_a_run_records_itself(toy, tmp_path, monkeypatch):
    monkeypatch.setattr("recsys.runs.record.commit", lambda: "abc-dirty")
    metrics = execute(prepare(RunConfig(model="pop", dataset="toy"), toy), tmp_path / "run")
    record = json.loads((tmp_path / "run" / ENVIRONMENT_FILE).read_text())
    assert record["commit"] == "abc-dirty" and record["processes"] == 1
    assert {"python", "packages", "threads", "data_sha256", "split_sha256"} <= record.keys()
    assert record["hardware"] == hardware()
    used = record["usage"]
    assert used["wall_seconds"] >= metrics["timing"]["total"] * 0.5 and used["cpu_seconds"] > 0
    assert used["peak_memory_mib"] == pytest.approx(peak_memory(), rel=0.2)


@pytest.mark.parametrize("model", ["freedom", "mmhcl"])
def test_a_run_keeps_the_recall_of_its_approximate_searches(model, recsys, toy, tmp_path, monkeypatch):
    pytest.importorskip("faiss", reason="faiss-cpu is not installed: pip install recsys[faiss]")
    monkeypatch.setenv("RECSYS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("recsys.graphs.approximate.EXACT_WORK", 0)
    monkeypatch.setattr("recsys.graphs.approximate.MOST", 1)  # toy has a few cells only
    train = ["train", "--dataset", "toy", "--model", model, "--split", "random", "--set", "max_epochs=1"]
    for folder in ("built", "cached"):
        status, out, err = recsys(*train, "--out", folder)
        assert status == 0, err
        notes = json.loads((tmp_path / folder / ENVIRONMENT_FILE).read_text())["notes"]
        told = [note for note in notes if "approximate search, recall" in note]
        assert {note.partition(":")[0] for note in told} >= set(toy.modalities)
        assert all(f"note: {note}" in " ".join(out.split()) for note in told)
