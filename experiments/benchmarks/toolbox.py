"""Epochs against those of the public toolbox MMRec: `python -m recsys.experiments.benchmarks.toolbox --toolbox DIR`.

DIR is a clone of github.com/enoche/MMRec. Its code is foreign, and is run on purpose, with the rights of whoever starts
this command. Each epoch is a whole one, with its sampling and its loop: ours of `recsys.training.loop`, theirs of its
`Trainer` and `TrainDataLoader`. They take turns in one process, on tiktok with two of its modalities (the toolbox takes
no more), at equal batch, width, layers, k, dropout and optimizer. The toolbox trains the features of FREEDOM, BM3,
MGCN and LATTICE as well; so do ours in the second row of such a model. Printed are the medians of processor seconds.
"""

from __future__ import annotations

import argparse
import importlib
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pytorch_lightning as pl
import scipy.sparse as sp
import torch

from recsys.datasets.cards import load_dataset
from recsys.datasets.dataset import Modality
from recsys.datasets.splits import make_split
from recsys.errors import UserError, nearest
from recsys.experiments.benchmarks.parity.foreign import commit_of, configuration, foreign
from recsys.inputs.training_data import TrainingData
from recsys.models import MODELS
from recsys.runs.config import resolve_settings
from recsys.training.loop import train

WIDTH, BATCH = 64, 2048
STUBS = ("lmdb", "cv2", "torchvision", "torchvision.transforms", "torchvision.transforms.functional")
"""What the toolbox imports for raw pictures, which nothing here has."""
TRAINED = {"features": "trained"}


class Pair(NamedTuple):
    """One model at equal settings.

    Attributes:
        name: of our model.
        ours: its settings.
        theirs: the toolbox's, by their names there.
        trained: whether the toolbox trains the features too.
    """

    name: str
    ours: dict[str, Any]
    theirs: dict[str, Any]
    trained: bool = False


PAIRS = {
    "VBPR": Pair("vbpr", {}, {"reg_weight": 1e-4}),
    "MGCN": Pair(
        "mgcn",
        {"layers": 2, "item_layers": 1, "k": 10},
        {"n_ui_layers": 2, "n_layers": 1, "knn_k": 10, "cl_loss": 0.01, "reg_weight": 1e-4},
        trained=True,
    ),
    "FREEDOM": Pair(
        "freedom",
        {"layers": 2, "item_layers": 1, "k": 10, "prune": 0.8},
        {"n_ui_layers": 2, "n_mm_layers": 1, "knn_k": 10, "dropout": 0.8, "reg_weight": 1e-3}
        | {"mm_image_weight": 0.5},
        trained=True,
    ),
    "BM3": Pair(
        "bm3",
        {"layers": 1, "dropout": 0.5},
        {"n_layers": 1, "dropout": 0.5, "reg_weight": 0.1, "cl_weight": 2.0},
        trained=True,
    ),
    "LightGCN": Pair("lightgcn", {"layers": 2}, {"n_layers": 2, "reg_weight": 1e-4}),
    "LATTICE": Pair(
        "lattice",
        {"layers": 2, "k": 10},
        {"cf_model": "lightgcn", "n_layers": 1, "weight_size": [WIDTH, WIDTH], "knn_k": 10}
        | {"mess_dropout": [0.0, 0.0], "lambda_coeff": 0.9, "reg_weight": 0.0},
        trained=True,
    ),
}
"""Name of a class of the toolbox -> how it and ours are set."""


class Turns(pl.Callback):
    """Lets the other side train an epoch before each of ours."""

    def __init__(self, other: Callable[[], None]):
        self.other, self.seconds = other, dict[str, list[float]](ours=[], theirs=[])
        self._started = 0.0

    def on_train_epoch_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        start = time.process_time()
        self.other()
        self._started = time.process_time()
        self.seconds["theirs"].append(self._started - start)

    def on_train_epoch_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        self.seconds["ours"].append(time.process_time() - self._started)


def toolbox_epoch(folder: Path, work: Path, name: str, data: TrainingData) -> Callable[[], None]:
    """One training epoch of the toolbox's model, by its own trainer and loader; for use within `foreign`."""
    features = {key: np.asarray(modality.features, np.float32) for key, modality in data.modalities.items()}
    how = {
        "is_multimodal_model": name != "LightGCN",
        "learner": "adam",
        "learning_rate": 1e-3,
        "learning_rate_scheduler": [1.0, 50],
        "epochs": 1,
        "eval_step": 1,
        "eval_batch_size": BATCH,
        "valid_metric": "Recall@20",
        "metrics": ["Recall"],
        "topk": [20],
        "req_training": True,
        "use_neg_sampling": name != "BM3",  # as its configuration says
    }
    config = configuration(work, features, WIDTH, BATCH, **how | PAIRS[name].theirs)
    pairs = sp.coo_array(data.interactions)
    held = importlib.import_module("utils.dataset").RecDataset(
        config, pd.DataFrame({"user": pairs.row, "item": pairs.col})
    )
    held.user_num, held.item_num = data.n_users, data.n_items
    str(held)  # counts the interactions, which the loader reads
    loader = importlib.import_module("utils.dataloader").TrainDataLoader(
        config, held, batch_size=BATCH, shuffle=True
    )
    torch.manual_seed(0)
    model = getattr(importlib.import_module(f"models.{name.lower()}"), name)(config, loader)
    trainer = importlib.import_module("common.trainer").Trainer(config, model)
    loader.pretrain_setup()

    def epoch() -> None:
        model.pre_epoch_processing()
        trainer._train_epoch(loader, 0)
        trainer.lr_scheduler.step()

    return epoch


def compare(folder: Path, name: str, data: TrainingData, rounds: int, **changes: Any) -> tuple[float, float]:
    """Median processor seconds of an epoch, ours and theirs, after one of each that warms up."""
    pair = PAIRS[name]
    own, how = resolve_settings(
        MODELS.get(pair.name),
        {
            "width": WIDTH,
            "batch_size": BATCH,
            "max_steps": 0,
            "max_epochs": rounds + 1,
            **pair.ours,
            **changes,
        },
    )
    with foreign(folder / "src", stubs=STUBS) as work:
        turns = Turns(toolbox_epoch(folder, work, name, data))
        model = MODELS.get(pair.name)(own, data, 0)
        with tempfile.TemporaryDirectory() as kept:
            train(model, how, Path(kept), None, 0, device="cpu", callbacks=(turns,))
    ours, theirs = (statistics.median(turns.seconds[side][1:]) for side in ("ours", "theirs"))
    return ours, theirs


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument(
        "--toolbox",
        type=Path,
        required=True,
        metavar="DIR",
        help="clone of enoche/MMRec, whose code is imported and run",
    )
    parser.add_argument("--data-root", default=os.environ.get("RECSYS_DATA"))
    parser.add_argument(
        "--models", nargs="+", metavar="NAME", default=list(PAIRS), help=f"of {', '.join(PAIRS)}"
    )
    parser.add_argument("--modalities", nargs=2, metavar="NAME", default=["image", "audio"])
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    try:
        run(options)
    except UserError as error:
        print(f"recsys: {error}", file=sys.stderr)
        return 2
    return 0


def run(options: argparse.Namespace) -> None:
    """Time what was asked for, and print a line for each."""
    for name in options.models:
        if name not in PAIRS:
            raise UserError(f"there is no comparison of '{name}'{nearest(name, PAIRS)}")
    folder = options.toolbox.resolve()
    if not (folder / "src/models").is_dir():
        raise UserError(f"--toolbox {options.toolbox}: no clone of github.com/enoche/MMRec")
    torch.set_num_threads(1)
    dataset = load_dataset("tiktok", options.data_root)
    whole = TrainingData.of(dataset, make_split(dataset, "predefined"))
    chosen: dict[str, Modality] = {name: whole.modalities[name] for name in options.modalities}
    data = TrainingData(whole.interactions, chosen)
    print(
        f"MMRec {commit_of(folder)}; tiktok, {' and '.join(chosen)}; one thread, batch {BATCH}, width {WIDTH}"
    )
    print(f"{'':26s}{'ours':>8s}{'theirs':>8s}{'times':>7s}   processor seconds an epoch")
    for name in options.models:
        for label, changes in ((name, {}), (f"{name}, features trained", TRAINED)):
            if changes and not PAIRS[name].trained:
                continue
            ours, theirs = compare(folder, name, data, options.rounds, **changes)
            print(f"{label:26s}{ours:8.3f}{theirs:8.3f}{theirs / ours:7.1f}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
