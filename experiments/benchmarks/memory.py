"""Peak memory of training on large sparse graphs, with random features in the place of missing ones.

    python -m recsys.experiments.benchmarks.memory --data-root DIR [--dataset amazon-clothing] [--model mmhcl]

Each pair of a data set and a model trains one epoch and is validated and tested once, in a process of its own;
prints the seconds and the highest resident memory of that process.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from recsys.datasets.cards import load_dataset
from recsys.datasets.dataset import Modality
from recsys.runs.artifacts import ENVIRONMENT_FILE
from recsys.runs.config import RunConfig
from recsys.runs.run import execute, prepare

DATASETS, MODELS = ("amazon-sports", "amazon-clothing"), ("mmhcl", "confluence")
WIDTH, MODALITIES = 128, ("image", "text")


def train(dataset: str, model: str, data_root: str, settings: dict) -> dict:
    """One epoch of `model`; the run's record of what it used."""
    rng = np.random.default_rng(0)
    loaded = load_dataset(dataset, data_root)
    rows = {name: rng.standard_normal((loaded.n_items, WIDTH), dtype=np.float32) for name in MODALITIES}
    present = np.ones(loaded.n_items, dtype=bool)
    modalities = {name: Modality(features, present) for name, features in rows.items()}
    loaded = dataclasses.replace(loaded, modalities=modalities)
    config = RunConfig(model=model, dataset=dataset, settings={"max_epochs": 1} | settings)
    with tempfile.TemporaryDirectory() as folder:
        metrics = execute(prepare(config, loaded), Path(folder) / "run")
        record = json.loads((Path(folder) / "run" / ENVIRONMENT_FILE).read_text(encoding="utf-8"))
    return record["usage"] | {"epoch": metrics["timing"]["train_epoch_median"]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data-root", required=True)
    parser.add_argument("--dataset", choices=DATASETS, nargs="*", default=DATASETS)
    parser.add_argument("--model", nargs="*", default=MODELS)
    parser.add_argument("--settings", default="{}", help="JSON, for the model and its training")
    parser.add_argument("--alone", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.alone:
        record = train(options.dataset[0], options.model[0], options.data_root, json.loads(options.settings))
        print(json.dumps(record))
        return
    print(f"{'':18s}{'':12s}{'GB at most':>12s}{'s an epoch':>12s}{'s in all':>12s}")
    for dataset in options.dataset:
        for model in options.model:
            command = [sys.executable, "-m", "recsys.experiments.benchmarks.memory", "--alone"]
            command += ["--data-root", options.data_root, "--dataset", dataset, "--model", model]
            command += ["--settings", options.settings]
            output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
            record = json.loads(output.splitlines()[-1])
            print(
                f"{dataset:18s}{model:12s}{record['peak_memory_mib'] * 2**20 / 1e9:12.2f}{record['epoch']:12.1f}"
                f"{record['wall_seconds']:12.1f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
