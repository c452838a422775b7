"""Pickled SciPy matrices: what is admitted, and that nothing else runs."""

import pickle

import numpy as np
import pytest
import scipy.sparse as sp

from recsys.datasets.cards import Card
from recsys.datasets.readers import READERS
from recsys.errors import DataError


def load(folder):
    return READERS.get("diffmm")(folder, Card(name="tiny", reader="diffmm"))


def write_pickles(folder, matrix, protocol=4):
    for label, part in enumerate(("trn", "val", "tst")):
        dense = np.zeros((2, 3))
        dense[label % 2, label] = 1
        (folder / f"{part}Mat.pkl").write_bytes(pickle.dumps(matrix(dense), protocol=protocol))


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize(
    "kind", ["coo_matrix", "csr_matrix", "csc_matrix", "coo_array", "csr_array", "csc_array"]
)
def test_diffmm_reads_every_admitted_class(tmp_path, kind, protocol):
    write_pickles(tmp_path, getattr(sp, kind), protocol)
    assert load(tmp_path).interactions.to_numpy().tolist() == [[0, 0, 0], [0, 2, 2], [1, 1, 1]]


def test_diffmm_reads_pickles_of_older_scipy(tmp_path):
    """Before SciPy 1.8 the classes lay in scipy.sparse.coo, before 1.13 COO kept `row` and `col`."""
    write_pickles(tmp_path, sp.coo_matrix)
    index = np.array([1], dtype=np.int32)
    old = {"_shape": (2, 3), "row": index, "col": index, "data": np.ones(1), "maxprint": 50}
    payload = b"cscipy.sparse.coo\ncoo_matrix\n)\x81" + pickle.dumps(old, 2)[2:-1] + b"b."
    (tmp_path / "valMat.pkl").write_bytes(b"\x80\x02" + payload)
    assert load(tmp_path).interactions.to_numpy().tolist() == [[0, 0, 0], [0, 2, 2], [1, 1, 1]]


def test_a_stored_zero_is_no_interaction(tmp_path):
    write_pickles(tmp_path, sp.coo_matrix)
    matrix = sp.coo_matrix(([1.0, 0.0], ([0, 1], [0, 2])), shape=(2, 3))
    (tmp_path / "trnMat.pkl").write_bytes(pickle.dumps(matrix))
    assert load(tmp_path).interactions.to_numpy().tolist() == [[0, 0, 0], [0, 2, 2], [1, 1, 1]]


class Malicious:
    def __reduce__(self):
        return eval, ("__import__('pathlib').Path('ran').touch()",)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (pickle.dumps(Malicious()), r"asks for builtins\.eval; only NumPy"),
        (pickle.dumps(sp.lil_matrix((2, 3))), r"asks for scipy\.sparse\._lil\.lil_matrix"),
        (pickle.dumps(np.load), r"asks for numpy\.load"),
        (pickle.dumps(np.ones((2, 3))), "it holds numpy.*, expected a sparse matrix"),
        (pickle.dumps(sp.coo_matrix(np.eye(3)))[:-20], "not a whole pickled sparse matrix"),
        (b"", "not a whole pickled sparse matrix"),
    ],
)
def test_any_other_pickle_is_refused(tmp_path, monkeypatch, content, message):
    monkeypatch.chdir(tmp_path)
    write_pickles(tmp_path, sp.coo_matrix)
    (tmp_path / "trnMat.pkl").write_bytes(content)
    with pytest.raises(DataError, match=message) as caught:
        load(tmp_path)
    assert "trnMat.pkl" in str(caught.value) and "\n" not in str(caught.value)
    assert not (tmp_path / "ran").exists()


def test_only_the_codec_of_numpy_pickles_is_run(tmp_path):
    write_pickles(tmp_path, sp.coo_matrix)
    call = b"\x80\x02c_codecs\nencode\nX\x01\x00\x00\x00aX\x05\x00\x00\x00rot13\x86R."
    (tmp_path / "trnMat.pkl").write_bytes(call)
    with pytest.raises(DataError, match="expected a sparse matrix"):
        load(tmp_path)


@pytest.mark.parametrize(
    "change", [{"indptr": np.array([0, 5, 1])}, {"indices": np.array([7])}, {"data": np.ones(2)}]
)
def test_indices_that_do_not_fit_are_refused_before_scipy_sees_them(tmp_path, change):
    write_pickles(tmp_path, sp.csr_matrix)
    matrix = sp.csr_matrix(([1.0], ([0], [1])), shape=(2, 3))
    matrix.__dict__.update(change)
    (tmp_path / "trnMat.pkl").write_bytes(pickle.dumps(matrix))
    with pytest.raises(DataError, match=r"trnMat\.pkl: not a whole pickled sparse matrix"):
        load(tmp_path)
