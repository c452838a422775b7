"""ContentRidge solves a small regression as on paper, and leaves each warm item out of its own answer."""

import numpy as np
import pytest
import scipy.sparse as sp

from recsys.datasets.dataset import Modality
from recsys.errors import UserError
from recsys.inputs.training_data import TrainingData
from recsys.models.closed_form.contentridge import ContentRidge, ContentRidgeSettings


def fitted(interactions, modalities, **settings):
    data = TrainingData(sp.csr_array(np.array(interactions, dtype=np.float32)), modalities)
    model = ContentRidge(ContentRidgeSettings(**settings), data, 0)
    model.fit()
    return model


def dense(rows, mask=None):
    rows = np.array(rows, dtype=np.float32)
    return Modality(rows, np.ones(len(rows), dtype=bool) if mask is None else np.array(mask))


def test_a_cold_item_by_hand():
    """K = [[1, 3/5], [3/5, 1]], lambda = 1: the inverse of K + I is [[2, -3/5], [-3/5, 2]] / (91/25)."""
    model = fitted([[1, 0, 0], [0, 1, 0]], {"image": dense([[5, 0], [3, 4], [2, 0]])}, regularisation=1.0)
    scores = model.scorer()(np.array([0, 1])).numpy()
    # The cold item looks like the first one: k = (1, 3/5).
    assert scores[0, 2] == pytest.approx((2 - 9 / 25) / (91 / 25))
    assert scores[1, 2] == pytest.approx((-3 / 5 + 6 / 5) / (91 / 25))


def random_case(seed=0, sparse=True):
    rng = np.random.default_rng(seed)
    interactions = (rng.random((9, 12)) < 0.35).astype(np.float32)
    interactions[:, 10:] = 0
    interactions[np.arange(9), np.arange(9)] = 1
    tags = (rng.random((12, 7)) < 0.4).astype(np.float32)
    tags[np.arange(12), np.arange(12) % 7] = 1
    image = rng.normal(size=(12, 3)).astype(np.float32)
    content = sp.csr_array(tags) if sparse else tags
    return interactions, {"tags": Modality(content, np.ones(12, bool)), "image": dense(image)}


@pytest.mark.parametrize("sparse", [True, False])
def test_warm_items_are_judged_without_themselves(sparse):
    """By users who did not take them: against one regression for each warm item, fitted without it."""
    interactions, modalities = random_case(sparse=sparse)
    model = fitted(interactions, modalities, regularisation=0.7, weights={"image": 0.5})
    ours = model.scorer()(np.arange(9)).numpy()
    kernel = np.zeros((12, 12))
    for name, weight in (("tags", 1.0), ("image", 0.5)):
        rows = modalities[name].features
        rows = (rows.toarray() if sp.issparse(rows) else rows).astype(np.float64)
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
        kernel += weight * rows @ rows.T
    warm = np.flatnonzero(interactions.any(0))
    for item in range(12):
        others = warm[warm != item]
        weights = np.linalg.solve(
            kernel[np.ix_(others, others)] + 0.7 * np.eye(len(others)), kernel[others, item]
        )
        without = interactions[:, item] == 0
        expected = interactions[:, others] @ weights
        np.testing.assert_allclose(ours[without, item], expected[without], atol=1e-5)


def test_a_large_lambda_is_content_knn():
    interactions, modalities = random_case()
    from recsys.models.closed_form.contentknn import ContentKNN, ContentKNNSettings

    model = fitted(interactions, modalities, regularisation=1e4)
    knn = ContentKNN(ContentKNNSettings(), model.data, 0)
    ours, plain = (m.scorer()(np.arange(9)).numpy()[:, 10:] for m in (model, knn))
    np.testing.assert_allclose(1e4 * ours, plain, rtol=5e-3, atol=1e-2)


@pytest.mark.parametrize("block", [1, 5, 64])
def test_blocks_do_not_matter(monkeypatch, block):
    interactions, modalities = random_case()
    whole = fitted(interactions, modalities).inverse
    monkeypatch.setattr("recsys.models.closed_form.ease.BLOCK", block)
    blocked = fitted(interactions, modalities).inverse
    np.testing.assert_allclose(blocked, whole, atol=1e-6)
    np.testing.assert_array_equal(blocked, blocked.T)


def test_an_unknown_modality_is_an_error():
    interactions, modalities = random_case()
    with pytest.raises(UserError, match="no modality 'imge' in use; did you mean 'image'"):
        fitted(interactions, modalities, weights={"imge": 1.0})
