"""The log of a service is replaced by a shorter one that comes to the same; nothing acknowledged is lost meanwhile."""

import os
import signal
import sys

import pytest

from recsys.serving import state as states
from recsys.serving.state import LOG, State

ITEMS = [f"i{n}" for n in range(30)]
APPENDED = 20


@pytest.fixture
def small(monkeypatch):
    """A log is worth replacing from 500 bytes on."""
    monkeypatch.setattr(states, "LEAST", 500)


def opened(bundles, folder, tell=lambda sentence: None):
    state = State(bundles["ease"][1], folder, tell)
    state.open()
    return state


def size(folder):
    return (folder / LOG).stat().st_size


def took(state, user):
    return state.snapshot().since.get(user, [])


def test_a_year_of_the_same_interactions_is_no_longer_log_than_a_day(bundles, tmp_path, small):
    state = opened(bundles, tmp_path / "state")
    for turn in range(400):
        state.add_interactions([("u1", ITEMS[turn % 3]), ("new", ITEMS[turn % 2])])
    assert size(tmp_path / "state") <= 1200  # of 400 lines of 80 bytes
    assert took(state, "u1") == ITEMS[:3] and took(state, "new") == ITEMS[:2]
    again = opened(bundles, tmp_path / "state")
    assert again.snapshot().since == state.snapshot().since
    assert (tmp_path / "state" / LOG).stat().st_mode & 0o077 == 0


def test_new_items_and_their_interactions_are_kept(bundles, tmp_path, small):
    state = opened(bundles, tmp_path / "state")
    state.add_items([{"item": "tea-new", "about": "a tea of kind 1"}])
    state.add_interactions([("u1", "tea-new")])
    for _ in range(60):
        state.add_interactions([("u2", "i3")])
    state.add_items([{"item": "pan-new", "about": "a pan of kind 1"}])
    again = opened(bundles, tmp_path / "state")
    for one in (state, again):
        assert set(one.snapshot().bundle.items.names[-2:]) == {"tea-new", "pan-new"}
        assert took(one, "u1") == ["tea-new"]


def test_a_log_is_replaced_when_a_service_starts(bundles, tmp_path, monkeypatch):
    state = opened(bundles, tmp_path / "state")
    for _ in range(60):
        state.add_interactions([("u1", "i3")])
    long = size(tmp_path / "state")
    monkeypatch.setattr(states, "LEAST", 500)
    again = opened(bundles, tmp_path / "state")
    assert size(tmp_path / "state") < long / 20 and took(again, "u1") == ["i3"]


def test_other_processes_read_and_write_the_log_that_took_its_place(bundles, tmp_path, small):
    one, other = (opened(bundles, tmp_path / "state") for _ in range(2))
    other.add_interactions([("u0", "i9")])
    for turn in range(200):
        (one if turn % 2 else other).add_interactions([(f"u{turn % 5}", ITEMS[turn % 7])])
        assert one.snapshot().since == other.snapshot().since
    third = opened(bundles, tmp_path / "state")
    sets = [{u: set(items) for u, items in s.snapshot().since.items()} for s in (one, other, third)]
    assert sets[0] == sets[1] == sets[2] and "i9" in sets[0]["u0"]


def test_a_full_disk_leaves_the_log_and_the_service(bundles, tmp_path, small, monkeypatch):
    told = []
    state = opened(bundles, tmp_path / "state", told.append)

    def refuse(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(states.os, "replace", refuse)
    for turn in range(60):
        state.add_interactions([("u1", ITEMS[turn % 20])])
    monkeypatch.undo()
    assert told and all("the log stays" in sentence for sentence in told) and len(told) < 6
    assert took(opened(bundles, tmp_path / "state"), "u1") == ITEMS[:20]


def test_a_kill_at_any_change_loses_nothing_acknowledged(bundles, tmp_path, small):
    """The process is killed before each change to the log's file in turn; what it had acknowledged comes by a pipe."""
    change, killed, sizes = 0, True, []
    opened(bundles, tmp_path / "state")
    while killed:
        (tmp_path / "state" / LOG).unlink()
        read, write = os.pipe()
        child = os.fork()
        if not child:
            os.close(read)
            append_until_killed(bundles, tmp_path / "state", change, write)
        os.close(write)
        with open(read) as acknowledged:
            kept = acknowledged.read().split()
        killed = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
        sizes.append(len(kept))
        since = opened(bundles, tmp_path / "state").snapshot().since
        assert all(since.get(user) == ["i3"] for user in kept), change
        change += 1
    assert change > 8 and sizes[-1] == APPENDED and len(set(sizes)) > 3


def append_until_killed(bundles, folder, change, pipe):
    """Killed before the log's file is opened or renamed, or a line of it is made, for the `change`th time."""
    seen, plain = 0, states.line_of

    def moment():
        nonlocal seen
        if seen == change:
            os.kill(os.getpid(), signal.SIGKILL)
        seen += 1

    def watch(event, arguments):
        if event in ("open", "os.rename") and (LOG in str(arguments[0]) or arguments[0] == folder):
            moment()

    def line_of(*record):
        moment()
        return plain(*record)

    sys.addaudithook(watch)
    states.line_of = line_of
    state = State(bundles["ease"][1], folder)
    for number in range(APPENDED):
        state.add_interactions([(f"w{number}", "i3")])
        os.write(pipe, f"w{number}\n".encode())
    os._exit(0)
