"""What training may see, and the audit that follows cold ids into it."""

import numpy as np
import pytest
import scipy.sparse as sp
import torch

from recsys.datasets.splits import make_split
from recsys.errors import LeakError
from recsys.inputs import sampler as sampling
from recsys.inputs.sampler import Sampler
from recsys.inputs.training_data import TrainingData
from recsys.models.collaborative.lightgcn import LightGCN
from recsys.runs.config import RunConfig
from recsys.runs.run import execute, prepare


@pytest.fixture
def cold(toy):
    split = make_split(toy, "cold-item")
    return split, TrainingData.of(toy, split)


def test_nothing_of_validation_or_test_is_there(toy, cold):
    split, data = cold
    assert data.interactions.nnz == len(split.train)
    assert np.array_equal(data.warm_items, ~split.cold_items)
    assert data.item_counts()[split.cold_items].sum() == 0


def test_an_honest_run_passes_the_audit(cold):
    split, data = cold
    Sampler(data, 8, 1, 0)
    data.graph("bipartite", data.interactions, "users", "items")
    assert data.ledger.audit(split.cold_users, split.cold_items) == 4


@pytest.mark.parametrize("axis", ["rows", "columns"])
def test_a_graph_with_a_cold_item_fails_the_audit(cold, axis):
    split, data = cold
    warm, item = np.flatnonzero(~split.cold_items)[0], np.flatnonzero(split.cold_items)[0]
    edge = (item, warm) if axis == "rows" else (warm, item)
    leaky = sp.csr_array(([1.0], ([edge[0]], [edge[1]])), shape=(data.n_items, data.n_items))
    data.graph("neighbours", leaky, "items", "items")
    with pytest.raises(LeakError, match=rf"graph 'neighbours' touches 1 cold items .*number {item}\)"):
        data.ledger.audit(split.cold_users, split.cold_items)


@pytest.mark.parametrize("kind", ["sampler", "normaliser"])
def test_a_sampler_or_normaliser_with_a_cold_item_fails_the_audit(cold, kind):
    split, data = cold
    data.ledger.record(kind, "leaky", items=np.ones(data.n_items, bool))
    with pytest.raises(LeakError, match=f"{kind} 'leaky'"):
        data.ledger.audit(split.cold_users, split.cold_items)


def test_a_planted_leak_fails_the_run(toy, tmp_path):
    """A model that records one cold item's edge is stopped before it reports anything."""
    run = prepare(RunConfig(model="ease", dataset="toy", split="cold-item"), toy)
    run.data.graph("leak", toy.matrix(run.split.test), "users", "items")
    with pytest.raises(LeakError, match="graph 'leak'"):
        execute(run, tmp_path / "run")
    assert not (tmp_path / "run" / "metrics.json").exists()


def test_a_gradient_on_a_cold_row_fails_the_run(toy, tmp_path, monkeypatch):
    """The audit does not rest on what a model says of itself: ID rows are watched while training."""
    honest = LightGCN.loss

    def leaky(self, batch):
        return honest(self, batch) | {"leak": 1e-3 * self.item_table.square().sum()}

    monkeypatch.setattr(LightGCN, "loss", leaky)
    run = prepare(
        RunConfig(model="lightgcn", dataset="toy", split="cold-item", settings={"max_epochs": 1}), toy
    )
    with pytest.raises(LeakError, match="ID table 'item_table' trains the rows of cold items"):
        execute(run, tmp_path / "run")


def test_sampler_visits_every_pair_once_and_negatives_are_unseen_warm_items(cold):
    _, data = cold
    seen = {(u, i) for u, i in zip(*data.interactions.nonzero(), strict=True)}
    visited = []
    for batch in Sampler(data, 50, 3, seed=4).epoch(0):
        visited += list(zip(batch.users.tolist(), batch.positives.tolist(), strict=True))
        assert batch.negatives.shape == (len(batch.users), 3)
        for user, row in zip(batch.users.tolist(), batch.negatives.tolist(), strict=True):
            assert all((user, item) not in seen and data.warm_items[item] for item in row)
    assert sorted(visited) == sorted(seen)


def test_sampling_by_users_draws_each_once_a_batch_from_its_own_items(cold):
    _, data = cold
    batches = list(Sampler(data, 20, 1, seed=4, by="users").epoch(0))
    for batch in batches:
        assert len(set(batch.users.tolist())) == len(batch.users) == 20
        assert all(data.interactions[u, i] == 1 for u, i in zip(batch.users, batch.positives, strict=True))
    assert len(batches) == -(-data.interactions.nnz // 20)


def test_epochs_differ_and_repeat(cold):
    _, data = cold
    sampler = Sampler(data, 1000, 1, seed=4)
    first, again, second = (next(sampler.epoch(e)) for e in (0, 0, 1))
    assert torch.equal(first.users, again.users) and torch.equal(first.negatives, again.negatives)
    assert not torch.equal(first.users, second.users)


@pytest.mark.parametrize("by", ["pairs", "users", "rows"])
def test_batches_of_many_interactions_hold_the_same_rows_in_the_order_of_their_users(cold, by, monkeypatch):
    _, data = cold
    plain = next(Sampler(data, 50, 2, seed=4, by=by).epoch(0))
    monkeypatch.setattr(sampling, "CACHED", 0)
    batch = next(Sampler(data, 50, 2, seed=4, by=by).epoch(0))
    assert not torch.equal(plain.users, batch.users) and (batch.users.diff() >= 0).all()
    rows = [sorted(zip(b.users.tolist(), b.positives.tolist(), strict=True)) for b in (plain, batch)]
    assert rows[0] == rows[1]
    users, items = batch.users.repeat_interleave(2).numpy(), batch.negatives.flatten().numpy()
    assert data.interactions.toarray()[users, items].sum() == 0


def test_negatives_are_uniform_over_unseen_items():
    """One user with items 0 and 1 of five: 2, 3 and 4 are drawn a third of the time each."""
    rows = sp.csr_array(np.array([[1, 1, 0, 0, 0], [0, 0, 1, 1, 1]], dtype=np.float32))
    sampler = Sampler(TrainingData(rows), 5, 20_000, seed=0)
    batch = next(sampler.epoch(0))
    drawn = torch.bincount(batch.negatives[batch.users == 0].flatten(), minlength=5) / 40_000
    assert drawn[:2].sum() == 0
    assert torch.allclose(drawn[2:], torch.full((3,), 1 / 3), atol=0.01)


def test_a_user_with_every_item_does_not_hang():
    rows = sp.csr_array(np.ones((2, 3), dtype=np.float32))
    assert len(list(Sampler(TrainingData(rows), 4, 1, 0).epoch(0))) == 2


def test_timestamps_are_those_of_the_training_interactions_in_their_order(toy):
    split = make_split(toy, "cold-user")
    data = TrainingData.of(toy, split)
    times = {(r.user, r.item): r.timestamp for r in toy.interactions.itertuples()}
    users, items = data.interactions.nonzero()
    assert data.use_timestamps("context").tolist() == [times[u, i] for u, i in zip(users, items, strict=True)]
    assert data.ledger.uses[-1].kind == "timestamps"
    data.ledger.audit(split.cold_users, split.cold_items)
    assert TrainingData(data.interactions).use_timestamps("context") is None
