"""What the bundle task costs: an epoch of each model on real bundles, and CLHE on a large synthetic catalogue.

python -m recsys.experiments.benchmarks.bundles --data-root ../shared/data
python -m recsys.experiments.benchmarks.bundles --synthetic --items 200000 --bundles 100000 --sampled 4096
"""

from __future__ import annotations

import argparse
import resource
import statistics
import time

import numpy as np
import scipy.sparse as sp
import torch

from recsys.datasets.bundles import bundle_view
from recsys.datasets.cards import load_dataset
from recsys.datasets.dataset import Modality
from recsys.datasets.splits import make_split
from recsys.inputs.sampler import Sampler
from recsys.inputs.training_data import TrainingData
from recsys.models import MODELS
from recsys.runs.config import resolve_settings

MODELS_TIMED = ("multvae", "transformer", "clhe", "clhe-signals")


def synthetic(items: int, bundles: int, length: int, width: int, seed: int = 0) -> TrainingData:
    """Bundles of `length` items each, near one another in a line, with one dense modality."""
    rng = np.random.default_rng(seed)
    first = rng.integers(items, size=bundles)
    columns = (first[:, None] + rng.integers(100, size=(bundles, length))) % items
    rows = np.repeat(np.arange(bundles), length)
    matrix = sp.coo_array(
        (np.ones(columns.size, np.float32), (rows, columns.ravel())), (bundles, items)
    ).tocsr()
    matrix.data[:] = 1
    matrix.sort_indices()
    features = rng.standard_normal((items, width), dtype=np.float32)
    return TrainingData(matrix, {"content": Modality(features, np.ones(items, dtype=bool))})


def time_epochs(name: str, data: TrainingData, values: dict, epochs: int, steps: int | None) -> str:
    """Median seconds of an epoch (or of `steps` steps, scaled to one) and the peak of resident memory so far."""
    settings, training = resolve_settings(MODELS.get(name), values)
    model = MODELS.get(name)(settings, data, 0)
    optimizer = torch.optim.AdamW(model.parameters(), lr=training.learning_rate, fused=True)
    sampler = Sampler(data, training.batch_size, training.negatives, 0, training.sample_by)
    seconds = []
    for epoch in range(epochs):
        model.start_epoch(epoch, torch.Generator().manual_seed(epoch))
        start, done = time.perf_counter(), 0
        for batch in sampler.epoch(epoch):
            optimizer.zero_grad()
            sum(model.loss(batch).values()).backward()
            optimizer.step()
            done += 1
            if done == steps:
                break
        seconds.append((time.perf_counter() - start) * len(sampler) / done)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return f"{name}: {statistics.median(seconds):.2f} s an epoch of {len(sampler)} steps, peak {peak:.2f} GiB"


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data-root")
    parser.add_argument("--dataset", default="bundle-electronic")
    parser.add_argument("--synthetic", action="store_true")
    parser.add_argument("--items", type=int, default=200_000)
    parser.add_argument("--bundles", type=int, default=100_000)
    parser.add_argument("--sampled", type=int, default=0, help="softmax over so many drawn items; 0: all")
    parser.add_argument("--batch-size", type=int, default=256)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--steps", type=int, help="of an epoch, scaled to all of it")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    a = parser.parse_args()
    torch.set_num_threads(a.threads)
    print(f"{a.threads} threads")
    if a.synthetic:
        data = synthetic(a.items, a.bundles, 8, 128)
        values = {"sampled": a.sampled, "batch_size": a.batch_size}
        print(f"{a.items:,} items, {a.bundles:,} bundles, sampled={a.sampled}")
        print(time_epochs("clhe", data, values, a.epochs, a.steps), flush=True)
        return
    view = bundle_view(load_dataset(a.dataset, a.data_root))
    data = TrainingData.of(view, make_split(view, "random"))
    for name in MODELS_TIMED:
        print(time_epochs(name, data, {}, a.epochs, a.steps), flush=True)


if __name__ == "__main__":
    main()
