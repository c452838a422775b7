"""Where a scan's trials are kept: a journal that a killed writer cannot break, and databases that may go."""

import glob
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from pathlib import Path

import optuna
import pytest
import yaml

from recsys.errors import UserError
from recsys.experiments.tune.storage import Journal, open_study, storage_errors_in_one_line
from recsys.experiments.tune.tuning import Tuning

FILE = {"run": {"model": "itemknn", "dataset": "toy"}, "search": {"k": [2, 4]}, "trials": 2}


def write(folder):
    path = folder / "toys.yaml"
    path.write_text(yaml.safe_dump(FILE))
    return path


def test_half_a_line_of_a_killed_writer_is_cut_off(tmp_path):
    journal = Journal(tmp_path / "j")
    journal.append_logs([{"a": 1}, {"a": 2}])
    with open(tmp_path / "j", "ab") as file:
        file.write(b'{"a": 3, "b"')
    assert [log["a"] for log in Journal(tmp_path / "j").read_logs(0)] == [1, 2]
    Journal(tmp_path / "j").append_logs([{"a": 4}])
    assert [log["a"] for log in Journal(tmp_path / "j").read_logs(0)] == [1, 2, 4]
    assert [log["a"] for log in journal.read_logs(2)] == [4]


def test_a_database_that_does_not_answer_or_is_lost(recsys, tmp_path):
    for url in ("postgresql://me:secret@127.0.0.1:1/db", "nonsense"):
        status, _, err = recsys("scan", write(tmp_path), "--out", "scan", "--storage", url)
        assert status == 2 and err.count("\n") == 1 and "secret" not in err and url.split("@")[-1] in err
    with (
        pytest.raises(
            UserError, match=r"lost the database postgresql://me:\*\*\*@h/d .*run the command again"
        ),
        storage_errors_in_one_line("postgresql://me:secret@h/d"),
    ):
        raise optuna.exceptions.StorageInternalError("gone")


class Server:
    """A PostgreSQL server of its own, in a folder that goes with it."""

    def __init__(self, binaries, folder, owner):
        self.binaries, self.folder, self.owner = binaries, folder, owner
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.url = f"postgresql://recsys:secret@127.0.0.1:{self.port}/postgres"
        self._run("initdb", "-A", "trust", "-U", "recsys", "--no-sync")

    def _run(self, program, *arguments):
        command = [f"{self.binaries}/{program}", "-D", f"{self.folder}/data", *arguments]
        with open(f"{self.folder}/{program}.log", "ab") as log:
            subprocess.run(command, check=True, stdout=log, stderr=log, cwd="/", **self.owner)

    def start(self):
        options = f"-p {self.port} -h 127.0.0.1 -k {self.folder} -F"
        self._run("pg_ctl", "-w", "-l", f"{self.folder}/server.log", "-o", options, "start")

    def stop(self):
        self._run("pg_ctl", "-w", "-m", "immediate", "stop")


@pytest.fixture(scope="module")
def postgres():
    pytest.importorskip("psycopg", reason="needs the extra postgresql")
    found = sorted(glob.glob("/usr/lib/postgresql/*/bin/initdb"))
    initdb = shutil.which("initdb") or (found[-1] if found else None)
    if initdb is None:
        pytest.skip("no PostgreSQL server is installed: there is no initdb")
    owner = {}
    if os.geteuid() == 0:  # whom initdb refuses
        try:
            account = pwd.getpwnam("postgres")
        except KeyError:
            pytest.skip("PostgreSQL does not run as root, and there is no user postgres")
        owner = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
    folder = tempfile.mkdtemp(prefix="recsys-postgres-")
    if owner:
        os.chown(folder, owner["user"], owner["group"])
    server = Server(Path(initdb).parent, folder, owner)
    server.start()
    try:
        yield server
    finally:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)


def test_a_scan_in_a_database_goes_on_from_any_folder(recsys, tmp_path, postgres):
    command = ["scan", write(tmp_path), "--storage", postgres.url]
    assert recsys(*command, "--out", "here/first", "--trials", "1")[0] == 0
    status, out, _ = recsys(*command, "--out", "there/first")
    assert status == 0 and "1 trials finished already" in out and "[2/2]" in out and "2 complete" in out
    study = open_study(tmp_path, "first", postgres.url)
    best = max(study.trials, key=lambda t: t.value).params
    assert (
        len(study.trials) == 2
        and best.items() <= yaml.safe_load((tmp_path / "there/first/best.yaml").read_text()).items()
    )
    assert not list(tmp_path.rglob("journal.log"))


def test_a_database_lost_in_the_middle_ends_in_one_line_and_keeps_what_is_finished(
    recsys, tmp_path, postgres, monkeypatch
):
    value, calls = Tuning.value, []

    def lose(self, settings, folder, callbacks=()):
        calls.append(settings)
        if len(calls) == 2:
            postgres.stop()
        return value(self, settings, folder, callbacks)

    command = ["scan", write(tmp_path), "--storage", postgres.url, "--out", "lost"]
    with monkeypatch.context() as patch:
        patch.setattr(Tuning, "value", lose)
        status, _, err = recsys(*command)
    postgres.start()
    assert status == 2 and err.count("\n") == 1 and "lost the database" in err and "secret" not in err
    assert "run the command again" in err and len(calls) == 2
    monkeypatch.setattr("recsys.experiments.tune.trials.GRACE", 0.5)
    status, out, err = recsys(*command)
    assert status == 0 and "1 trials finished already" in out and "2 complete" in out, err


def test_workers_that_open_a_new_database_at_once(postgres, tmp_path):
    """Both make the tables; neither fails."""
    from concurrent.futures import ThreadPoolExecutor

    import psycopg

    with psycopg.connect(postgres.url, autocommit=True) as connection:
        connection.execute("CREATE DATABASE fresh")
    url = postgres.url.replace("/postgres", "/fresh")
    with ThreadPoolExecutor(4) as pool:
        studies = list(pool.map(lambda n: open_study(tmp_path, "new", url), range(4)))
    assert len({s._study_id for s in studies}) == 1
