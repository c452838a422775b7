"""The example package of docs/examples/plugin: each of its parts works from the command line, and docs/plugins.md shows
what it holds."""

import os
import re
import runpy
import shlex
import subprocess
import sys
import tomllib
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from recsys.cli.parts.kinds import KINDS

ROOT = Path(__file__).parents[1]
PLUGIN = ROOT / "docs" / "examples" / "plugin"


@pytest.fixture(scope="module")
def check():
    return runpy.run_path(str(PLUGIN / "check.py"))


def points():
    """The package's entry points by group, as an installation would register them."""
    project = tomllib.loads((PLUGIN / "pyproject.toml").read_text())["project"]
    return {
        group: {name: [EntryPoint(name, value, group)] for name, value in entries.items()}
        for group, entries in project["entry-points"].items()
    }


@pytest.fixture
def plugged(monkeypatch, check, recsys, tmp_path):
    """`recsys` with the package as if installed, in a folder with what its steps need."""
    monkeypatch.syspath_prepend(str(PLUGIN))
    for kind in KINDS.builtin:
        monkeypatch.setattr(KINDS.get(kind), "_plugins", points()[f"recsys.{kind}"])
    check["prepare"](tmp_path)
    monkeypatch.setenv("RECSYS_DATA", str(tmp_path))
    return recsys


def test_the_package_brings_one_of_each_kind(check):
    assert {f"recsys.{kind}": names for kind, names in check["PARTS"].items()} == {
        group: list(entries) for group, entries in points().items()
    }
    assert set(check["PARTS"]) == set(KINDS.builtin)


def test_each_part_works_from_the_command_line(plugged, check, tmp_path):
    for step, words in check["STEPS"]:
        status, out, err = plugged(*shlex.split(step))
        assert status == 0, (step, err)
        for word in words:
            assert word in out, (step, word, out)
    check["check_figures"](tmp_path)


def test_a_metric_that_gives_one_value_for_each_user_must(plugged, monkeypatch):
    from recsys.evaluation import METRICS

    monkeypatch.setitem(METRICS._objects, "lazy", lambda hits, k: 0.5)
    status, _, err = plugged("train", "--model", "pop", "--dataset", "example-plays", "--metric", "lazy@3")
    assert status == 2 and "metric 'lazy' gave values of shape ()" in err and "of_all_lists" in err


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ([1, 2, 3], "must give a dict of row numbers"),
        ({"train": [0], "valid": [1]}, "with train, valid and test"),
        ({"train": [0], "valid": [1], "test": [2], "tset": [3]}, "a part 'tset'; did you mean 'test'"),
        ({"train": [0], "valid": [1], "test": [9000]}, "test holds a row number that"),
        ({"train": [0], "valid": [1], "test": [0.5]}, "test must be row numbers"),
        ({"train": [0], "valid": [1], "test": [2], "test_pool": [1]}, "test_pool must be bool of shape"),
        ({"train": [0], "valid": [1], "test": [1]}, "lies in two parts"),
    ],
)
def test_a_faulty_split_is_one_line(plugged, monkeypatch, parts, words):
    from recsys.datasets import SPLITS

    monkeypatch.setitem(SPLITS._objects, "faulty", lambda dataset, rng: parts)
    status, _, err = plugged("train", "--model", "pop", "--dataset", "example-plays", "--split", "faulty")
    assert status == 2 and err.count("\n") == 1 and words in err, err


def test_an_option_that_a_split_does_not_have_is_one_line(plugged):
    line = "train --model pop --dataset example-plays --split example-every-nth --split-set nht=3"
    assert "has no option 'nht'; did you mean 'nth'" in plugged(*line.split())[2]
    line = "train --model pop --dataset example-plays --split leave-one-out --split-set nth=3"
    assert "has no option 'nth'; it has none" in plugged(*line.split())[2]


@pytest.mark.slow
def test_it_works_installed_in_a_second_environment():
    subprocess.run(
        [sys.executable, PLUGIN / "check.py"], check=True, env=os.environ | {"OMP_NUM_THREADS": "1"}
    )


def test_the_page_shows_what_the_package_holds():
    page = (ROOT / "docs" / "plugins.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```(?:python|toml|yaml) file=(\S+)\n(.*?)```", page, re.DOTALL)
    assert {Path(name).suffix for name, _ in blocks} == {".py", ".toml", ".yaml"}
    for name, text in blocks:
        source = (PLUGIN / name).read_text(encoding="utf-8")
        for part in text.split("\n...\n"):
            assert part.strip("\n") in source, (name, part)
