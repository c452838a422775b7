"""The sparse product against a dense one: values, gradients, shapes, dtypes."""

import copy

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys.errors import GraphError
from recsys.graphs import operator as module
from recsys.graphs.operator import SparseOperator, table_rows

# [[1, 0, 2], [0, 0, 3]]: the second column is empty, so the transpose has an empty row.
SMALL = sp.csr_matrix(np.array([[1.0, 0.0, 2.0], [0.0, 0.0, 3.0]]))


def random_csr(rows, columns, seed, density=0.3):
    return sp.random(rows, columns, density, format="csr", rng=np.random.default_rng(seed))


def test_product_and_transpose_worked_out_on_paper():
    operator = SparseOperator(SMALL)
    x = torch.tensor([[1.0, 10.0], [5.0, 5.0], [2.0, 20.0]])
    assert operator(x).tolist() == [[5.0, 50.0], [6.0, 60.0]]
    g = torch.tensor([[1.0], [10.0]])
    assert operator.T(g).tolist() == [[1.0], [0.0], [32.0]]
    assert operator.adjoint(g).tolist() == (operator.T @ g).tolist()
    assert (operator.shape, operator.T.shape, operator.nnz) == ((2, 3), (3, 2), 3)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 70), st.integers(0, 10**6))
def test_equals_the_dense_product_forwards_and_backwards(rows, columns, width, seed):
    matrix = random_csr(rows, columns, seed)
    dense = torch.from_numpy(matrix.toarray())
    x = torch.randn(columns, width, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    x32 = x.float().requires_grad_()
    y = SparseOperator(matrix)(x32)
    torch.testing.assert_close(y.double(), dense @ x, rtol=1e-5, atol=1e-5)
    y.square().sum().backward()
    torch.testing.assert_close(x32.grad.double(), 2 * dense.T @ (dense @ x), rtol=1e-4, atol=1e-4)


def test_gradients_of_first_and_second_order():
    operator = SparseOperator(random_csr(7, 5, 0)).double()
    x = torch.randn(5, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda v: operator(v).sin(), x)
    assert torch.autograd.gradgradcheck(lambda v: operator(v).sin(), x)
    assert torch.autograd.gradcheck(lambda v: operator.T(v).sin(), operator(x).detach().requires_grad_())


def test_symmetric_keeps_one_copy_and_the_same_gradient():
    half = random_csr(20, 20, 1)
    one, two = SparseOperator(half + half.T, symmetric=True), SparseOperator(half + half.T)
    assert len(list(one.buffers())) == 3 and len(list(two.buffers())) == 6
    assert one.T is one
    grads = []
    for operator in (one, two):
        x = torch.ones(20, 2, requires_grad=True)
        operator(x).square().sum().backward()
        grads.append(x.grad)
    torch.testing.assert_close(*grads)


def test_unsorted_and_duplicate_entries_are_summed():
    matrix = sp.csr_matrix((np.ones(3), np.array([1, 0, 1]), np.array([0, 3])), shape=(1, 2))
    operator = SparseOperator(matrix)
    assert operator(torch.tensor([[1.0], [10.0]])).tolist() == [[21.0]]
    assert operator.nnz == 2
    assert not matrix.has_canonical_format  # the caller's matrix is left as it was


def test_an_empty_matrix_gives_zeros_and_zero_gradient():
    x = torch.ones(3, 2, requires_grad=True)
    y = SparseOperator(sp.csr_matrix((4, 3)))(x)
    y.sum().backward()
    assert y.shape == (4, 2) and y.abs().sum() == 0 and x.grad.abs().sum() == 0


def test_strided_input_gives_the_same_product():
    operator = SparseOperator(SMALL)
    x = torch.randn(2, 3).T
    assert torch.equal(operator(x), operator(x.contiguous()))


def test_no_state_is_saved_and_copies_work():
    operator = SparseOperator(SMALL)
    assert operator.state_dict() == {}
    assert torch.equal(copy.deepcopy(operator)(torch.ones(3, 1)), operator(torch.ones(3, 1)))


def test_low_precision_input_is_widened_and_high_refused():
    operator = SparseOperator(SMALL)
    assert operator(torch.ones(3, 1, dtype=torch.bfloat16)).dtype == torch.float32
    with pytest.raises(GraphError, match="float64"):
        operator(torch.ones(3, 1, dtype=torch.float64))


@pytest.mark.parametrize("shape", [(2, 4), (3,), (3, 2, 1)])
def test_input_of_another_shape_is_refused(shape):
    with pytest.raises(GraphError, match=r"needs \(3, d\)"):
        SparseOperator(SMALL)(torch.ones(shape))


def test_a_symmetric_operator_must_be_square():
    with pytest.raises(GraphError, match="square"):
        SparseOperator(SMALL, symmetric=True)


@pytest.mark.parametrize("symmetric", [False, True])
def test_rows_gone_through_group_by_group_give_the_same_bits(symmetric, monkeypatch):
    matrix = random_csr(60, 60, 3, density=0.1)
    matrix = matrix + matrix.T if symmetric else matrix
    x = torch.randn(60, 8, requires_grad=True)
    plain = SparseOperator(matrix, symmetric, clustered=True)
    assert plain.place is None, "so few rows are left as they are"
    monkeypatch.setattr(module, "CLUSTERED_FROM", 60)
    clustered = SparseOperator(matrix, symmetric, clustered=True)
    assert not torch.equal(clustered.place, torch.arange(60))
    for apply in (lambda a: a(x), lambda a: a.adjoint(x), lambda a: a.T(x)):
        found, expected = apply(clustered), apply(plain)
        assert torch.equal(found, expected)
        gradients = [torch.autograd.grad(y.square().sum(), x)[0] for y in (found, expected)]
        assert torch.equal(*gradients)
    with pytest.raises(GraphError, match="a clustered operator needs a square matrix"):
        SparseOperator(SMALL, clustered=True)


@pytest.mark.parametrize("shape", [(40,), (20, 3)])
def test_rows_of_a_large_table_and_their_gradient_are_those_of_embedding_to_the_bit(shape, monkeypatch):
    table = torch.randn(11, 8, requires_grad=True)
    ids = torch.randint(10, shape)  # the last row is nobody's
    weights = torch.randn(*shape, 8)
    expected = torch.nn.functional.embedding(ids, table)
    to_table = torch.autograd.grad((expected * weights).sum(), table)[0]
    monkeypatch.setattr(module, "CACHED", 0)
    found = table_rows(ids, table)
    assert "_Rows" in type(found.grad_fn).__name__ and torch.equal(found, expected)
    assert torch.equal(torch.autograd.grad((found * weights).sum(), table)[0], to_table)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cuda_equals_cpu():
    operator = SparseOperator(random_csr(50, 30, 2))
    x = torch.randn(30, 64)
    expected = operator(x)
    on_device = x.cuda().requires_grad_()
    got = operator.cuda()(on_device)
    got.sum().backward()
    torch.testing.assert_close(got.detach().cpu(), expected)
    torch.testing.assert_close(on_device.grad.cpu(), operator.cpu().adjoint(torch.ones(50, 64)))
