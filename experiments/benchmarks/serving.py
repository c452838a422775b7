"""Items that arrive after training: 10,000 of them scored for 1,000 users, against the bare matrix product.

    python -m recsys.experiments.benchmarks.serving --run DIR
    python -m recsys.experiments.benchmarks.serving --dataset tiktok --data-root DIR --models mmhcl,freedom

Times a trained run, or trains one epoch of each model first. Start-up (reading data and weights, and the catalogue's
own scores) is not counted; what is: the new items' vectors or neighbours from their content, all scores, and each
user's 10 best. Features are random. Two threads unless --threads says otherwise. Prints seconds, and how many times
the product of 1,000 users' with 10,000 items' vectors they are. Beside other busy processes set
OMP_WAIT_POLICY=PASSIVE, or threads that wait for each other take the time of those that work.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from recsys.datasets.dataset import Modality
from recsys.inputs.requests import NewItems
from recsys.models import MODELS
from recsys.runs.config import RunConfig
from recsys.runs.recommend import catalogue_users, rank
from recsys.runs.run import Run, execute, load_run, prepare

LIMIT = 2.0
"""Seconds that it may take on two cores."""


def random_new_items(run: Run, n: int, seed: int = 0) -> NewItems:
    """n items with normal features, or as many entries as some item of the catalogue has, in columns that
    are as frequent as there."""
    rng = np.random.default_rng(seed)
    modalities = {}
    for name, own in run.dataset.modalities.items():
        if own.is_sparse:
            features = own.features[rng.choice(np.flatnonzero(own.mask), n)]
            features.indices = rng.choice(own.features.indices, features.nnz)
            features.sum_duplicates()
        else:
            features = rng.normal(size=(n, own.width)).astype(np.float32)
        modalities[name] = Modality(features, np.ones(n, dtype=bool))
    blank = {name: [""] * n for name in run.dataset.item_attributes}
    return NewItems(np.array([f"new-{i}" for i in range(n)]), modalities, pd.DataFrame(blank))


def ours(run: Run, users: int) -> tuple[Callable[[NewItems], None], int]:
    """What `recsys recommend --new-items` does once a run is loaded and files are read; and the vectors' width."""
    rng = np.random.default_rng(1)
    ids = run.dataset.user_ids[rng.choice(run.dataset.n_users, users, replace=users > run.dataset.n_users)]
    recipients = catalogue_users(run, ids)
    run.model.scorer()(np.arange(2))

    def serve(new_items: NewItems) -> None:
        everything = np.concatenate([run.dataset.item_ids, new_items.ids])
        frame = rank(
            run.model.scorer(recipients.query_users, new_items), recipients, everything, new_only=True, k=10
        )
        assert len(frame) == 10 * users

    return serve, run.model.forward().users.shape[1] if run.model.exports_vectors else 64


def product(width: int, users: int, items: int) -> Callable[[], None]:
    generator = torch.Generator().manual_seed(0)
    left, right = (
        torch.randn(users, width, generator=generator),
        torch.randn(items, width, generator=generator),
    )
    return lambda: torch.mm(left, right.T)


def seconds(job: Callable[[], None]) -> tuple[float, float]:
    """By the clock, and of all processors together: on a busy machine the first says little."""
    clock, work = time.perf_counter(), time.process_time()
    job()
    return time.perf_counter() - clock, time.process_time() - work


def runs(arguments: argparse.Namespace) -> list[Run]:
    """The run named, or one of each model, trained for one epoch."""
    if arguments.run:
        return [load_run(arguments.run, arguments.data_root)]
    names = arguments.models.split(",")
    return [one_epoch(name, arguments.dataset, arguments.data_root) for name in names]


def one_epoch(model: str, dataset: str, data_root: str | None) -> Run:
    """A run of one epoch, ready to score; its figures of accuracy mean nothing."""
    settings = {} if MODELS.get(model).closed_form else {"max_epochs": 1}
    settings |= {"calibrate": False} if model == "confluence" else {}
    run = prepare(RunConfig(model=model, dataset=dataset, settings=settings, data_root=data_root))
    with tempfile.TemporaryDirectory() as folder:
        execute(run, Path(folder) / "run")
    run.model.eval()
    return run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--run", type=Path)
    parser.add_argument("--models", default="mmhcl,freedom,contentknn,hyperwalk")
    parser.add_argument("--dataset", default="ml-100k")
    parser.add_argument("--data-root")
    parser.add_argument("--users", type=int, default=1000)
    parser.add_argument("--items", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    for run in runs(arguments):
        serve, width = ours(run, arguments.users)
        # New ones each time: what is found of some items is kept with them.
        jobs = (
            partial(serve, random_new_items(run, arguments.items, seed)) for seed in range(arguments.rounds)
        )
        clock, work = np.median([seconds(job) for job in jobs], axis=0)
        matmul = product(width, arguments.users, arguments.items)
        bare = np.median([seconds(matmul) for _ in range(5)], axis=0)
        print(
            f"{run.config.model:>12} on {run.dataset.name}: {clock:.2f} s "
            f"({'under' if clock < LIMIT else 'NOT under'} {LIMIT:.0f} s), processors {work:.2f} s; "
            f"product of width {width}: {bare[0]:.3f} s, processors {bare[1]:.3f} s; ratio {work / bare[1]:.0f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
