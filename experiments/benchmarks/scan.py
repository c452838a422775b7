"""How much faster two scan workers are than one: the same trials of LightGCN on ml-100k, one thread each.

Run `python -m recsys.experiments.benchmarks.scan` on a machine with two idle cores. Both scans are the real
command, held to two cores, with random search and no pruning: every trial
follows from its number, so that both train the same.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml

from recsys.experiments.bench.config import find_file, read_yaml
from recsys.experiments.tune.storage import open_study

THREADS = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")


def main(arguments: list[str] | None = None) -> float:
    """Print both times and their ratio; return the ratio."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--trials", type=int, default=40)
    parser.add_argument("--epochs", type=int, default=30)
    options = parser.parse_args(arguments)
    seconds, trials = {}, {}
    with tempfile.TemporaryDirectory() as folder:
        file = scan_file(Path(folder), options.trials, options.epochs)
        for workers in (1, 2):
            out = Path(folder) / f"workers-{workers}"
            seconds[workers] = timed(file, workers, out)
            trials[workers] = finished(out)
            print(
                f"{workers} worker{'s' * (workers > 1)}: {options.trials} trials in {seconds[workers]:.1f} s",
                flush=True,
            )
    ratio = seconds[1] / seconds[2]
    same = "the same values" if trials[1] == trials[2] else "OTHER VALUES"
    print(f"2 workers are {ratio:.2f} times as fast as 1; both found {same} in {len(trials[1])} trials")
    return ratio


def scan_file(folder: Path, trials: int, epochs: int) -> Path:
    """The shipped scan of LightGCN with few epochs, and nothing that would make one worker's trials shorter."""
    values = read_yaml(find_file("lightgcn-scan"))
    values |= {"sampler": "random", "pruner": "none", "trials": trials}
    values["settings"] |= {"max_epochs": epochs, "patience": epochs}
    path = folder / "scan.yaml"
    path.write_text(yaml.safe_dump(values), encoding="utf-8")
    return path


def timed(file: Path, workers: int, out: Path) -> float:
    """Seconds of the whole command, its start included."""
    command = [sys.executable, "-m", "recsys", "scan", str(file)]
    command += ["--workers", str(workers), "--out", str(out), "--device", "cpu"]
    start = time.perf_counter()
    subprocess.run(
        command, check=True, env=os.environ | THREADS, stdout=subprocess.DEVNULL, preexec_fn=on_two_cores
    )
    return time.perf_counter() - start


def on_two_cores() -> None:
    """Hold this process to two of its cores, where the system can."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:2])


def finished(out: Path) -> list[tuple[str, float]]:
    """Settings and value of each finished trial, sorted."""
    study = open_study(out, out.name, "")
    return sorted((str(sorted(t.params.items())), t.value) for t in study.get_trials() if t.value is not None)


if __name__ == "__main__":
    main()
