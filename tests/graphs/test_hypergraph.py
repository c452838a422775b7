"""Hypergraph propagation against fractions, dense algebra and its own other form."""

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys.errors import GraphError
from recsys.graphs import hypergraph
from recsys.graphs.hypergraph import (
    HypergraphOperator,
    attribute_hyperedges,
    forecast,
    item_hypergraph,
    join_hyperedges,
    propagation,
    user_hypergraph,
)
from recsys.graphs.operator import SparseOperator

# User 0 has items 0 and 1, user 1 item 0, user 2 item 1, user 3 item 2 alone.
# R R^T = [[2, 1, 1, 0], [1, 1, 0, 0], [1, 0, 1, 0], [0, 0, 0, 1]].
R = sp.csr_matrix(np.array([[1, 1, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]]))


def dense_propagation(incidence, normalise, zero_diagonal):
    """The definition, in dense float64."""
    product = incidence.astype(np.float64) @ incidence.T.astype(np.float64)
    if zero_diagonal:
        np.fill_diagonal(product, 0)
    degree = product.sum(axis=1)
    inverse = np.divide(1, degree, out=np.zeros_like(degree), where=degree > 0)
    if normalise == "random-walk":
        return inverse[:, None] * product
    return np.sqrt(inverse)[:, None] * product * np.sqrt(inverse)


def as_matrix(operator):
    return operator(torch.eye(operator.shape[1])).numpy()


@pytest.mark.parametrize("form", ["explicit", "implicit", "auto"])
def test_random_walk_over_users_worked_out_on_paper(form):
    operator = propagation(user_hypergraph(R), normalise="random-walk", zero_diagonal=True, form=form)
    expected = [[0, 1 / 2, 1 / 2, 0], [1, 0, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0]]
    np.testing.assert_allclose(as_matrix(operator), expected, atol=1e-6)


@pytest.mark.parametrize("form", ["explicit", "implicit"])
def test_symmetric_with_diagonal_worked_out_on_paper(form):
    # Row sums 4, 2, 2, 1.
    operator = propagation(R, normalise="symmetric", zero_diagonal=False, form=form)
    h = 8**-0.5
    expected = [[1 / 2, h, h, 0], [h, 1 / 2, 0, 0], [h, 0, 1 / 2, 0], [0, 0, 0, 1]]
    np.testing.assert_allclose(as_matrix(operator), expected, atol=1e-6)


@settings(max_examples=40, deadline=None)
@given(
    st.integers(1, 25),
    st.integers(1, 25),
    st.integers(0, 10**6),
    st.sampled_from(["random-walk", "symmetric"]),
    st.booleans(),
    st.booleans(),
)
def test_both_forms_equal_the_definition_and_their_transposes(n, edges, seed, normalise, zero, weighted):
    rng = np.random.default_rng(seed)
    dense = (rng.random((n, edges)) < 0.2) * (rng.random((n, edges)) + 0.5 if weighted else 1.0)
    expected = dense_propagation(dense.astype(np.float32), normalise, zero)
    for form, kind in (("explicit", SparseOperator), ("implicit", HypergraphOperator)):
        operator = propagation(sp.csr_matrix(dense), normalise=normalise, zero_diagonal=zero, form=form)
        assert isinstance(operator, kind) and operator.shape == (n, n)
        np.testing.assert_allclose(as_matrix(operator), expected, atol=2e-5)
        np.testing.assert_allclose(as_matrix(operator.T), expected.T, atol=2e-5)


@pytest.mark.parametrize("normalise", ["random-walk", "symmetric"])
@pytest.mark.parametrize("zero", [True, False])
def test_gradients_of_the_implicit_form(normalise, zero):
    operator = propagation(R, normalise=normalise, zero_diagonal=zero, form="implicit").double()
    x = torch.randn(4, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda v: (operator @ v).sin(), x)
    assert operator.state_dict() == {}


def test_the_builder_forms_the_product_only_where_it_is_cheaper():
    def chosen(incidence):
        return type(propagation(incidence, normalise="symmetric", zero_diagonal=False))

    crowd = sp.csr_matrix(np.ones((200, 2)))  # 40,000 pairs against 800 reads of H
    pairs = sp.csr_matrix(np.kron(np.eye(50), np.ones((2, 20))))  # 200 pairs against 4,000 reads
    # 1,280 pairs (2,400 by the bound, so they are counted) and 160 rows against 840 reads of H
    bundles = sp.csr_matrix(np.kron(np.eye(20), np.ones((8, 2))))
    assert chosen(crowd) is HypergraphOperator
    assert chosen(bundles) is HypergraphOperator
    assert chosen(pairs) is SparseOperator


def test_renaming_nodes_renames_the_operator():
    rng = np.random.default_rng(0)
    incidence = sp.random(30, 20, 0.15, format="csr", rng=rng)
    nodes, edges = rng.permutation(30), rng.permutation(20)
    for form in ("explicit", "implicit"):
        one, two = (
            as_matrix(propagation(h, normalise="random-walk", zero_diagonal=True, form=form))
            for h in (incidence, incidence[nodes][:, edges])
        )
        np.testing.assert_allclose(two, one[nodes][:, nodes], atol=1e-6)


def test_item_hypergraph_worked_out_on_paper():
    # Item 1 lacks the second modality: its row and its hyperedge are empty there.
    first, second = np.array([[0, 1], [1, 2], [2, 1]]), np.array([[0, 2], [-1, -1], [2, -1]])
    incidence = item_hypergraph([first, second])
    expected = [[1, 1, 0, 1, 0, 1], [0, 1, 1, 0, 0, 0], [0, 1, 1, 0, 0, 1]]
    assert incidence.toarray().tolist() == expected
    # Items 0 and 2 share neighbour 1 in the first modality and 2 in the second.
    assert (incidence @ incidence.T)[0, 2] == 2


def test_item_hypergraph_refuses_lists_over_different_items():
    for lists in ([], [np.zeros((2, 1), int), np.zeros((3, 1), int)]):
        with pytest.raises(GraphError, match="one neighbour list"):
            item_hypergraph(lists)


def test_attributes_of_one_or_too_many_nodes_make_no_hyperedge():
    labels = np.array([0, 2, 2, 0, 0, -1, 3])
    assert attribute_hyperedges(labels).toarray().T.tolist() == [[1, 0, 0, 1, 1, 0, 0], [0, 1, 1, 0, 0, 0, 0]]
    assert attribute_hyperedges(labels, max_size=2).toarray().T.tolist() == [[0, 1, 1, 0, 0, 0, 0]]
    genres = sp.csr_matrix(np.array([[2, 0, 1], [1, 1, 0], [0, 0, 0]]))
    assert attribute_hyperedges(genres).toarray().tolist() == [[1], [1], [0]]
    assert attribute_hyperedges(np.full(3, -1)).shape == (3, 0)
    with pytest.raises(GraphError, match="integers"):
        attribute_hyperedges(np.array([0.5, 1.0]))


def test_hyperedges_join_side_by_side():
    joined = join_hyperedges([R, attribute_hyperedges(np.array([0, 0, 1, 1]))])
    assert joined.shape == (4, 5) and joined.nnz == R.nnz + 4
    with pytest.raises(GraphError, match="different nodes"):
        join_hyperedges([R, R.T.tocsr()])


def test_forecast_is_exact_where_no_two_nodes_share_two_hyperedges():
    assert forecast(R).edges == (R @ R.T).nnz == 8


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 25), st.integers(1, 25), st.integers(0, 10**6))
def test_forecast_is_an_upper_bound(n, edges, seed):
    incidence = sp.random(n, edges, 0.25, format="csr", rng=np.random.default_rng(seed))
    expected = forecast(incidence)
    assert (incidence @ incidence.T).nnz <= expected.edges <= n * n
    assert expected.bytes == hypergraph.BYTES_PER_EDGE * expected.edges


def test_a_product_that_would_not_fit_is_refused_and_avoided():
    settings_ = {"normalise": "symmetric", "zero_diagonal": False, "max_bytes": 100}
    with pytest.raises(GraphError, match=r"up to 8 edges and take 320 bytes, over the limit of 100"):
        propagation(R, form="explicit", **settings_)
    assert isinstance(propagation(R, **settings_), HypergraphOperator)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"normalise": "left"}, "unknown normalisation 'left'"),
        ({"form": "dense"}, "unknown form 'dense'"),
        ({"incidence": -R}, "must not be negative"),
    ],
)
def test_bad_calls_say_what_is_wrong(change, message):
    call = {"incidence": R, "normalise": "symmetric", "zero_diagonal": True} | change
    with pytest.raises(GraphError, match=message):
        propagation(call.pop("incidence"), **call)
