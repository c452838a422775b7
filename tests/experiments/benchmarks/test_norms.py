"""Scores whose items' lengths are changed."""

import numpy as np
import torch

from recsys.experiments.benchmarks.norms import added, multiplied

USERS, ITEMS = torch.tensor([[3.0, 4.0]]), torch.tensor([[2.0, 0.0], [0.0, 1.0]])
COUNTS = torch.tensor([0.0, 3.0])


def scores(scorer):
    return scorer(np.arange(1))[0].tolist()


def test_lengths_times_popularity():
    assert scores(multiplied(USERS, ITEMS, COUNTS, 1.0, 0.0)) == [6.0, 4.0]  # as they were
    assert scores(multiplied(USERS, ITEMS, COUNTS, 0.0, 0.5)) == [
        3.0,
        8.0,
    ]  # unit items, times the root of count + 1


def test_unit_vectors_plus_popularity():
    found = scores(added(USERS, ITEMS, COUNTS, 0.0, 0.5))
    np.testing.assert_allclose(found, [0.6, 0.8 + 0.5 * np.log(4)], rtol=1e-6)
