"""How items without interactions find their place among those that have some."""

import numpy as np
import scipy.sparse as sp
import torch

from recsys.coldstart.neighbours import ContentNeighbours, nearest
from recsys.datasets.dataset import Modality
from recsys.graphs import knn
from recsys.inputs.training_data import TrainingData

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
    monkeypatch.setattr(
        "recsys.coldstart.neighbours.knn", lambda *a, **k: searches.append(a[2]) or knn.knn(*a, **k)
    )
    for k in (2, 1, 2, 3, 3):
        fresh = query([1, 2, 0])
        np.testing.assert_array_equal(nearest(item, BANK, WARM, k)[0], nearest(fresh, BANK, WARM, k)[0])
    assert searches == [2, 2, 1, 2, 3, 3, 3]
    other = Modality(sp.csr_array(TAGS[::-1]), BANK.mask)
    np.testing.assert_array_equal(nearest(item, other, WARM, 1)[0], [[2]])


def test_a_new_item_adds_up_a_share_of_each_neighbour_or_takes_the_mean_of_everybody():
    """The warm items' mean is 3; of k = 3 neighbours the queries have 2 (items 1 and 2), 3, and none."""
    rows = sp.csr_array(np.array([[1, 1, 0, 0], [0, 0, 1, 0]], dtype=np.float32))
    neighbours = ContentNeighbours(TrainingData(rows, {"tags": BANK}), {"tags": BANK}, 3)
    graph = neighbours.graph({"tags": query([0, 1, 0], [1, 1, 0], [0, 0, 1])})
    third = 1 / 3
    np.testing.assert_allclose(
        graph.toarray(), [[0, third, third, 0], [third, third, third, 0], [0, 0, 0, 0]], atol=1e-7
    )
    vectors = torch.tensor([[1.0], [2.0], [6.0], [99.0]])
    expected = [[(2 + 6) / 3], [(1 + 2 + 6) / 3], [3]]
    np.testing.assert_allclose(neighbours.attach(graph, vectors).numpy(), expected, rtol=1e-6)


def test_modalities_count_by_their_weights_where_an_item_has_them():
    """Item 0 is nearest by tags, item 2 by colour; weights 3 and 1."""
    colour = Modality(np.array([[0, 1], [0, 1], [1, 0], [1, 0]], dtype=np.float32), np.ones(4, dtype=bool))
    bank = {"tags": BANK, "colour": colour}
    rows = sp.csr_array(np.array([[1, 1, 1, 0]], dtype=np.float32))
    neighbours = ContentNeighbours(TrainingData(rows, bank), bank, 1, {"tags": 3.0, "colour": 1.0})
    dense = Modality(np.array([[1, 0], [1, 0], [0, 0]], dtype=np.float32), np.array([True, True, False]))
    graph = neighbours.graph({"tags": query([1, 0, 0], [0, 0, 0], [1, 0, 0]), "colour": dense})
    np.testing.assert_allclose(graph.toarray(), [[3 / 4, 0, 1 / 4, 0], [0, 0, 1, 0], [1, 0, 0, 0]], atol=1e-7)
