"""Collaborative item graph and its infusion, against fractions and dense algebra."""

import numpy as np
import pytest
import scipy.sparse as sp

from recsys.errors import GraphError
from recsys.graphs.cooccurrence import cooccurrence_graph, infuse

# Items 0 and 1 share two users, 1 and 2 one; item 3 has none. Degrees 2, 3, 1, 0.
R = sp.csr_matrix(np.array([[1, 1, 0, 0], [1, 1, 0, 0], [0, 1, 1, 0]]))


def test_cosines_worked_out_on_paper():
    a, b = 2 / 6**0.5, 1 / 3**0.5
    graph = cooccurrence_graph(R, 5)
    expected = [[0, a, 0, 0], [a, 0, b, 0], [0, b, 0, 0], [0, 0, 0, 0]]
    np.testing.assert_allclose(graph.toarray(), expected, rtol=1e-6)
    strongest = cooccurrence_graph(R, 1)
    np.testing.assert_allclose(strongest.toarray()[1], [a, 0, 0, 0], rtol=1e-6)


@pytest.mark.parametrize("block", [None, 1, 7])
def test_equals_the_dense_product_whatever_the_block(block):
    interactions = (sp.random(60, 40, 0.1, format="csr", rng=np.random.default_rng(0)) > 0).astype(np.float32)
    counts = (interactions.T @ interactions).toarray().astype(np.float64)
    degree = np.maximum(np.diag(counts), 1)
    cosine = np.round(counts / np.sqrt(np.outer(degree, degree)) * 2**24) / 2**24
    np.fill_diagonal(cosine, 0)
    expected = np.zeros_like(cosine)
    for i, row in enumerate(cosine):
        keep = np.argsort(-row, kind="stable")[:6]
        expected[i, keep] = row[keep]
    np.testing.assert_array_equal(cooccurrence_graph(interactions, 6, block=block).toarray(), expected)


def test_infusion_worked_out_on_paper():
    semantic, collaborative = sp.csr_matrix([[0, 1.0], [0, 0]]), sp.csr_matrix([[1.0, 0], [1.0, 0]])
    # 3/4 S + 1/4 C = [[1/4, 3/4], [1/4, 0]]: row sums 1 and 1/4.
    mixed = infuse(semantic, collaborative, 0.25)
    np.testing.assert_allclose(mixed.toarray(), [[1 / 4, 3 / 2], [1 / 2, 0]], rtol=1e-6)
    by_row = infuse(semantic, collaborative, 0.25, normalise="row")
    np.testing.assert_allclose(by_row.toarray(), [[1 / 4, 3 / 4], [1, 0]], rtol=1e-6)


@pytest.mark.parametrize("beta", [0.0, 1.0])
def test_a_share_of_nothing_leaves_no_edges(beta):
    semantic, collaborative = sp.csr_matrix([[0, 1.0], [0, 0]]), sp.csr_matrix([[0, 0], [1.0, 0]])
    kept = collaborative if beta else semantic
    assert infuse(semantic, collaborative, beta, normalise=None).nnz == 1
    np.testing.assert_array_equal(infuse(semantic, collaborative, beta, None).toarray(), kept.toarray())


def test_bad_calls_say_what_is_wrong():
    with pytest.raises(GraphError, match=r"beta must lie in \[0, 1\], got 2"):
        infuse(R, R, 2)
    with pytest.raises(GraphError, match="different items"):
        infuse(R, sp.csr_matrix((2, 2)), 0.5)
