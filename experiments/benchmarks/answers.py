"""A run that answers by itself: seconds of a command from nothing, and of one request in a process that stays.

    python -m recsys.experiments.benchmarks.answers --bundle FOLDER
    python -m recsys.experiments.benchmarks.answers --dataset tiktok --models confluence,lightgcn,ease

Takes bundles, or trains each model for an epoch (figures of accuracy are none of this command's) and packages it. The
command is `recsys recommend --bundle FOLDER --user U --k 20` in a fresh process, start-up and checksums included; a
request is one known user's top 20 with what they have left out. Wanted: below 2 s and, at the 99th percentile, 20 ms.
Both by the clock and, in brackets, by the processors: beside other busy processes the first says little.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from recsys.serving.bundle import load_bundle

SECONDS, MILLISECONDS, K = 2.0, 20.0, 20
ROUNDS, REQUESTS = 5, 500


def command_seconds(folder: Path, user: str) -> tuple[float, float]:
    """Medians of fresh processes, by the clock and by the processors."""
    command = [
        sys.executable,
        "-m",
        "recsys",
        "recommend",
        "--bundle",
        str(folder),
        "--user",
        user,
        "--k",
        str(K),
    ]
    clock, work = [], []
    for _ in range(ROUNDS):
        start, before = time.perf_counter(), os.times()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        clock.append(time.perf_counter() - start)
        after = os.times()
        work.append(sum(after[2:4]) - sum(before[2:4]))
    return statistics.median(clock), statistics.median(work)


def report(folder: Path) -> None:
    bundle = load_bundle(folder)
    users = np.random.default_rng(0).choice(bundle.users.names, REQUESTS)
    clock, work = [], []
    for user in users:
        start, before = time.perf_counter(), time.process_time()
        bundle.rank(bundle.recipients([str(user)]), K)
        work.append(1000 * (time.process_time() - before))
        clock.append(1000 * (time.perf_counter() - start))
    (p50, p99), (own50, own99) = (np.percentile(took[20:], [50, 99]) for took in (clock, work))
    command, own = command_seconds(folder, str(users[0]))
    verdict = "within" if command < SECONDS and p99 < MILLISECONDS else "NOT within"
    print(
        f"{bundle.about['model']:>14} on {bundle.about['dataset']}: command {command:.2f} s ({own:.2f}), a request "
        f"{p50:.1f} ms ({own50:.1f}), p99 {p99:.1f} ms ({own99:.1f}), {verdict} {SECONDS:.0f} s and "
        f"{MILLISECONDS:.0f} ms; from {bundle.about['answers']}",
        flush=True,
    )


def trained(arguments: argparse.Namespace, root: Path) -> Iterator[Path]:
    """A bundle of each model, trained for an epoch."""
    from recsys.experiments.benchmarks.serving import one_epoch
    from recsys.runs.package import package

    for name in arguments.models.split(","):
        yield package(one_epoch(name, arguments.dataset, arguments.data_root), root / name)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bundle", type=Path, action="append", default=[])
    parser.add_argument("--models", default="confluence,cm3,lightgcn,ease,hyperwalk,contentridge,itemknn,pop")
    parser.add_argument("--dataset", default="ml-100k")
    parser.add_argument("--data-root")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        for folder in arguments.bundle or trained(arguments, Path(name)):
            report(folder)


if __name__ == "__main__":
    main()
