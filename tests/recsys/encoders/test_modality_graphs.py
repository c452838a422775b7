"""Views by propagation over item graphs, by hand."""

import math

import numpy as np
import scipy.sparse as sp
import torch

from recsys.encoders.modality_graphs import ModalityGraphs, ViewAttention, join_views, read_by_users
from recsys.graphs.operator import SparseOperator


def test_warm_rows_are_propagated_as_often_as_asked_and_cold_items_stay_zero():
    """Items 0 and 2 are warm: 0 takes half of 2, and 2 all of 0."""
    graph = sp.csr_array(np.array([[0, 0, 0.5], [0, 0, 0], [1, 0, 0]], dtype=np.float32))
    graphs = ModalityGraphs([graph], np.array([0, 2]))
    rows = [torch.tensor([[4.0], [6.0]])]
    assert graphs(rows, 1)[0].tolist() == [[3], [0], [4]]
    assert graphs(rows, 2)[0].tolist() == [[2], [0], [3]]


def test_users_read_each_view_by_what_they_took():
    interactions = SparseOperator(sp.csr_array(np.array([[1, 0.5], [0, 2]], dtype=np.float32)))
    views = [torch.tensor([[1.0], [2.0]]), torch.tensor([[0.0], [4.0]])]
    assert [view.tolist() for view in read_by_users(interactions, views)] == [[[2], [4]], [[2], [8]]]


def test_new_items_join_by_their_own_rows_and_their_neighbours():
    """k = 3: their own row counts once, the mean of two neighbours twice; what is absent is zero."""
    own = [torch.tensor([[4.0], [7.0]]), torch.tensor([[9.0], [9.0]])]
    views = [torch.ones(2, 1), 3 * torch.ones(2, 1)]
    joined = join_views(own, views, lambda view: view, 3, torch.tensor([[False, False], [False, True]]))
    assert joined[0].tolist() == [[2], [3]] and joined[1].tolist() == [[5], [0]]


def test_attention_is_a_softmax_over_the_views_that_are_there():
    fuse = ViewAttention(1, torch.Generator().manual_seed(0))
    with torch.no_grad():
        fuse.query[0].weight.fill_(1)
        fuse.query[2].weight.fill_(1)
    one, two = torch.tensor([[1.0], [1.0]]), torch.tensor([[-1.0], [-1.0]])
    share = 1 / (1 + math.exp(-2 * math.tanh(1)))
    fused = fuse([one, two], torch.tensor([[False, False], [True, False]]))
    torch.testing.assert_close(fused, torch.tensor([[2 * share - 1], [-1.0]]))
