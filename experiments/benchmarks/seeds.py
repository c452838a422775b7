"""How much a model's figures differ from seed to seed, by the rule that ends its training.

    python -m recsys.experiments.benchmarks.seeds train --out DIR [--model M] [--dataset D] [--seeds 0 1 ...]
    python -m recsys.experiments.benchmarks.seeds rules DIR

`train` trains each seed for `--epochs` epochs whatever its validation says, and records the validation and the test of
every epoch, of the weights as they stand and of their moving average over steps, in DIR/seed-N.csv; what is there is
kept. `rules` replays each rule on these curves: the epoch that it would have kept, the test there, the mean and
standard deviation over seeds, and the epochs that it would have trained. The test is recorded to compare rules by how
much seeds differ; no rule sees it.
"""

from __future__ import annotations

import argparse
import itertools
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytorch_lightning as pl

from recsys.encoders.moving_average import MovingAverage
from recsys.evaluation.evaluator import OVERALL
from recsys.runs.config import RunConfig
from recsys.runs.run import Run, make_evaluator, prepare, support_of
from recsys.training.loop import train as train_model

DECAYS = (0.99,)
"""Of the average, over steps."""
MEASURED = ("recall@20", "ndcg@20")
MONITOR = "ndcg@20"


class Recorder(pl.Callback):
    """Measures a model after each epoch, with its weights and with each average of them."""

    def __init__(self, run: Run):
        self.run, self.rows = run, list[dict[str, Any]]()
        self.averages = {decay: MovingAverage(run.model, decay) for decay in DECAYS}
        self.measures = {
            part: (
                make_evaluator(run.dataset, run.split, run.data, part, metrics=MEASURED),
                run.data.query_users(support_of(run.dataset, run.split, part)),
            )
            for part in ("valid", "test")
        }

    def on_train_batch_start(self, *_: Any) -> None:
        for average in self.averages.values():
            average.update(self.run.model)

    def on_train_epoch_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        self.record(trainer.current_epoch, 0.0)
        for decay, average in self.averages.items():
            average.place(self.run.model, True)
            self.record(trainer.current_epoch, decay)
            average.place(self.run.model, False)

    def record(self, epoch: int, decay: float) -> None:
        """Add a row for the validation part and one for the test."""
        self.run.model.eval()
        for part, (evaluator, users) in self.measures.items():
            figures = evaluator.evaluate(self.run.model.scorer(users), groups=()).metrics[OVERALL]
            self.rows.append({"epoch": epoch, "decay": decay, "part": part} | figures)
        self.run.model.train()


def train(model: str, dataset: str, epochs: int, seeds: list[int], tuned: bool, out: Path) -> None:
    """Record every epoch of each seed."""
    out.mkdir(parents=True, exist_ok=True)
    for seed in seeds:
        path = out / f"seed-{seed}.csv"
        if path.exists():
            continue
        settings = {"max_epochs": epochs, "patience": epochs}
        run = prepare(RunConfig(model=model, dataset=dataset, seed=seed, settings=settings, tuned=tuned))
        recorder = Recorder(run)
        with tempfile.TemporaryDirectory() as folder:
            train_model(run.model, run.train_settings, Path(folder), None, seed, callbacks=(recorder,))
        pd.DataFrame(recorder.rows)[["epoch", "decay", "part", *MEASURED]].to_csv(path, index=False)
        print(f"seed {seed} recorded", flush=True)


def smoothed(values: np.ndarray, over: int) -> np.ndarray:
    """The mean of each value and the `over` - 1 before it; of those that there are at the beginning.

    Example:
        >>> smoothed(np.array([2.0, 4.0, 9.0]), 2).tolist()
        [2.0, 3.0, 6.5]
    """
    sums = np.cumsum(values)
    sums[over:] = sums[over:] - sums[:-over]
    return sums / np.minimum(np.arange(1, len(values) + 1), over)


def kept(monitor: np.ndarray, patience: int) -> tuple[int, int]:
    """The best epoch of those before patience runs out, and how many were trained.

    Example:
        >>> kept(np.array([0.1, 0.3, 0.2, 0.2, 0.4]), 2)
        (1, 4)
    """
    best = 0
    for epoch, value in enumerate(monitor):
        if value > monitor[best]:
            best = epoch
        if epoch - best >= patience:
            return best, epoch + 1
    return best, len(monitor)


def rules(folder: Path) -> pd.DataFrame:
    """Mean and standard deviation over seeds of the test figures by each rule."""
    curves = [pd.read_csv(path) for path in sorted(folder.glob("seed-*.csv"))]
    rows = []
    for decay, over, patience in itertools.product((0.0, *DECAYS), (1, 3, 5), (10, 20, 40)):
        found = []
        for curve in curves:
            of = curve[curve["decay"] == decay]
            valid, test = (of[of["part"] == part].set_index("epoch") for part in ("valid", "test"))
            best, trained = kept(smoothed(valid[MONITOR].to_numpy(), over), patience)
            found.append([*test.loc[best, list(MEASURED)], trained])
        mean, spread = np.mean(found, axis=0), np.std(found, axis=0, ddof=1)
        figures = {f"{name}": mean[i] for i, name in enumerate(MEASURED)}
        figures |= {f"{name} std": spread[i] for i, name in enumerate(MEASURED)}
        named = {"average": decay, "validations": over, "patience": patience}
        rows.append(named | figures | {"epochs": mean[-1]})
    return pd.DataFrame(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    training = commands.add_parser("train")
    training.add_argument("--out", type=Path, required=True)
    training.add_argument("--model", default="lightgcn")
    training.add_argument("--dataset", default="tiktok")
    training.add_argument("--epochs", type=int, default=120)
    training.add_argument("--seeds", type=int, nargs="+", default=list(range(10)))
    training.add_argument("--no-tuned", dest="tuned", action="store_false")
    replayed = commands.add_parser("rules")
    replayed.add_argument("folder", type=Path)
    options = parser.parse_args()
    if options.command == "train":
        train(options.model, options.dataset, options.epochs, options.seeds, options.tuned, options.out)
    else:
        print(rules(options.folder).round(4).to_string(index=False))


if __name__ == "__main__":
    main()
