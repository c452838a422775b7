"""How much a model's figures differ from seed to seed, by the rule that ends its training.

    python -m recsys.experiments.benchmarks.seeds train --out DIR [--model M] [--dataset D] [--seeds 0 1 ...]
    python -m recsys.experiments.benchmarks.seeds rules DIR

`train` trains each seed for `--epochs` epochs whatever its validation says, and records the validation and the test
of every epoch in DIR/seed-N.csv; what is there is kept. `rules` replays the rule that ends a training with several
settings on these curves: the epoch that it would have kept, the test there, the mean and standard deviation over seeds,
and the epochs that it would have trained. The test is recorded to compare rules by how much seeds differ; no rule sees
it.
"""

from __future__ import annotations

import argparse
import itertools
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytorch_lightning as pl

from recsys.evaluation.evaluator import OVERALL
from recsys.models.base import Model
from recsys.models.closed_form.pop import popularity_of
from recsys.runs.config import RunConfig
from recsys.runs.run import Run, make_evaluator, prepare
from recsys.training.loop import train as train_model
from recsys.training.patience import Patience

PARTS = ("valid", "test")
MEASURED = ("recall@20", "ndcg@20")
MONITOR = "ndcg@20"


class Recorder(pl.Callback):
    """Measures a model after each epoch."""

    def __init__(self, run: Run):
        self.run, self.rows = run, list[dict[str, Any]]()
        self.evaluators = {
            part: make_evaluator(run.dataset, run.split, run.data, part, metrics=MEASURED) for part in PARTS
        }
        self.users = {part: run.data.query_users(run.support(part)) for part in PARTS}
        self.popularity = self.figures(popularity_of(run.data), "valid")[MONITOR]

    def figures(self, model: Model, part: str) -> dict[str, float]:
        return self.evaluators[part].evaluate(model.scorer(self.users[part]), groups=()).metrics[OVERALL]

    def on_train_epoch_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Add a row."""
        self.run.model.eval()
        row = {"epoch": trainer.current_epoch, "popularity": self.popularity}
        for part in PARTS:
            row |= {f"{part} {name}": value for name, value in self.figures(self.run.model, part).items()}
        self.rows.append(row)
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
        pd.DataFrame(recorder.rows).to_csv(path, index=False)
        print(f"seed {seed} recorded", flush=True)


def kept(monitor: Iterable[float], rule: Patience) -> tuple[int, int]:
    """The epoch that a rule keeps, and how many it trains.

    Example:
        >>> kept([0.1, 0.3, 0.2, 0.2, 0.4], Patience(2, 1, 1, lambda: 0.0))
        (1, 4)
    """
    best, trained = 0, 0
    for epoch, value in enumerate(monitor):
        best, trained = epoch if rule.better(value) else best, epoch + 1
        if rule.over():
            break
    return best, trained


def rules(folder: Path) -> pd.DataFrame:
    """Mean and standard deviation over seeds of the test figures by each rule."""
    curves = [pd.read_csv(path, index_col="epoch") for path in sorted(folder.glob("seed-*.csv"))]
    tested = [f"test {name}" for name in MEASURED]
    rows = []
    for smooth, patience, plateau in itertools.product((1, 3, 5), (10, 20, 40), (1, 5)):
        found = []
        for curve in curves:
            popularity = curve["popularity"].iloc[0]
            rule = Patience(patience, plateau, smooth, popularity=lambda value=popularity: value)
            best, trained = kept(curve[f"valid {MONITOR}"], rule)
            found.append([*curve.loc[best, tested], trained])
        mean, spread = np.mean(found, axis=0), np.std(found, axis=0, ddof=1)
        row = {"smooth": smooth, "patience": patience, "plateau": plateau}
        for i, name in enumerate(MEASURED):
            row |= {name: mean[i], f"{name} std": spread[i]}
        rows.append(row | {"epochs": mean[-1]})
    return pd.DataFrame(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    training = commands.add_parser("train")
    training.add_argument("--out", type=Path, required=True)
    training.add_argument("--model", default="lightgcn")
    training.add_argument("--dataset", default="tiktok")
    training.add_argument("--epochs", type=int, default=200)
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
