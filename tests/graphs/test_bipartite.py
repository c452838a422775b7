"""The normalised user-item graph against fractions and a loop."""

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys.graphs.bipartite import bipartite_adjacency, normalised_interactions, self_loops

# Users 0 and 1 have degrees 2 and 1, user 2 none; items 0 and 1 have degrees 1 and 2, item 2 none.
R = sp.csr_matrix(np.array([[1, 1, 0], [0, 1, 0], [0, 0, 0]]))


def test_block_worked_out_on_paper():
    expected = [[2**-0.5, 1 / 2, 0], [0, 2**-0.5, 0], [0, 0, 0]]
    block = normalised_interactions(R)
    assert block.dtype == np.float32
    np.testing.assert_allclose(block.toarray(), expected, rtol=1e-6)


def test_adjacency_holds_the_block_and_its_transpose():
    adjacency, block = bipartite_adjacency(R).toarray(), normalised_interactions(R).toarray()
    np.testing.assert_array_equal(adjacency[:3, 3:], block)
    np.testing.assert_array_equal(adjacency[3:, :3], block.T)
    assert not adjacency[:3, :3].any() and not adjacency[3:, 3:].any()
    assert not adjacency[2].any() and not adjacency[5].any()  # no interactions, no edges, no NaN


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 12), st.integers(1, 12), st.integers(0, 10**6))
def test_equals_a_loop_over_pairs(n_users, n_items, seed):
    dense = np.random.default_rng(seed).random((n_users, n_items)) < 0.3
    expected = np.zeros((n_users, n_items))
    for u in range(n_users):
        for i in range(n_items):
            if dense[u, i]:
                expected[u, i] = 1 / np.sqrt(dense[u].sum() * dense[:, i].sum())
    got = normalised_interactions(sp.csr_matrix(dense.astype(np.float32)))
    np.testing.assert_allclose(got.toarray(), expected, rtol=1e-6)


@pytest.mark.parametrize("seed", range(3))
def test_renaming_users_and_items_renames_the_graph(seed):
    rng = np.random.default_rng(seed)
    matrix = sp.random(20, 15, 0.2, format="csr", rng=rng)
    users, items = rng.permutation(20), rng.permutation(15)
    renamed = normalised_interactions(matrix[users][:, items])
    np.testing.assert_allclose(
        renamed.toarray(), normalised_interactions(matrix).toarray()[users][:, items], rtol=1e-6
    )


def test_order_of_interactions_does_not_matter():
    rng = np.random.default_rng(0)
    users, items = rng.integers(0, 20, 60), rng.integers(0, 10, 60)
    order = rng.permutation(60)
    one, two = (
        bipartite_adjacency(sp.coo_matrix((np.ones(60), (users[o], items[o])), shape=(20, 10)))
        for o in (np.arange(60), order)
    )
    for name in ("indptr", "indices", "data"):
        np.testing.assert_array_equal(getattr(one, name), getattr(two, name))


def test_self_loops_by_hand():
    # One user who took the first of two items: rows (1, 1, 0) / 2, (1, 1, 0) / 2 and (0, 0, 1).
    graph = self_loops(sp.csr_matrix([[1.0, 0.0]]))
    np.testing.assert_array_equal(graph.toarray(), [[0.5, 0.5, 0], [0.5, 0.5, 0], [0, 0, 1]])
