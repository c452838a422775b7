"""A folder that takes another's place: one of them is there, whole, at every moment."""

import os
import signal
import sys
import time

import pytest

from recsys import files
from recsys.errors import UserError
from recsys.files import put_folder
from recsys.serving.arrays import read_manifest

FILES = 4


def fill(folder, text):
    folder.mkdir()
    for number in range(FILES):
        (folder / f"{number}").write_text(text)


def held(folder):
    return {(folder / f"{number}").read_text() for number in range(FILES)}


def killed_at(change, new, folder):
    """Whether a process that puts `new` in the place of `folder` was killed before its change of this number."""
    child = os.fork()
    if not child:
        seen = 0

        def watch(event, arguments):
            nonlocal seen
            if event in ("os.rename", "os.remove", "os.rmdir"):
                if seen == change:
                    os.kill(os.getpid(), signal.SIGKILL)
                seen += 1

        sys.addaudithook(watch)
        put_folder(new, folder)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL


def exchanges(tmp_path):
    one, other = tmp_path / "one", tmp_path / "other"
    one.mkdir(), other.mkdir()
    return files._exchanged(one, other)


def test_a_kill_leaves_the_old_or_the_new(tmp_path):
    if not exchanges(tmp_path):
        pytest.skip("this file system cannot exchange two names")
    change, killed, found = 0, True, []
    while killed:
        place = tmp_path / str(change)
        place.mkdir()
        fill(place / "bundle", "old"), fill(place / "new", "new")
        killed = killed_at(change, place / "new", place / "bundle")
        found.append(held(place / "bundle"))
        change += 1
    assert change > FILES and {"new"} in found and all(one in ({"old"}, {"new"}) for one in found)
    assert os.listdir(place) == ["bundle"]


def test_whoever_looks_meanwhile_finds_a_whole_one(tmp_path):
    if not exchanges(tmp_path):
        pytest.skip("this file system cannot exchange two names")
    fill(tmp_path / "bundle", "0")
    child = os.fork()
    if not child:
        for number in range(300):
            fill(tmp_path / "new", str(number))
            put_folder(tmp_path / "new", tmp_path / "bundle")
        os._exit(0)
    looks = 0
    while not os.waitpid(child, os.WNOHANG)[0]:
        assert (tmp_path / "bundle").is_dir()
        looks += 1
        time.sleep(0)
    assert looks > 100


def test_two_renames_do_where_names_cannot_be_exchanged(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "_exchanged", lambda one, other: False)
    fill(tmp_path / "bundle", "old"), fill(tmp_path / "new", "new")
    put_folder(tmp_path / "new", tmp_path / "bundle")
    assert held(tmp_path / "bundle") == {"new"} and os.listdir(tmp_path) == ["bundle"]


def test_a_bundle_left_beside_its_place_is_told_of(tmp_path):
    (tmp_path / ".bundle.old").mkdir()
    with pytest.raises(UserError, match=r"rename .*\.bundle\.old to it, or package again"):
        read_manifest(tmp_path / "bundle")
