"""LightGCN's training epoch against a plain transcription: COO products, and negatives drawn pair by pair.

    python -m recsys.experiments.benchmarks.training --data-root DIR

Prints both epoch times in seconds, measured in turn in one run, and their ratio; on tiktok, or on a random graph of
its size where there is no data root.
"""

from __future__ import annotations

import argparse
import random
import statistics
import time
from collections.abc import Callable

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from recsys.graphs.bipartite import bipartite_adjacency
from recsys.inputs.sampler import Sampler
from recsys.inputs.training_data import TrainingData
from recsys.models.collaborative.lightgcn import LightGCN

WIDTH, LAYERS, BATCH, REG, RATE = 64, 2, 2048, 1e-4, 1e-3


def interactions(data_root: str | None) -> sp.csr_array:
    """The training matrix of tiktok, or a random one of its size."""
    if data_root:
        from recsys.datasets.cards import load_dataset
        from recsys.datasets.splits import make_split

        dataset = load_dataset("tiktok", data_root)
        return dataset.matrix(make_split(dataset, "predefined").train)
    rng = np.random.default_rng(0)
    users, items = rng.integers(0, 9308, 59_541), np.minimum(rng.exponential(1000, 59_541).astype(int), 6709)
    matrix = sp.coo_array((np.ones(len(users), np.float32), (users, items)), shape=(9308, 6710)).tocsr()
    matrix.data[:] = 1
    return matrix


def ours(matrix: sp.csr_array) -> Callable[[], float]:
    """One epoch of the engine's model and sampler, with the trainer's optimizer."""
    data = TrainingData(matrix)
    model = LightGCN(LightGCN.Settings(width=WIDTH, layers=LAYERS, reg=REG), data, 0)
    sampler = Sampler(data, BATCH, 1, 0)
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=0.0, fused=True)

    def epoch() -> float:
        total = 0.0
        for batch in sampler.epoch(0):
            loss = torch.stack(list(model.loss(batch).values())).sum()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += float(loss.detach())
        return total / len(sampler)

    return epoch


def plain(matrix: sp.csr_array) -> Callable[[], float]:
    """The same model as it is commonly written."""
    n_users, n_items = matrix.shape
    coo = bipartite_adjacency(matrix).tocoo()
    places = torch.from_numpy(np.stack([coo.row, coo.col]).astype(np.int64))
    adjacency = torch.sparse_coo_tensor(places, torch.from_numpy(coo.data), coo.shape).coalesce()
    torch.manual_seed(0)
    table = torch.nn.Parameter(torch.randn(n_users + n_items, WIDTH) * (2 / (n_users + n_items)) ** 0.5)
    optimizer = torch.optim.Adam([table], lr=RATE)
    pairs = list(zip(*(a.tolist() for a in matrix.nonzero()), strict=True))
    history = [set(matrix[[u]].indices.tolist()) for u in range(n_users)]
    rng = random.Random(0)

    def triple(user: int, item: int) -> tuple[int, int, int]:
        while (negative := rng.randrange(n_items)) in history[user]:
            pass
        return user, item, negative

    def propagate() -> tuple[Tensor, Tensor]:
        layers = [table]
        for _ in range(LAYERS):
            layers.append(torch.sparse.mm(adjacency, layers[-1]))
        return torch.stack(layers).mean(0).split([n_users, n_items])

    def epoch() -> float:
        rng.shuffle(pairs)
        total, steps = 0.0, 0
        for first in range(0, len(pairs), BATCH):
            batch = torch.tensor([triple(u, i) for u, i in pairs[first : first + BATCH]])
            users, items = propagate()
            u, i, j = users[batch[:, 0]], items[batch[:, 1]], items[batch[:, 2]]
            rows = table[batch[:, 0]], table[batch[:, 1] + n_users], table[batch[:, 2] + n_users]
            loss = torch.nn.functional.softplus((u * j).sum(1) - (u * i).sum(1)).mean()
            loss = loss + REG * sum(r.square().sum() for r in rows) / (2 * len(batch))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total, steps = total + float(loss.detach()), steps + 1
        return total / steps

    return epoch


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-root")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    matrix = interactions(arguments.data_root)
    epochs = {"ours": ours(matrix), "plain": plain(matrix)}
    seconds: dict[str, list[float]] = {name: [] for name in epochs}
    losses = {}
    for _ in range(arguments.rounds + 1):
        for name, epoch in epochs.items():
            start = time.perf_counter()
            losses[name] = epoch()
            seconds[name].append(time.perf_counter() - start)
    medians = {name: statistics.median(times[1:]) for name, times in seconds.items()}
    print(
        f"{matrix.shape[0]:,} users, {matrix.shape[1]:,} items, {matrix.nnz:,} interactions; "
        f"{LAYERS} layers, width {WIDTH}, batch {BATCH}, {torch.get_num_threads()} threads"
    )
    for name, median in medians.items():
        print(f"{name:>6}: {median:.3f} s an epoch (loss {losses[name]:.4f} after {arguments.rounds + 1})")
    print(f" ratio: {medians['plain'] / medians['ours']:.1f}")


if __name__ == "__main__":
    main()
