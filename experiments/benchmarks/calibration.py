"""Confluence's calibration with and without its components' scores kept: what a hundred validations take.

    python -m recsys.experiments.benchmarks.calibration [DATASET] [--data-root DIR]

The components are the default ones, untrained, which costs the same. Prints the processor seconds of both ways, in turn
in one process, and their ratio; exit status 1 where they do not choose the same weights.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from unittest import mock

import torch

from recsys.datasets.cards import load_dataset
from recsys.datasets.splits import make_split
from recsys.inputs.training_data import TrainingData
from recsys.models import confluence
from recsys.runs.run import validator


def calibrated(data: TrainingData, validate, limit: int) -> tuple[float, list[float]]:
    """Processor seconds of one calibration with so many bytes of scores kept, and what it chose."""
    model = confluence.Confluence(confluence.ConfluenceSettings(), data, 0).eval()
    model.scores(data.query_users(), None)  # fits the closed-form components
    with mock.patch.object(confluence, "CACHED_BYTES", limit):
        start = time.process_time()
        model.calibrate(lambda group: validate(model, group, calibrating=True))
        seconds = time.process_time() - start
    return seconds, torch.cat([model.weights, model.cold_weights, model.cold_offset]).tolist()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dataset", nargs="?", default="ml-100k")
    parser.add_argument("--split", default="random")
    parser.add_argument("--data-root", default=os.environ.get("RECSYS_DATA"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    dataset = load_dataset(options.dataset, options.data_root)
    split = make_split(dataset, options.split)
    data = TrainingData.of(dataset, split)
    validate = validator(dataset, split, data, "ndcg@20")
    anew, first = calibrated(data, validate, 0)
    kept, second = calibrated(data, validate, confluence.CACHED_BYTES)
    print(
        f"{options.dataset}, {options.split}: scored anew {anew:.1f} s, kept {kept:.1f} s, {anew / kept:.1f} times; "
        f"weights {'the same' if first == second else 'DIFFER'}"
    )
    return int(first != second)


if __name__ == "__main__":
    sys.exit(main())
