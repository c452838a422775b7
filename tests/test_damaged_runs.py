"""Every file of a run, damaged in every way: a command ends well, or in one line and with exit status 2."""

import json
import os
import shutil

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

FILES = (
    "config.yaml",
    "metrics.json",
    "environment.json",
    "per_user.parquet",
    "model.safetensors",
    "history.csv",
)
LINES, BYTES = 3, 500


def empty(path, rng):
    path.write_bytes(b"")


def truncated(path, rng):
    content = path.read_bytes()
    path.write_bytes(content[: rng.integers(1, max(2, len(content)))])


def random_bytes(path, rng):
    path.write_bytes(rng.bytes(300))


def flipped(path, rng):
    content = bytearray(path.read_bytes())
    for place in rng.integers(0, len(content), 8):
        content[place] ^= int(rng.integers(1, 256))
    path.write_bytes(bytes(content))


def latin1(path, rng):
    path.write_bytes("é: ü\n".encode("latin-1"))


def another_kind(path, rng):
    path.write_text(json.dumps([1, {"a": None}, "x" * 5000]))


def a_list_of_lists(path, rng):
    path.write_text("[" * 3000)


def a_long_number(path, rng):
    path.write_text("seed: " + "9" * 5000)


def a_date_that_is_none(path, rng):
    path.write_text("seed: 2020-13-45\n")


def a_folder(path, rng):
    path.unlink()
    path.mkdir()


def a_pipe(path, rng):
    path.unlink()
    os.mkfifo(path)


def gone(path, rng):
    path.unlink()


DAMAGE = (
    empty,
    truncated,
    random_bytes,
    flipped,
    latin1,
    another_kind,
    a_list_of_lists,
    a_long_number,
    a_date_that_is_none,
    a_folder,
    a_pipe,
    gone,
)
COMMANDS = (
    ("recommend", "--run", "run", "--user", "u1"),
    ("export", "--run", "run", "--output", "vectors"),
    ("rerun", "run", "--out", "again"),
    ("report", "run", "--out", "page"),
)


@pytest.fixture
def run(recsys, tmp_path):
    arguments = ["--model", "bpr", "--dataset", "toy", "--split", "random", "--set", "max_epochs=1"]
    assert recsys("train", *arguments, "--out", "run")[0] == 0
    return tmp_path / "run"


@pytest.mark.parametrize("damage", DAMAGE, ids=lambda damage: damage.__name__)
def test_a_damaged_file_ends_in_one_line(run, recsys, tmp_path, damage):
    rng = np.random.default_rng(0)
    shutil.copytree(run, tmp_path / "whole")
    for name in FILES:
        assert (run / name).exists(), name
        damage(run / name, rng)
        for command in COMMANDS:
            status, _, error = recsys(*command)
            case = f"{command[0]} with {name} {damage.__name__}: {error[-600:]}"
            assert status in (0, 1, 2) and "Traceback" not in error, case
            if status == 2:
                assert error.startswith("recsys: ") and error.count("\n") <= LINES, case
                assert len(error.encode()) <= BYTES, case
            for made in ("again", "page", "vectors"):
                shutil.rmtree(tmp_path / made, ignore_errors=True)
        shutil.rmtree(run)
        shutil.copytree(tmp_path / "whole", run)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_no_numbers_are_refused(run, recsys, value):
    arrays = load_file(run / "model.safetensors")
    name = sorted(arrays)[0]
    arrays[name] = arrays[name].copy()
    arrays[name].flat[3] = value
    save_file(arrays, run / "model.safetensors")
    for command in COMMANDS[:2]:
        status, _, error = recsys(*command)
        assert status == 2 and "model.safetensors" in error and error.count("\n") == 1


def test_an_edited_model_name_is_refused(run, recsys):
    text = (run / "config.yaml").read_text()
    (run / "config.yaml").write_text(text.replace("model: bpr", "model: ease"))
    for command in COMMANDS[:2]:
        status, _, error = recsys(*command)
        assert status == 2 and error.count("\n") == 1
