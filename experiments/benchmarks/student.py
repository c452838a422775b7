"""What a student of a trained run ranks like, by its width: `python -m recsys.experiments.benchmarks.student RUN`.

    python -m recsys.experiments.benchmarks.student runs/tiktok/confluence --data-root DIR [--widths 64 128 256]

Prints the test's Recall@20 and NDCG@20 of the run itself and of a student of each width, of all answers and of cold
items among cold ones, with the seconds of the distillation and of the ranking.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from recsys.models.base import Model
from recsys.models.student import Student, StudentSettings
from recsys.runs.run import Run, load_run, make_evaluator


def line(name: str, run: Run, model: Model, made: float | None = None) -> None:
    """Print what a model ranks like on the run's test."""
    evaluator = make_evaluator(run.dataset, run.split, run.data, "test")
    start = time.perf_counter()
    found = evaluator.evaluate(model.scorer(run.data.query_users(run.support("test")))).metrics
    seconds = time.perf_counter() - start
    parts = [
        f"{group} {found[group]['recall@20']:.4f} {found[group]['ndcg@20']:.4f}"
        for group in ("overall", "warm", "cold", "cold_pool")
        if group in found
    ]
    print(
        f"{name:14s} {'  '.join(parts)}  ranked in {seconds:.2f} s"
        + (f", made in {made:.0f} s" if made else ""),
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path)
    parser.add_argument("--data-root")
    parser.add_argument("--widths", type=int, nargs="+", default=[64, 128, 256])
    options = parser.parse_args()
    run = load_run(options.run, options.data_root)
    line(run.config.model, run, run.model)
    for width in options.widths:
        settings = StudentSettings(teacher=run.config.model, width=width)
        student = Student.of(run.model, settings, run.data, run.config.seed)
        start = time.perf_counter()
        student.distil()
        line(f"student {width}", run, student, time.perf_counter() - start)


if __name__ == "__main__":
    main()
