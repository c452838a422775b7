"""Sets, the multinomial term, slots and signals against their slow definitions."""

import numpy as np
import pytest
import scipy.sparse as sp
import torch

from recsys.datasets.bundles import bundle_view
from recsys.datasets.dataset import Modality
from recsys.encoders.feature_attention import AttentionMean
from recsys.errors import UserError
from recsys.inputs.training_data import TrainingData
from recsys.models.bundle.cooccurrence import CooccurrenceContent
from recsys.models.bundle.sets import draw_given, padded, to_rows
from recsys.models.bundle.signals import Signals
from recsys.objectives.ranking.multinomial import log_partition, multinomial

ROWS = sp.csr_array(np.array([[1, 0, 1, 1], [0, 0, 0, 0], [0, 1, 0, 0]], dtype=np.float32))


def test_padded_sets_hold_their_rows():
    sets = padded(ROWS, 3)
    assert sets.items.tolist() == [[0, 2, 3], [0, 0, 0], [1, 0, 0]]
    assert sets.present.tolist() == [[True] * 3, [False] * 3, [True, False, False]]
    np.testing.assert_array_equal(to_rows(sets, 4).toarray(), ROWS.toarray())
    with pytest.raises(UserError, match="row 0 holds 3 items, more than max_length=2"):
        padded(ROWS, 2)


@pytest.mark.parametrize("ratio", [None, 0.0, 0.5, 1.0])
def test_a_part_of_each_set_is_given_and_of_two_not_all(ratio):
    sets = padded(sp.csr_array(np.tri(6, dtype=np.float32)), 6)
    seen = set()
    for seed in range(50):
        given = draw_given(sets, torch.Generator().manual_seed(seed), ratio)
        counts = given.sum(1).tolist()
        assert not (given & ~sets.present).any()
        assert counts[0] == 1 and all(1 <= c <= max(1, n) for n, c in enumerate(counts))
        seen.add(tuple(counts))
    if ratio is None:
        assert {c[5] for c in seen} == {1, 2, 3, 4, 5}
    else:
        assert seen == {tuple(int(np.clip(round(ratio * n + 0.5), 1, max(1, n - 1))) for n in range(1, 7))}


@pytest.mark.parametrize("block", [1, 2, 3, 100])
def test_the_likelihood_is_the_papers_whatever_the_block(block):
    generator = torch.Generator().manual_seed(0)
    q, k = (torch.randn(n, 3, generator=generator, dtype=torch.float64, requires_grad=True) for n in (2, 5))
    excluded = torch.tensor([0, 1]), torch.tensor([4, 0])
    rows, columns = torch.tensor([0, 0, 1]), torch.tensor([1, 2, 3])
    partition = log_partition(q, k, excluded, block=block)
    value = multinomial(partition, (q[rows] * k[columns]).sum(1), rows)
    scores = q @ k.T
    scores[excluded] = -torch.inf
    logs = scores.log_softmax(1)
    expected = -((logs[0, 1] + logs[0, 2]) / 2 + logs[1, 3]) / 2
    torch.testing.assert_close(value, expected)
    for ours, theirs in zip(
        torch.autograd.grad(value, (q, k)), torch.autograd.grad(expected, (q, k)), strict=True
    ):
        torch.testing.assert_close(ours, theirs)


def test_what_is_missing_has_no_say():
    attention = AttentionMean(4, torch.Generator().manual_seed(0))
    rows = torch.randn(3, 3, 4, generator=torch.Generator().manual_seed(1))
    held, none = torch.ones(3, 2, dtype=torch.bool), torch.zeros(3, 1, dtype=torch.bool)
    torch.testing.assert_close(attention(rows, torch.cat([held, none], 1)), attention(rows[:, :2], held))
    empty = attention(rows[:, :1], none)
    assert not empty.any() and empty.isfinite().all()


@pytest.fixture
def whole(bundled):
    view = bundle_view(bundled)
    return view.matrix(np.arange(len(view.interactions))), view


def test_signals_without_some_bundles_are_those_of_a_world_without_them(whole):
    rows, view = whole
    left_out = np.arange(0, 60, 7)
    kept = rows.toarray()
    kept[left_out] = 0
    given, items = rows[left_out], np.arange(view.n_items)
    signals = Signals(TrainingData(rows, view.modalities), 0.5).without(rows[left_out])
    together = kept.T @ kept
    np.fill_diagonal(together, 0)
    expected, count = given @ together, np.maximum(kept.sum(0), 1)
    size = np.diff(given.indptr)[:, None]
    slow = {
        "count": np.log1p(expected),
        "together": expected > 0,
        "cosine count": expected / np.sqrt(count),
        "mean count": expected / size,
        "rate": (given @ (together / count[:, None])) / size,
    }
    found = signals(given, items).numpy()
    for name, values in slow.items():
        np.testing.assert_allclose(found[..., signals.names.index(name)], values, rtol=1e-5, err_msg=name)


def test_likeness_counts_less_the_more_bundles_hold_an_item(whole):
    rows, view = whole
    signals = Signals(TrainingData(rows, view.modalities), 2.0)
    found = signals(rows[[3, 9]], np.arange(view.n_items)).numpy()
    at = signals.names.index("look mean")
    share = 2 / (2 + rows.sum(axis=0))
    assert share.min() < 0.5 < share.max()
    np.testing.assert_allclose(found[..., at + 3], found[..., at] * share, rtol=1e-5)


def test_signals_of_sparse_content_are_those_of_dense(whole):
    rows, view = whole
    dense = view.modalities["look"]
    sparse = {"look": Modality(sp.csr_array(dense.features), dense.mask)}
    found = [Signals(TrainingData(rows, m), 0.5)(rows[:5], np.arange(9)) for m in (view.modalities, sparse)]
    torch.testing.assert_close(*found, atol=1e-5, rtol=1e-5)


def test_signals_of_content_are_means_and_maxima_of_cosines(whole):
    rows, view = whole
    signals = Signals(TrainingData(rows, view.modalities), 0.5)
    content = view.modalities["look"].features.astype(np.float64)
    norms = np.linalg.norm(content, axis=1, keepdims=True)
    content = np.divide(content, norms, out=np.zeros_like(content), where=norms > 0)
    given, items = rows[[3]], np.array([0, 7, 36])
    cosines = content[given.indices] @ content[items].T
    found = signals(given, items)[0].numpy()
    at = signals.names.index("look mean")
    np.testing.assert_allclose(found[:, at], cosines.mean(0), atol=1e-5)
    np.testing.assert_allclose(found[:, at + 1], np.maximum(cosines.max(0), 0), atol=1e-5)


def test_items_without_content_are_ranked_by_what_they_occurred_with():
    r = sp.csr_array(np.array([[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 1, 0]], dtype=np.float32))
    mask = np.array([True, False, True, False])
    data = TrainingData(r, {"x": Modality(np.eye(4, dtype=np.float32) * mask[:, None], mask)})
    model = CooccurrenceContent(CooccurrenceContent.Settings(), data, 0)
    model.fit()
    assert model.cannot_score().tolist() == [False, False, False, True], "item 3 has neither"
    scores = model.scorer()(np.array([0]))[0]
    assert scores[1] > scores[2] and scores[1] > scores[3]
