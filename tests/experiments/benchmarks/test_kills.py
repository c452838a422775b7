"""Commands survive SIGKILL at any moment; and the check of that sees what it is to see."""

import os
import signal

import pytest
import torch

from recsys.experiments.benchmarks import kills
from recsys.experiments.benchmarks.killed_command import Ended, Watch
from recsys.experiments.benchmarks.kills import OUT, Case, cases, kill_often, prepare
from recsys.experiments.benchmarks.whole_files import content, visible_files

COMMANDS = ["train", "bench", "scan", "report", "convert", "export", "package", "flagship"]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("kills")
    prepare(folder)
    return folder


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_that_is_killed_at_a_change_leaves_whole_files_and_ends_as_ever(place, tmp_path, command):
    whole, outcome = kill_often(
        cases(place)[command], tmp_path / "kills", place, kills=1, seed=1, at="changes"
    )
    assert whole.in_place == [] and outcome.faults == [] and outcome.kills == 1


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS)
def test_20_random_moments(place, tmp_path, command):
    whole, outcome = kill_often(cases(place)[command], tmp_path / "kills", place, kills=20, seed=0)
    assert whole.in_place == [] and outcome.faults == [] and outcome.kills == 20
    if command == "flagship":
        assert outcome.inside.keys() == {"cm3", "mmhcl"}, "no kill fell into the training of a component"


def test_a_file_cut_in_half_is_seen_whatever_it_is(place):
    kinds = set()
    torch.save({"epoch": 1}, place / "run" / "last.ckpt")
    for path in visible_files(place):
        if path.parent == place or not path.stat().st_size:  # logs of the commands; locks, which are empty
            continue
        whole = path.read_bytes()
        cut = len(whole) // 2
        path.write_bytes(whole[: cut - whole[:cut].endswith(b"\n")])
        damaged = content(path.parent)[1]
        path.write_bytes(whole)
        assert len(damaged) == 1 and damaged[0].startswith(path.name), path
        kinds.add(path.suffix)
    assert kinds == {".csv", ".json", ".md", ".npy", ".parquet", ".safetensors", ".yaml", ".ckpt"}


def write(folder, **files):
    (folder / OUT).mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / OUT / f"{name}.json").write_text(text)


ALONE = {"metrics": '{"a": 1}', "late": '{"b": 2}'}


@pytest.mark.parametrize(
    ("killed", "again", "faults"),
    [
        ({"metrics": '{"a": 1}'}, {"late": '{"b": 2}'}, ([], [], [])),
        ({"metrics": '{"a": '}, ALONE, (["out/metrics.json"], [], ["out/metrics.json"])),
        ({"late": '{"b": 3}'}, ALONE, (["out/late.json"], [], [])),
        ({}, ALONE | {"late": '{"b": 3}'}, ([], ["out/late.json"], [])),
        ({}, {"late": '{"b": 2}'}, ([], ["out/metrics.json"], [])),
        ({"metrics": '{"a": 1}'}, ALONE, ([], [], ["out/metrics.json"])),
    ],
    ids=["nothing", "half-written", "too early", "another end", "missing", "made again"],
)
def test_each_fault_is_told(tmp_path, monkeypatch, killed, again, faults):
    def recsys(arguments, folder, place, moment=None, change=None):
        files = killed if change is not None else ALONE if folder.name == "whole" else again
        write(folder, **files)
        for path in (folder / OUT).iterdir():  # clocks of file systems are coarse
            if path.stem in files:
                os.utime(path, ns=(1, 1 if change is not None else 2))
        return Ended(-signal.SIGKILL if change is not None else 0, 1.0, [(0.5, "out")] * 5, [])

    monkeypatch.setattr(kills, "run_command", recsys)
    _, outcome = kill_often(Case(("any",)), tmp_path / "kills", tmp_path, kills=1, seed=0, at="changes")
    found = (outcome.half_written, outcome.differing, outcome.made_again)
    for lines, expected in zip(found, faults, strict=True):
        assert len(lines) == len(expected)
        assert all(name in line for line, name in zip(lines, expected, strict=True))


def test_a_command_that_does_not_go_on_is_told(tmp_path, monkeypatch):
    def recsys(arguments, folder, place, moment=None, change=None):
        write(folder, **ALONE)
        folder.with_name(f"{folder.name}.log").write_text("it cannot go on\n")
        status = -signal.SIGKILL if change is not None else 2 if "--resume" in arguments else 0
        return Ended(status, 1.0, [(0.5, "out")] * 5, [])

    monkeypatch.setattr(kills, "run_command", recsys)
    case = Case(("any",), ("--resume",))
    _, outcome = kill_often(case, tmp_path / "kills", tmp_path, kills=1, seed=0, at="changes")
    assert "exit status 2: it cannot go on" in outcome.differing[0]


def test_files_opened_under_their_final_name_are_seen(tmp_path):
    watch = Watch(tmp_path, None)
    for name in ("final.json", ".hidden.json", ".folder-1/final.json", "journal.log"):
        watch("open", (str(tmp_path / name), "w", os.O_WRONLY | os.O_CREAT))
    watch("open", (str(tmp_path / "read.json"), "r", os.O_RDONLY))
    watch("open", (str(tmp_path.parent / "elsewhere"), "w", os.O_WRONLY))
    watch("os.mkdir", (str(tmp_path / "folder"), 0o777, -1))
    assert watch.in_place == ["final.json"] and len(watch.changes) == 5
