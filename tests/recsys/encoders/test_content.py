"""Content rows, dense or sparse, against W x + b by hand."""

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from torch import nn

from recsys.datasets.dataset import Modality
from recsys.encoders.content import ContentRows, ItemContent
from recsys.errors import UserError

FEATURES = np.array([[3, 4], [0, 0], [0, 2], [5, 0]], dtype=np.float32)
MASK = np.array([True, False, True, True])
EXPECTED = np.array([[3 / 5 + 8 / 5 + 1], [0], [2 + 1], [1 + 1]])
"""W = [1, 2], b = 1: unit rows (3/5, 4/5), (0, 1) and (1, 0); the second item has no content."""


@pytest.fixture
def layer():
    layer = nn.Linear(2, 1)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[1.0, 2.0]]))
        layer.bias.fill_(1.0)
    return layer


@pytest.mark.parametrize("kind", [np.asarray, sp.csr_array])
@pytest.mark.parametrize("held", [None, np.array([2, 0, 1])])
@pytest.mark.parametrize("rows", [None, [1, 0, 0]])
def test_rows_are_unit_rows_through_the_layer_and_zero_where_missing(kind, held, rows, layer):
    content = ContentRows(Modality(kind(FEATURES), MASK), held)
    expected = EXPECTED if held is None else EXPECTED[held]
    expected = expected if rows is None else expected[rows]
    out = content(layer, None if rows is None else torch.tensor(rows))
    np.testing.assert_allclose(out.detach().numpy(), expected, rtol=1e-6)


@pytest.mark.parametrize("kind", [np.asarray, sp.csr_array])
def test_gradients_reach_the_layer_from_present_rows_alone(kind, layer):
    ContentRows(Modality(kind(FEATURES), MASK))(layer).sum().backward()
    np.testing.assert_allclose(layer.weight.grad.numpy(), [[3 / 5 + 1, 4 / 5 + 1]], rtol=1e-6)
    assert float(layer.bias.grad) == 3.0


def test_nothing_is_saved_and_a_layer_without_bias_will_do():
    content = ContentRows(Modality(FEATURES, MASK))
    assert not content.state_dict()
    layer = nn.Linear(2, 1, bias=False)
    assert float(content(layer)[1].detach()) == 0.0


def test_content_of_other_items_goes_through_the_same_layers():
    catalogue = {"image": Modality(FEATURES, MASK), "text": Modality(FEATURES[:, :1], FEATURES[:, 0] > 0)}
    content = ItemContent(catalogue, np.array([0, 3]))
    layers = content.layers(3, torch.Generator().manual_seed(0))
    assert [layer.in_features for layer in layers] == content.widths == [2, 1]
    other = content.of({"sound": catalogue["text"], **catalogue})
    assert other.names == ["image", "text"]
    assert other.absent.tolist() == [[False, False], [True, True], [False, True], [False, False]]
    for held, rows in zip(content.project(layers), other.project(layers), strict=True):
        torch.testing.assert_close(held, rows[[0, 3]])
    assert list(content.by_name(layers)) == ["image", "text"]


RAW = np.array([[3 + 8 + 1], [0], [4 + 1], [5 + 1]])
"""The same layer on the rows as they come."""


@pytest.mark.parametrize("kind", [np.asarray, sp.csr_array])
def test_raw_rows_keep_their_length(kind, layer):
    out = ContentRows(Modality(kind(FEATURES), MASK), None, "raw")(layer)
    np.testing.assert_allclose(out.detach().numpy(), RAW, rtol=1e-6)


def test_trained_rows_are_raw_ones_that_take_a_gradient_where_an_item_has_them(layer):
    content = ItemContent({"image": Modality(FEATURES, MASK)}, None, "trained")
    (out,) = content.project([layer])
    np.testing.assert_allclose(out.detach().numpy(), RAW, rtol=1e-6)
    out.sum().backward()
    (rows,) = content.parameters()
    np.testing.assert_array_equal(rows.grad.numpy(), MASK[:, None] * np.array([[1, 2]]))
    other = content.of({"image": Modality(FEATURES, MASK)})
    assert not list(other.parameters()), "items that arrive later have untrained features"
    np.testing.assert_allclose(other.project([layer])[0].detach().numpy(), RAW, rtol=1e-6)


def test_sparse_features_cannot_be_trained():
    with pytest.raises(UserError, match="needs dense features, and some are sparse; set features=unit"):
        ContentRows(Modality(sp.csr_array(FEATURES), MASK), None, "trained")
