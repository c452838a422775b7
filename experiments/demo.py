"""The demo: several recommenders on MovieLens-100K, warm and cold, in a few minutes on a laptop."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from recsys.datasets.cards import load_dataset
from recsys.experiments.report.write import ReportOptions, write_report
from recsys.runs import RunConfig, execute, prepare
from recsys.tables import comparison_table

DATASET = "ml-100k"
SPLITS = {
    "random": "random: 8:1:1 of each user's ratings of 4 and 5",
    "cold-item": "cold-item: a fifth of the films has no training interaction",
}
MODELS = ("pop", "itemknn", "contentknn", "ease", "lightgcn", "vbpr")


def run_demo(folder: Path, console: Console, seed: int = 0) -> None:
    """Train and test the demo's models, print one table a split, and write a report on them; finished runs in
    `folder` are kept."""
    dataset = load_dataset(DATASET)
    console.print(
        f"{DATASET}: {dataset.n_users:,} users, {dataset.n_items:,} items, {len(dataset.interactions):,} "
        f"interactions, modalities {' and '.join(dataset.modalities)}"
    )
    for protocol, title in SPLITS.items():
        results = []
        for model in MODELS:
            config = RunConfig(model=model, dataset=DATASET, split=protocol, seed=seed)
            with console.status(f"{model}, {protocol}"):
                run = prepare(config, dataset)
            results.append(execute(run, folder / protocol / model, resume=True, console=console))
        console.print()
        console.print(comparison_table(title, results))
    with console.status("report"):
        page = write_report(folder, ReportOptions(), console)
    console.print(f"\nruns kept in {folder}; try: recsys recommend --run {folder}/random/lightgcn --user 42")
    console.print(f"report, to open in a browser: {page}", markup=False, soft_wrap=True)
