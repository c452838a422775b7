"""Embedding diagnostics on matrices whose figures are known."""

import math

import pytest
import torch

from recsys.objectives.diagnostics import effective_rank, embedding_diagnostics, modality_gap, sample


def test_effective_rank_by_hand():
    assert effective_rank(3 * torch.eye(5)).item() == pytest.approx(5)
    assert effective_rank(torch.ones(7, 4)).item() == pytest.approx(1, abs=1e-5)
    # singular values 3 and 1: p = 3/4, 1/4
    entropy = -(0.75 * math.log(0.75) + 0.25 * math.log(0.25))
    assert effective_rank(torch.diag(torch.tensor([3.0, -1.0]))).item() == pytest.approx(math.exp(entropy))
    assert effective_rank(torch.zeros(3, 2)).item() == 0


def test_modality_gap_by_hand():
    x = torch.tensor([[1.0, 0.0], [0.0, 2.0], [0.0, 0.0]])
    y = torch.tensor([[-5.0, 0.0], [0.0, -1.0]])
    # centres (1/2, 1/2) and (-1/2, -1/2), the missing row left out
    assert modality_gap(x, y).item() == pytest.approx(math.sqrt(2))
    assert modality_gap(x, x).item() == 0


def test_all_figures_are_reported():
    users, items = torch.eye(3), torch.eye(4)[:, :3] + 0.1
    pairs = (torch.tensor([0, 1]), torch.tensor([0, 1]))
    figures = embedding_diagnostics(users, items, pairs, {"b": items, "a": -items, "wide": torch.ones(4, 9)})
    assert set(figures) == {
        "alignment",
        "uniformity_users",
        "uniformity_items",
        "effective_rank_users",
        "effective_rank_items",
        "modality_gap_a_b",
    }
    assert figures["uniformity_users"] == pytest.approx(-4)  # all distances are sqrt 2, t = 2
    assert figures["effective_rank_users"] == pytest.approx(3)
    assert all(isinstance(v, float) and math.isfinite(v) for v in figures.values())


def test_rows_choose_what_all_but_the_alignment_looks_at():
    users, items = torch.eye(3), torch.eye(4, 3) + 0.1
    pairs = (torch.tensor([0, 1]), torch.tensor([3, 1]))
    rows = (torch.tensor([0, 2]), torch.tensor([1, 2, 3]))
    some = embedding_diagnostics(users, items, pairs, {"a": items, "b": -items}, rows)
    whole = embedding_diagnostics(users, items, pairs, {"a": items, "b": -items})
    parts = embedding_diagnostics(
        users[rows[0]], items[rows[1]], (torch.tensor([0]),) * 2, {"a": items[1:], "b": -items[1:]}
    )
    assert some.pop("alignment") == whole.pop("alignment")
    assert some == {name: parts[name] for name in some} and some != whole


def test_a_sample_is_bounded_of_what_occurs_and_repeatable():
    pairs = (torch.arange(100) % 30 + 5, torch.arange(100) + 7)

    def drawn(limit, seed):
        return sample(pairs, limit, torch.Generator().manual_seed(seed))

    (users, items), (some_users, some_items) = drawn(20, 1)
    assert len(users) == len(items) == len(some_users) == len(some_items) == 20
    known = set(zip(*(ids.tolist() for ids in pairs), strict=True))
    taken = set(zip(users.tolist(), items.tolist(), strict=True))
    assert taken < known and len(taken) == 20
    assert set(some_users.tolist()) < set(range(5, 35)) and set(some_items.tolist()) < set(range(7, 107))
    again, other = drawn(20, 1), drawn(20, 2)
    assert torch.equal(again[0][0], users) and not torch.equal(other[0][0], users)
    assert [len(ids) for part in drawn(1000, 1) for ids in part] == [100, 100, 30, 100]
