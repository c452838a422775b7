"""EASE, of interactions alone and with content, against its formula as it reads."""

import numpy as np
import pytest

from recsys.datasets.splits import make_split
from recsys.inputs.training_data import TrainingData
from recsys.models.closed_form.ease import EASE, EASESettings


@pytest.fixture
def data(toy):
    return TrainingData.of(toy, make_split(toy, "cold-item"))


def fitted(data, **settings):
    model = EASE(EASESettings(**settings), data, 0)
    model.fit()
    return model


def weights(gram, regularisation):
    """B = I - P / diag(P), each column over its own diagonal entry."""
    inverse = np.linalg.inv(gram + regularisation * np.eye(len(gram)))
    return np.eye(len(gram)) - inverse / np.diag(inverse)


@pytest.mark.parametrize("content", [0.0, 3.0])
def test_weights_are_those_of_the_formula(data, content):
    warm = np.flatnonzero(data.warm_items)
    rows = data.interactions[:, warm].toarray().astype(np.float64)
    gram = rows.T @ rows
    for modality in data.modalities.values() if content else ():
        features = np.asarray(modality.features, dtype=np.float64)[warm]
        norms = np.linalg.norm(features, axis=1, keepdims=True)
        unit = np.divide(features, norms, out=np.zeros_like(features), where=norms > 0)
        gram += content / len(data.modalities) * unit @ unit.T
    found = fitted(data, regularisation=7.0, content=content).weights.numpy()
    np.testing.assert_allclose(found[np.ix_(warm, warm)], weights(gram, 7.0), atol=1e-5)
    assert not found[~data.warm_items].any() and not found[:, ~data.warm_items].any()


def test_powers_of_counts_weigh_interactions(data):
    warm = np.flatnonzero(data.warm_items)
    rows = data.interactions[:, warm].toarray().astype(np.float64)
    of_item, of_user = rows.sum(0) ** -0.5, np.maximum(rows.sum(1), 1) ** -0.25
    weighed = rows * of_item * of_user[:, None]
    gram = weighed.T @ weighed
    gram *= np.trace(rows.T @ rows) / np.trace(gram)
    model = fitted(data, regularisation=7.0, item_power=0.5, user_power=0.25)
    users = np.flatnonzero(data.warm_users)
    scores = model.scorer()(users).numpy()[:, warm]
    np.testing.assert_allclose(scores, (rows[users] * of_item) @ weights(gram, 7.0), atol=1e-5)


def test_a_cold_item_averages_its_nearest_warm_items(data):
    model = fitted(data, content=2.0, k=3)
    scores = model.scorer()(np.flatnonzero(data.warm_users)).numpy()
    graph = model.cold.graph.toarray()
    for row, item in zip(graph, model.cold.ids.tolist(), strict=True):
        assert row.any() and not row[~data.warm_items].any()
        np.testing.assert_allclose(scores[:, item], scores @ row, atol=1e-5)


def test_without_content_it_has_nothing_to_say_of_cold_items(data):
    assert not fitted(data).ranks_cold_items and fitted(data, content=1.0).ranks_cold_items
