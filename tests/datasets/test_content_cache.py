"""Encoded content is kept: a second run encodes what is new and nothing else, whatever was killed or damaged."""

import numpy as np
import pytest

from recsys.datasets.content import CONTENT, stored
from recsys.datasets.content.encode import encode
from recsys.datasets.content.encoder import encoder
from recsys.datasets.content.progress import PROGRESS
from recsys.datasets.content.spec import ContentSpec
from recsys.datasets.dataset import Modality

SEEN = []


@encoder(each=True, revision="1", width="2", weights="none")
def lengths(texts, *, width, seed, source, fit_on=None, factor: int = 1):
    """Letters and words of a text; remembers what it was asked."""
    SEEN.append(list(texts))
    if "stop" in texts:
        raise KeyboardInterrupt
    rows = np.array([[len(text), len(text.split())] for text in texts], np.float32).reshape(-1, 2)
    return Modality(rows * factor, np.array(["bad" not in text for text in texts], bool))


@encoder(revision="1", width="1", weights="none")
def fitted(texts, *, width, seed, source, fit_on=None):
    """Lengths less the catalogue's mean."""
    SEEN.append(list(texts))
    mean = np.mean([len(text) for text in fit_on or texts])
    rows = np.array([[len(text) - mean] for text in texts], np.float32)
    return Modality(rows, np.ones(len(rows), bool))


def plain(texts, *, width, seed, source, fit_on=None):
    SEEN.append(list(texts))
    return Modality(np.ones((len(texts), 1), np.float32), np.ones(len(texts), bool))


@pytest.fixture(autouse=True)
def own(monkeypatch, tmp_path):
    SEEN.clear()
    monkeypatch.setenv("RECSYS_CACHE", str(tmp_path))
    for name, function in (("lengths", lengths), ("fitted", fitted), ("plain", plain)):
        monkeypatch.setitem(CONTENT._objects, name, function)
    return tmp_path / "content"


def rows(texts, encoder="lengths", **more):
    made = encode(ContentSpec.of({"encoder": encoder, **more}), "it", texts, "here").modality
    return made.features.tolist(), made.mask.tolist()


def test_a_second_run_encodes_what_is_new():
    first = rows(["a b", "", "abc", "a b"])
    assert SEEN == [["a b", "abc"]] and first == ([[3, 2], [0, 0], [3, 1], [3, 2]], [True, False, True, True])
    assert rows(["abc", "new", "a b"]) == ([[3, 1], [3, 1], [3, 2]], [True] * 3)
    assert SEEN[1:] == [["new"]]
    assert rows(["bad", "abc"]) == ([[0, 0], [3, 1]], [False, True]) == rows(["bad", "abc"])
    assert SEEN[2:] == [["bad"]]  # what cannot be read is not tried again


def test_other_options_are_another_encoder():
    rows(["a"])
    assert rows(["a"], factor=3)[0] == [[3, 3]] and len(SEEN) == 2


def test_what_was_done_before_a_kill_is_kept(monkeypatch):
    monkeypatch.setattr(stored.item_by_item, "__kwdefaults__", {"block": 2, "kept": True, "progress": None})
    with pytest.raises(KeyboardInterrupt):
        rows(["a", "b", "c", "stop"])
    SEEN.clear()
    rows(["a", "b", "c"])
    assert SEEN == [["c"]]


@pytest.mark.parametrize("damage", [b"", b"PK\x03\x04 no archive"])
def test_a_damaged_file_is_made_again(own, damage):
    first = rows(["a", "b"]), rows(["a", "bcd"], "fitted")
    files = list(own.rglob("*.npz"))
    assert len(files) == 2 and not list(own.rglob("*.part"))
    for path in files:
        path.write_bytes(damage)
    SEEN.clear()
    assert (rows(["a", "b"]), rows(["a", "bcd"], "fitted")) == first and len(SEEN) == 2


def test_many_files_become_one(own):
    texts = [f"text {n}" for n in range(12)]
    for n in range(12):
        rows(texts[: n + 1])
    assert len(list(own.rglob("*.npz"))) <= stored.MOST_FILES + 2
    SEEN.clear()
    assert rows(texts)[1] == [True] * 12 and SEEN == []


def test_fitted_content_is_kept_as_a_whole():
    assert rows(["a", "bcd"], "fitted") == rows(["a", "bcd"], "fitted") and len(SEEN) == 1
    assert rows(["a", "bcd", "e"], "fitted")[0] != rows(["a", "bcd"], "fitted")[0] and len(SEEN) == 2


def test_an_encoder_without_revision_is_asked_every_time(own):
    assert rows(["a"], "plain") == rows(["a"], "plain") and len(SEEN) == 2 and not own.exists()


def test_a_folder_that_cannot_be_written_costs_the_saving_alone(own, monkeypatch):
    own.parent.joinpath("content").write_text("in the way")
    assert rows(["a"]) == rows(["a"]) and len(SEEN) == 2


def test_progress_is_told(monkeypatch):
    told = []
    monkeypatch.setattr("time.monotonic", iter(range(100)).__next__)
    token = PROGRESS.set(lambda *what: told.append(what))
    try:
        rows([f"t{n}" for n in range(300)])
    finally:
        PROGRESS.reset(token)
    assert told[-1] == ("it", 300, 300)
