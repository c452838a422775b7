"""How items without interactions find their place among those that have some."""

import numpy as np
import scipy.sparse as sp
import torch

from recsys.data import TrainingData
from recsys.datasets.dataset import Modality
from recsys.graphs import knn
from recsys.inductive import ContentNeighbours, nearest

WARM = np.array([True, True, True, False])
TAGS = sp.csr_array(np.array([[1, 0, 0], [1, 1, 0], [0, 1, 0], [1, 0, 0]], dtype=np.float32))
BANK = Modality(TAGS, np.ones(4, dtype=bool))


def query(*rows):
    rows = sp.csr_array(np.array(rows, dtype=np.float32))
    return Modality(rows, np.diff(rows.indptr) > 0)


def test_an_item_with_nothing_in_common_is_not_near():
    """The first query is like item 0, half like item 1, and shares nothing with 2; item 3 is cold."""
    indices, cosines = nearest(query([2, 0, 0], [0, 0, 1], [0, 0, 0]), BANK, WARM, 3)
    np.testing.assert_array_equal(indices, [[0, 1, -1], [-1, -1, -1], [-1, -1, -1]])
    np.testing.assert_allclose(cosines[0], [1, 0.5**0.5, 0], atol=1e-6)


def test_neighbours_found_once_are_those_found_anew(monkeypatch):
    item, searches = query([1, 2, 0]), []
    monkeypatch.setattr("recsys.inductive.knn", lambda *a, **k: searches.append(a[2]) or knn.knn(*a, **k))
    for k in (2, 1, 2, 3, 3):
        fresh = query([1, 2, 0])
        np.testing.assert_array_equal(nearest(item, BANK, WARM, k)[0], nearest(fresh, BANK, WARM, k)[0])
    assert searches == [2, 2, 1, 2, 3, 3, 3]
    other = Modality(sp.csr_array(TAGS[::-1]), BANK.mask)
    np.testing.assert_array_equal(nearest(item, other, WARM, 1)[0], [[2]])


def test_a_new_item_takes_the_mean_of_its_neighbours_or_of_everybody():
    """Rows 1 and (1 + 2) / 2 of the vectors, and the warm items' mean for an item like none."""
    rows = sp.csr_array(np.array([[1, 1, 0, 0], [0, 0, 1, 0]], dtype=np.float32))
    neighbours = ContentNeighbours(TrainingData(rows, {"tags": BANK}), {"tags": BANK}, 2)
    graph = neighbours.graph({"tags": query([0, 1, 0], [1, 0, 0], [0, 0, 1])})
    vectors = torch.tensor([[1.0], [2.0], [6.0], [99.0]])
    np.testing.assert_allclose(neighbours.attach(graph, vectors).numpy(), [[4], [1.5], [3]])
