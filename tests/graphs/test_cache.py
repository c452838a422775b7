"""Hits, misses, damage and refusals of the graph cache."""

import numpy as np
import pytest
import scipy.sparse as sp

from recsys.errors import GraphError
from recsys.graphs import cache
from recsys.graphs.cache import cached, content_key
from recsys.graphs.knn import knn_graph

CALLS = []


def double(matrix, *, times=2):
    CALLS.append(times)
    return sp.csr_matrix(matrix) * times


@pytest.fixture(autouse=True)
def no_calls():
    CALLS.clear()


def equal(one, two):
    return one.shape == two.shape and one.dtype == two.dtype and (one != two).nnz == 0


MATRIX = np.array([[1.0, 0.0], [2.0, 3.0]], dtype=np.float32)


def test_the_second_call_reads_what_the_first_wrote(tmp_path):
    first = cached(double, MATRIX, folder=tmp_path, times=3)
    second = cached(double, MATRIX.copy(), folder=tmp_path, times=3)
    assert CALLS == [3]
    assert equal(first, second) and second.toarray().tolist() == [[3, 0], [6, 9]]
    assert [path.suffix for path in tmp_path.iterdir()] == [".npz"]  # nothing temporary is left


def test_any_change_of_content_is_a_miss(tmp_path):
    changed = MATRIX.copy()
    changed[0, 0] = 1.5
    for matrix in (MATRIX, changed, MATRIX.T, MATRIX.astype(np.float64), MATRIX.reshape(1, 4)):
        cached(double, matrix, folder=tmp_path)
    cached(double, MATRIX, folder=tmp_path, times=5)
    assert len(CALLS) == 6 and len(list(tmp_path.iterdir())) == 6


def test_keys_tell_kinds_nesting_and_builders_apart():
    calls = [(1,), (1.0,), ("1",), (True,), (None,), ([1],), ([1, 2],), ([1], 2), ([1], [2]), ({"a": 1},)]
    keys = {content_key(double, call, {}) for call in calls}
    assert len(keys) == len(calls)
    assert content_key(double, (1,), {}) != content_key(knn_graph, (1,), {})
    assert content_key(double, (), {"a": 1, "b": 2}) == content_key(double, (), {"b": 2, "a": 1})


def test_a_new_version_ignores_old_files(tmp_path, monkeypatch):
    cached(double, MATRIX, folder=tmp_path)
    monkeypatch.setattr(cache, "VERSION", cache.VERSION + 1)
    cached(double, MATRIX, folder=tmp_path)
    assert len(CALLS) == 2


def test_the_order_of_interactions_does_not_change_the_key():
    rows, columns = np.array([0, 1, 1]), np.array([1, 0, 1])
    one = sp.coo_matrix((np.ones(3), (rows, columns))).tocsr()
    two = sp.csr_matrix((np.ones(3), np.array([1, 1, 0]), np.array([0, 1, 3])), shape=(2, 2))
    assert not two.has_sorted_indices
    assert content_key(double, (one,), {}) == content_key(double, (two,), {})


@pytest.mark.parametrize("damage", ["truncated", "garbage", "empty", "pickled", "inconsistent"])
def test_a_damaged_file_is_rebuilt(tmp_path, damage):
    expected = cached(double, MATRIX, folder=tmp_path)
    (path,) = tmp_path.iterdir()
    whole = path.read_bytes()
    if damage == "pickled":
        np.savez(path, data=np.array([{}], dtype=object), indices=[0], indptr=[0, 1], shape=[1, 1])
    elif damage == "inconsistent":
        np.savez(path, data=[1.0], indices=[7], indptr=[0, 1, 1], shape=[2, 2])
    else:
        path.write_bytes({"truncated": whole[:-40], "garbage": b"x" * 500, "empty": b""}[damage])
    assert equal(cached(double, MATRIX, folder=tmp_path), expected)
    assert len(CALLS) == 2
    assert equal(cached(double, MATRIX, folder=tmp_path), expected)
    assert len(CALLS) == 2  # the rebuilt file is a good one


def test_a_folder_that_cannot_be_written_only_costs_the_saving(tmp_path):
    (tmp_path / "file").write_text("in the way")
    assert cached(double, MATRIX, folder=tmp_path / "file" / "graphs").nnz == 3


def test_the_default_folder_follows_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("RECSYS_CACHE", str(tmp_path / "here"))
    cached(double, MATRIX)
    assert len(list((tmp_path / "here" / "graphs").iterdir())) == 1


def test_a_real_graph_comes_back_bit_for_bit(tmp_path):
    features = np.random.default_rng(0).standard_normal((60, 5)).astype(np.float32)
    mask = np.arange(60) % 7 != 0
    built = cached(knn_graph, features, 4, folder=tmp_path, mask=mask)
    read = cached(knn_graph, features, 4, folder=tmp_path, mask=mask)
    assert built is not read and equal(built, read) and equal(read, knn_graph(features, 4, mask))


def test_what_cannot_be_hashed_is_refused():
    with pytest.raises(GraphError, match="cannot hash a set"):
        cached(double, {1})
    with pytest.raises(GraphError, match="cannot hash a ndarray"):
        cached(double, np.array([object()]))


def test_what_a_builder_noted_is_told_again_from_disk(tmp_path):
    def noting(n, notes=None):
        if notes is not None:
            notes.append(f"recall of {n}")
        return sp.csr_matrix(np.eye(n))

    first, again = [], []
    cached(noting, 3, folder=tmp_path, notes=first)
    cached(noting, 3, folder=tmp_path, notes=again)
    assert first == again == ["recall of 3"]
    assert content_key(noting, (3,), {}) == content_key(noting, (3,), {})
    cached(knn_graph, np.eye(4, dtype=np.float32), 2, folder=tmp_path, notes=(none := []))
    assert none == []
