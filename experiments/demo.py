"""The demo: several recommenders on MovieLens-100K, warm and cold, in a few minutes on a laptop; and bundles to
complete, where their data are at hand."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from recsys.datasets.cards import load_dataset
from recsys.datasets.dataset import Dataset
from recsys.errors import DataError
from recsys.experiments.report.write import ReportOptions, write_report
from recsys.runs.config import RunConfig
from recsys.runs.run import execute, prepare
from recsys.runs.tables import comparison_table

DATASET = "ml-100k"
SPLITS = {
    "random": "random: 8:1:1 of each user's ratings of 4 and 5",
    "cold-item": "cold-item: a fifth of the films has no training interaction",
}
MODELS = ("pop", "itemknn", "contentknn", "ease", "lightgcn", "vbpr")
FEW_EPOCHS = {"learning_rate": 0.01, "max_epochs": 40}
SETTINGS = {"lightgcn": FEW_EPOCHS, "vbpr": FEW_EPOCHS}
"""A high rate and few epochs take ten seconds; with their defaults these models train for several minutes."""
BUNDLES = "bundle-electronic"
BUNDLE_MODELS = ("pop", "cooccurrence", "cooccurrence-content", "clhe-signals")


def run_demo(folder: Path, console: Console, seed: int = 0) -> None:
    """Train and test the demo's models, print one table a split, and write a report on them; finished runs in
    `folder` are kept."""
    dataset = load_dataset(DATASET)
    console.print(
        f"{DATASET}: {dataset.n_users:,} users, {dataset.n_items:,} items, {len(dataset.interactions):,} "
        f"interactions, modalities {' and '.join(dataset.modalities)}"
    )
    for protocol, title in SPLITS.items():
        configs = [
            RunConfig(
                model=model, dataset=DATASET, split=protocol, seed=seed, settings=SETTINGS.get(model, {})
            )
            for model in MODELS
        ]
        compare_in_folder(title, configs, dataset, folder / protocol, console)
    _complete_bundles(folder / "bundles", console, seed)
    with console.status("report"):
        page = write_report(folder, ReportOptions(), console)
    console.print(f"\nruns kept in {folder}; try: recsys recommend --run {folder}/random/lightgcn --user 42")
    console.print(f"report, to open in a browser: {page}", markup=False, soft_wrap=True)


def compare_in_folder(
    title: str, configs: Sequence[RunConfig], dataset: Dataset, folder: Path, console: Console
) -> None:
    """Run each configuration in a folder of its model's name below `folder`, and print one table of them."""
    results = []
    for config in configs:
        with console.status(f"{config.model}, {folder.name}"):
            run = prepare(config, dataset)
        results.append(execute(run, folder / config.model, resume=True, console=console))
    console.print()
    console.print(comparison_table(title, results))


def _complete_bundles(folder: Path, console: Console, seed: int) -> None:
    try:
        dataset = load_dataset(BUNDLES)
    except DataError as error:
        console.print(f"\nno bundles to complete: {error}", markup=False, soft_wrap=True)
        return
    configs = [RunConfig(model=model, dataset=BUNDLES, task="bundle", seed=seed) for model in BUNDLE_MODELS]
    compare_in_folder(
        "bundles: half of each is given, the rest is to be predicted", configs, dataset, folder, console
    )
