"""Pop counts, and guesses from content what it cannot count."""

from fractions import Fraction

import numpy as np
import pytest
import scipy.sparse as sp

from recsys.datasets.dataset import Modality
from recsys.errors import UserError
from recsys.inputs.training_data import TrainingData
from recsys.models.closed_form.pop import Pop, PopSettings


def pop(counts, kinds, **settings):
    """`counts[i]` users took item i, which is of kind 0 or 1, or None: without content."""
    features = np.array([[kind == 0, kind == 1] for kind in kinds], dtype=np.float32)
    taken = np.array([[user < count for count in counts] for user in range(max(counts))], dtype=np.float32)
    mask = np.array([kind is not None for kind in kinds])
    modalities = {"kind": Modality(features, mask)} if mask.any() else {}
    model = Pop(PopSettings(**settings), TrainingData(sp.csr_array(taken), modalities), 0)
    model.fit()
    return model


def test_cold_items_lie_between_the_mean_of_all_and_that_of_their_kind():
    """log2(1 + n) of the warm items: 1 and 1 of kind 0, 3 of kind 1, so their mean is 5/3. A ridge regression on kinds,
    free of the mean, shrinks a kind's deviation: with regularisation 1/3 the difference of 2 between the kinds becomes
    2 (2/3 * 2) / (2/3 * 2 + 1/3) = 8/5 (scatter of the kinds' difference: 2 columns, 2 * 1 / 3 each)."""
    model = pop([1, 1, 7, 0, 0], [0, 0, 1, 0, 1], ridge=1 / 3)
    expected = Fraction(5, 3) - Fraction(8, 5) / 3, Fraction(5, 3) + Fraction(8, 5) * 2 / 3
    scores = model.scorer()(np.arange(2)).numpy()
    np.testing.assert_allclose(scores[0, :3], [1, 1, 7])
    np.testing.assert_allclose(
        np.log2(1 + scores[:, 3:]), np.tile(np.array(expected, float), (2, 1)), rtol=1e-5
    )


def test_the_power_is_that_of_the_expected_count_too():
    plain, root = (pop([1, 1, 7, 0], [0, 0, 1, 1], ridge=1.0, power=power) for power in (1.0, 0.5))
    np.testing.assert_allclose(root.counts**2, plain.counts, rtol=1e-5)


def test_a_cold_item_without_content_scores_lowest():
    scores = pop([1, 1, 7, 0, 0], [0, 0, 1, 1, None], ridge=1.0).scorer()(np.arange(1)).numpy()[0]
    assert scores[4] < scores[:4].min()


def test_content_is_asked_for_where_there_is_none():
    with pytest.raises(UserError, match="needs item features"):
        pop([1, 1, 7], [None, None, None], ridge=1.0)
