"""HyperWalk's steps worked out on paper, and against the walk taken edge by edge."""

import numpy as np
import pytest
import scipy.sparse as sp

from recsys.datasets.dataset import Modality
from recsys.datasets.splits import make_split
from recsys.inputs.training_data import TrainingData
from recsys.models.closed_form.hyperwalk import HyperWalk, HyperWalkSettings


def walk(data, **settings):
    model = HyperWalk(HyperWalkSettings(**settings), data, 0)
    model.fit()
    return model


def test_one_step_on_paper():
    """u0 took {0, 1}, u1 took {1, 2}. From u0's items: 1 leaves item 0 and 1/2 + 1/2 item 1; u0 gets (1 + 1/2)/2,
    u1 gets (1/2)/2, and every item what its users have."""
    rows = sp.csr_array(np.array([[1, 1, 0], [0, 1, 1]], dtype=np.float32))
    model = walk(TrainingData(rows), hops=1, leave=1.0, reach=0.0, content=0.0)
    np.testing.assert_allclose(model.scorer()(np.array([0])).numpy(), [[3 / 4, 1, 1 / 4]])


def test_reach_divides_by_the_degree_of_where_it_gets():
    rows = sp.csr_array(np.array([[1, 1, 0], [0, 1, 1]], dtype=np.float32))
    model = walk(TrainingData(rows), hops=1, leave=1.0, reach=1.0, content=0.0)
    np.testing.assert_allclose(model.scorer()(np.array([0])).numpy(), [[3 / 4, 1 / 2, 1 / 4]])


def test_what_a_user_took_stands_for_what_resembles_it():
    """Item 2 looks like item 0 and nobody but u1 took it: content alone lets u0 reach u1's items."""
    rows = sp.csr_array(np.array([[1, 0, 0, 0], [0, 0, 1, 1]], dtype=np.float32))
    looks = Modality(np.array([[1, 0], [0, 1], [1, 0.1], [0, -1]], dtype=np.float32), np.ones(4, bool))
    without = walk(TrainingData(rows, {"image": looks}), k=2, content=0.0, hops=1).scorer()(np.array([0]))
    reached = walk(TrainingData(rows, {"image": looks}), k=2, content=0.5, hops=1).scorer()(np.array([0]))
    assert without[0, 3] == 0 < reached[0, 3]


@pytest.mark.parametrize("hops", [1, 2, 3])
def test_scores_are_the_walk_taken_edge_by_edge(toy, hops):
    data = TrainingData.of(toy, make_split(toy, "cold-item"))
    model = walk(data, hops=hops, leave=0.7, reach=0.3, content=0.4, k=6, weights={"image": 3.0})
    rows, warm = data.interactions.toarray(), data.warm_items
    degree, taken = rows.sum(0), rows.sum(1)
    start = model.start.toarray()
    np.testing.assert_allclose(
        start.sum(1)[warm & toy.modalities["image"].mask & toy.modalities["tags"].mask], 1
    )
    state = rows + 0.4 * rows @ start
    for _ in range(hops):
        reached = np.zeros_like(state)
        for u in range(len(rows)):
            for v in np.flatnonzero(taken):
                held = np.flatnonzero(rows[v])
                arrived = sum(state[u, i] / degree[i] ** 0.7 for i in held) / taken[v]
                reached[u, held] += arrived / degree[held] ** 0.3
        state = reached
    state[:, ~warm] = state @ model.cold.graph.toarray().T
    scored = ~model.cannot_score()
    np.testing.assert_allclose(
        model.scorer()(np.arange(toy.n_users)).numpy()[:, scored], state[:, scored], rtol=1e-4, atol=1e-7
    )
