"""The approximate search beside the exact one: values, ties, recall, and where it gives way."""

import numpy as np
import pytest
import scipy.sparse as sp

from recsys.errors import GraphError
from recsys.graphs import approximate
from recsys.graphs.knn import knn, knn_graph, membership_graph

N, WIDTH, K = 4000, 16, 6


@pytest.fixture
def clustered():
    """Rows around 40 centres, some of them copies, one without features."""
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((40, WIDTH))[rng.integers(0, 40, N)] + 0.3 * rng.standard_normal((N, WIDTH))
    rows[3000:3020] = rows[7]
    rows[5] = 0
    return rows.astype(np.float32)


def test_its_recall_is_what_the_note_says(clustered, monkeypatch):
    pytest.importorskip("faiss", reason="faiss-cpu is not installed: pip install recsys[faiss]")
    monkeypatch.setattr(approximate, "SAMPLE", N)  # every query is in a half of the sample
    notes = []
    exact = knn(clustered, clustered, K, exclude_self=True)
    found = knn(clustered, clustered, K, exclude_self=True, search="approximate", notes=notes)
    assert (found[0] != np.arange(N)[:, None]).all() and (found[0][5] == -1).all()
    present = np.arange(N) != 5
    hits = [len(np.intersect1d(*pair)) for pair in zip(found[0][present], exact[0][present], strict=True)]
    recall = sum(hits) / (K * len(hits))
    assert (
        approximate.WANTED - 0.01 < recall < 1
    )  # some are missed, or this test compares a search with itself
    (note,) = notes
    assert f"{N - 1:,} rows" in note and "approximate" in note
    told = float(note.split("recall ")[1].split()[0])
    assert told == pytest.approx(recall, abs=0.01)


def test_what_it_finds_has_the_exact_searchs_values_and_order(clustered):
    pytest.importorskip("faiss", reason="faiss-cpu is not installed: pip install recsys[faiss]")
    exact = knn(clustered, clustered, K, exclude_self=True)
    found = knn(clustered, clustered, K, exclude_self=True, search="approximate")
    same = (exact[0] == found[0]).all(axis=1)
    assert same.mean() > 0.9
    np.testing.assert_array_equal(exact[1][same], found[1][same])
    again = knn(clustered, clustered, K, exclude_self=True, search="approximate", block=77)
    np.testing.assert_array_equal(again[0], found[0])


def test_only_searches_beyond_the_bound_are_approximate(clustered, monkeypatch):
    pytest.importorskip("faiss", reason="faiss-cpu is not installed: pip install recsys[faiss]")
    mask = np.arange(N) % 2 == 0
    mask[3000:3020] = False  # copies, of which the search leaves out some
    pairs = int(mask.sum()) ** 2 * WIDTH
    for bound, expected in ((pairs, 0), (pairs - 1, 1)):
        monkeypatch.setattr(approximate, "EXACT_WORK", bound)
        for search, times in (("auto", expected), ("exact", 0)):
            notes = []
            knn_graph(clustered, K, mask, search=search, notes=notes)
            assert len(notes) == times
        notes = []
        membership_graph(clustered, K, mask, notes=notes)
        assert len(notes) == expected
    assert knn(sp.csr_matrix(clustered[:50]), sp.csr_matrix(clustered[:50]), 2, notes=notes) is not None
    assert len(notes) == 1


@pytest.mark.parametrize("reason", ["FAISS is missing", "no faster"])
def test_the_exact_search_serves_where_it_must(reason, clustered, monkeypatch):
    rows = clustered
    if reason == "FAISS is missing":
        monkeypatch.setattr(approximate, "find_spec", lambda name: None)
    else:
        pytest.importorskip("faiss", reason="faiss-cpu is not installed: pip install recsys[faiss]")
        rows = np.random.default_rng(1).standard_normal((2000, 64)).astype(np.float32)  # no cells in these
    notes = []
    found = knn(rows, rows, K, exclude_self=True, search="approximate", notes=notes)
    np.testing.assert_array_equal(found[0], knn(rows, rows, K, exclude_self=True)[0])
    assert len(notes) == 1 and "exact search" in notes[0] and reason in notes[0]


def test_features_on_disk_and_of_half_precision(clustered, tmp_path):
    np.save(tmp_path / "half.npy", clustered.astype(np.float16))
    held = np.load(tmp_path / "half.npy", mmap_mode="r")
    wide = clustered.astype(np.float16).astype(np.float32)
    np.testing.assert_array_equal(knn(held, held, K)[0], knn(wide, wide, K)[0])


def test_an_unknown_search_is_refused(clustered):
    with pytest.raises(GraphError, match="unknown search 'fast'"):
        knn(clustered, clustered, 2, search="fast")


def test_the_seconds_of_a_search_are_counted_by_its_kind(clustered, monkeypatch):
    spent = {"exact": 0.0, "approximate": 0.0}
    monkeypatch.setattr("recsys.graphs.knn.SPENT", spent)
    knn(clustered, clustered, 5)
    assert spent["exact"] > 0 == spent["approximate"]
    before = spent["exact"]
    knn(clustered, clustered, K, exclude_self=True, search="approximate")
    assert spent["approximate"] > 0 and spent["exact"] == before
