"""What several processes on this machine buy: seconds of an epoch, and memory of tables.

    python -m recsys.experiments.benchmarks.processes train DIR [--model lightgcn] [--strategy columns] [--repeats 3]
    python -m recsys.experiments.benchmarks.processes tables [--rows 300000] [--width 64] [--steps 3]

`train` trains a model on the data set in DIR (`scale make`) by one process and by two, in turn, one thread each, and
prints seconds of an epoch, their ratio, the processor's seconds, peak memory and the test figures of both. Of each
training the first epoch is left out. Other work on the cores slows two processes more than one: it is shown by the
processor's seconds, which it leaves alone.
`tables` trains two tables of ROWS rows by BPR with random triples: whole in one process, by columns in two, and by
torch's `fully_shard` in two; it prints each process's memory when the tables are made, at the end and at its largest,
less what Python and torch hold, and seconds of a step.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch

TESTED = 10_000
MEASURED = ("ndcg@20", "recall@20")
BATCH = 50_000
HOST, PORT = "127.0.0.1", 29_611


class Clock(pl.Callback):
    """Seconds, and the processor's seconds, of each epoch in this process."""

    def __init__(self) -> None:
        self.wall: list[float] = []
        self.cpu: list[float] = []

    def on_train_epoch_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        self.begun = time.perf_counter(), time.process_time()

    def on_train_epoch_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        self.wall.append(time.perf_counter() - self.begun[0])
        self.cpu.append(time.process_time() - self.begun[1])


def train_step(options: argparse.Namespace) -> None:
    """One training in this process, and where pytorch-lightning has started this one again, its part of it."""
    from recsys.runs.config import RunConfig
    from recsys.runs.record import peak_memory
    from recsys.runs.run import make_evaluator, prepare
    from recsys.training.distributed import Distributed
    from recsys.training.loop import train

    distributed = Distributed(options.devices, strategy=options.strategy)
    settings = {"max_epochs": options.epochs}
    config = RunConfig(
        model=options.model, dataset=str(options.folder / "card.yaml"), split="random", settings=settings
    )
    run = prepare(config, forecasts=False)
    distributed.check(options.model, run.model)
    clock, leads = Clock(), distributed.rank("cpu") == 0
    how: dict[str, Any] = {"device": "cpu", "distributed": distributed, "callbacks": (clock,)}
    train(run.model, run.train_settings, options.out, None, config.seed, **how)
    found: dict[str, Any] = {"wall": clock.wall[1:], "cpu": clock.cpu[1:]}
    found["GiB"] = (peak_memory() or 0.0) / 1024
    if leads:
        evaluator = make_evaluator(run.dataset, run.split, run.data, "test", TESTED)
        scorer = run.model.scorer(run.data.query_users(run.support("test")))
        found |= evaluator.evaluate(scorer, MEASURED, ()).metrics["overall"]
    print(json.dumps(found), flush=True)


def trained(options: argparse.Namespace, devices: int) -> list[dict[str, Any]]:
    """What each process of one training says, the first one first."""
    with tempfile.TemporaryDirectory() as out:
        command = [
            sys.executable,
            "-m",
            "recsys.experiments.benchmarks.processes",
            "step",
            str(options.folder),
        ]
        command += ["--model", options.model, "--strategy", options.strategy, "--epochs", str(options.epochs)]
        command += ["--devices", str(devices), "--out", out]
        done = subprocess.run(
            command, capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"}
        )
    if done.returncode:
        sys.exit(done.stderr)
    said = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    return sorted(said, key=lambda found: MEASURED[0] not in found)


def compare(options: argparse.Namespace) -> None:
    """Print one process and two, trained in turn."""
    wall: dict[int, list[float]] = {1: [], 2: []}
    cpu: dict[int, list[float]] = {1: [], 2: []}
    for repeat in range(options.repeats):
        for devices in wall:
            said = trained(options, devices)
            wall[devices] += said[0]["wall"]
            cpu[devices] += map(max, zip(*(found["cpu"] for found in said), strict=True))
            figures = "  ".join(f"{name} {said[0][name]:.6f}" for name in MEASURED)
            memory = " and ".join(f"{found['GiB']:.2f}" for found in said)
            seconds = " ".join(f"{value:.2f}" for value in said[0]["wall"])
            print(
                f"{repeat + 1}: {devices} process(es): epochs of {seconds} s, {memory} GiB, {figures}",
                flush=True,
            )
    for name, values in (("seconds", wall), ("processor's seconds, of the busiest", cpu)):
        for of in (min, statistics.median):
            one, two = of(values[1]), of(values[2])
            print(f"{name}, {of.__name__} epoch: {one:.2f} by one, {two:.2f} by two, ratio {one / two:.2f}")


class Pairs(torch.nn.Module):
    """Two tables, and BPR of triples of their rows."""

    def __init__(self, rows: int, width: int, columns: Any):
        super().__init__()
        self.users, self.items = (torch.nn.Embedding(rows, width) for _ in range(2))
        self.columns = columns

    def forward(self, users: torch.Tensor, positives: torch.Tensor, negatives: torch.Tensor) -> torch.Tensor:
        from recsys.objectives.ranking.bpr import bpr

        vectors = self.users(users)
        scores = ((vectors * self.items(ids)).sum(1) for ids in (positives, negatives))
        return bpr(*self.columns.sum(*scores))


def tables_step(how: str, rank: int, processes: int, options: argparse.Namespace) -> None:
    """Print what one process of `processes` holds and takes."""
    import torch.distributed as dist
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    from recsys.memory import resident
    from recsys.models.columns import Columns
    from recsys.runs.record import peak_memory

    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"tcp://{HOST}:{PORT}", rank=rank, world_size=processes)
    torch.manual_seed(0)
    by_columns = how == "columns"
    columns = Columns(rank, processes) if by_columns else Columns()
    before = resident() / 2**20
    model = Pairs(options.rows, options.width // columns.of, columns)
    if how == "fully_shard":
        mesh = init_device_mesh("cpu", (processes,))
        for part in (model.users, model.items, model):
            fully_shard(part, mesh=mesh)
    made = resident() / 2**20 - before
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    generator, seconds = torch.Generator().manual_seed(0), []
    for _ in range(options.steps):
        triples = torch.randint(options.rows, (3, BATCH), generator=generator)
        start = time.perf_counter()
        optimizer.zero_grad()
        model(*(triples if by_columns else triples[:, rank::processes])).backward()
        optimizer.step()
        seconds.append(time.perf_counter() - start)
    end, peak = resident() / 2**20 - before, (peak_memory() or 0.0) - before
    print(
        f"{how:12s} process {rank + 1} of {processes}: {made:,.0f} MiB made, {end:,.0f} at the end, {peak:,.0f} at the "
        f"largest, {min(seconds):.2f} s a step",
        flush=True,
    )
    dist.destroy_process_group()


def tables(options: argparse.Namespace) -> None:
    """Print the memory and the seconds of tables, by each way of holding them."""
    bytes_each = 2 * options.rows * options.width * 4 / 2**20
    print(f"two tables of {options.rows:,} x {options.width}: {bytes_each:,.0f} MiB", flush=True)
    context = multiprocessing.get_context("spawn")
    for how, processes in (("whole", 1), ("columns", 2), ("fully_shard", 2)):
        started = [
            context.Process(target=tables_step, args=(how, rank, processes, options))
            for rank in range(processes)
        ]
        for process in started:
            process.start()
        for process in started:
            process.join()
        if any(process.exitcode for process in started):
            sys.exit(f"{how}: failed")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("train", "step"):
        training = commands.add_parser(name)
        training.add_argument("folder", type=Path)
        training.add_argument("--model", default="lightgcn")
        training.add_argument("--strategy", default="columns")
        training.add_argument("--epochs", type=int, default=4)
        training.add_argument("--repeats", type=int, default=3)
        training.add_argument("--devices", type=int, default=1)
        training.add_argument("--out", type=Path)
    held = commands.add_parser("tables")
    held.add_argument("--rows", type=int, default=300_000)
    held.add_argument("--width", type=int, default=64)
    held.add_argument("--steps", type=int, default=3)
    options = parser.parse_args()
    if options.command == "train":
        options.folder = options.folder.resolve()
        compare(options)
    elif options.command == "step":
        train_step(options)
    else:
        tables(options)


if __name__ == "__main__":
    main()
