"""Where a scan's trials are kept: a journal that a killed writer cannot break, and databases that may go."""

import optuna
import pytest
import yaml

from recsys.errors import UserError
from recsys.experiments.storage import Journal, told_in_a_line

FILE = {"model": "itemknn", "dataset": "toy", "search": {"k": [2, 4]}, "trials": 2}


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
        told_in_a_line("postgresql://me:secret@h/d"),
    ):
        raise optuna.exceptions.StorageInternalError("gone")
