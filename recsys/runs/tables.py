"""What the command line prints: results and data sets as tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich import box
from rich.table import Table
from rich.text import Text

from recsys.runs.artifacts import GROUP_NAMES, MASK
from recsys.terminal import bold

if TYPE_CHECKING:
    from recsys.runs.config import Resolved
    from recsys.runs.forecast import Forecast

SHOWN = ("recall@10", "recall@20", "ndcg@10", "ndcg@20")


def make_table(title: str, columns: Sequence[str], caption: str | None = None) -> Table:
    """A table whose first column is text and whose others are numbers."""
    table = Table(
        title=title,
        title_justify="left",
        title_style="bold",
        caption=caption,
        caption_justify="left",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        collapse_padding=True,
    )
    for place, column in enumerate(columns):
        table.add_column(column, justify="right" if place else "left", overflow="fold", no_wrap=not place)
    return table


def number(value: float | None) -> str:
    """Four digits; empty where there is no value."""
    return "" if value is None else f"{value:.4f}"


def times_chance(metrics: Mapping[str, Any], group: str, metric: str) -> str:
    """How many times the chance level a metric is."""
    value, chance = (m.get(group, {}).get(metric) for m in (metrics, metrics["chance"]))
    return f"{value / chance:.1f}x" if value is not None and chance else ""


def plan_table(expected: Forecast, resolved: Resolved) -> Table:
    """What a run is forecast to take."""
    table = make_table(f"{resolved.config.model} on {resolved.dataset.name}", ["step", "forecast"])
    for row in expected.rows():
        table.add_row(*row)
    return table


def metrics_table(metrics: Mapping[str, Any]) -> Table:
    """One run's test metrics: a row for each group, and beside it the chance level of Recall@20 and NDCG@20, and how
    many times chance its Recall@20 is."""
    name = f"{metrics['model']} on {metrics['dataset']}, split {metrics['split']}, seed {metrics['seed']}"
    name += "" if (mask := metrics.get("mask", MASK)) == MASK else f", mask: {mask}"
    name += f", re-ranked by {metrics['rerank']}" if metrics.get("rerank") else ""
    caption = None
    if not metrics["ranks_cold_items"] and "test_cold" in metrics:
        caption = "this model cannot rank items without training interactions: they score lowest, tied"
    if not metrics["test"]:
        return make_table(
            name, ["trained for use on all interactions: nothing was held out, nothing is measured"]
        )
    error = metrics.get("standard_error", {}).get("test", {}).get("recall@20")
    if error is not None:
        said = f"{metrics['users']['test']:,} of {metrics['drawn']:,} drawn; standard error of recall@20: {error:.4f}"
        caption = f"{said}; {caption}" if caption else said
    whom = "bundles" if metrics.get("task") == "bundle" else "users"
    chance = {f"chance {metric}": metric for metric in ("recall@20", "ndcg@20")}
    # In lines of a word each, so that the table fits a terminal of 80 columns.
    heads = [head.replace("@", " @").replace(" ", "\n") for head in (*SHOWN, *chance, "x chance")]
    table = make_table(name, ["test", whom, *heads], caption)
    for group, label in GROUP_NAMES.items():
        if group in metrics:
            values = [number(metrics[group].get(metric)) for metric in SHOWN]
            values += [number(metrics["chance"].get(group, {}).get(metric)) for metric in chance.values()]
            table.add_row(
                label, f"{metrics['users'][group]:,}", *values, times_chance(metrics, group, "recall@20")
            )
    return table


def asked_table(metrics: Mapping[str, Any], asked: Sequence[str]) -> Table:
    """One run's figures of the metrics that were asked for: a row for each, a column for each group."""
    groups = [(label, group) for group, label in GROUP_NAMES.items() if group in metrics]
    table = make_table("metrics asked for", ["metric", *(label for label, _ in groups)])
    for metric in asked:
        table.add_row(metric, *(number(metrics[group].get(metric)) for _, group in groups))
    return table


COMPARED = (
    ("recall@20", "test", "recall@20"),
    ("ndcg@20", "test", "ndcg@20"),
    ("warm", "test_warm", "recall@20"),
    ("cold", "test_cold", "recall@20"),
    ("among cold", "test_cold_pool", "recall@20"),
)
"""Column, group and metric; the last three are Recall@20 of warm items, of cold items, and among cold items."""
SHARE_SHOWN = 0.02
"""A group that fewer of the test's users have an answer in is left out of comparisons."""


def comparison_table(title: str, results: Sequence[Mapping[str, Any]], caption: str | None = None) -> Table:
    """Several models on one split: a row each, then the chance level; * for models that cannot rank cold items."""
    users = results[0]["users"]
    columns = [c for c in COMPARED if users.get(c[1], 0) >= SHARE_SHOWN * users["test"]]
    cold = any(group.startswith("test_cold") for _, group, _ in columns)
    if cold and not all(r["ranks_cold_items"] for r in results):
        caption = "* cannot rank cold items: they score lowest, tied" + (f"; {caption}" if caption else "")
    pool = any(group == "test_cold_pool" for _, group, _ in columns)
    labels = [label for label, _, _ in columns] + (["x chance"] if pool else [])
    table = make_table(title, ["model", *labels, "s"], caption)
    best = {c: max(r.get(c[1], {}).get(c[2], 0.0) for r in results) for c in columns}
    for result in results:
        star = " *" if cold and not result["ranks_cold_items"] else ""
        cells: list[str | Text] = []
        for column in columns:
            value = result.get(column[1], {}).get(column[2])
            text = number(value)
            cells.append(bold(text) if value == best[column] else text)
        if pool:
            cells.append(times_chance(result, "test_cold_pool", "recall@20"))
        table.add_row(result["model"] + star, *cells, f"{result['timing']['total']:.1f}")
    chance = [number(results[0]["chance"].get(group, {}).get(metric)) for _, group, metric in columns]
    table.add_row("chance", *chance, *(["1.0x"] if pool else []), "", style="dim")
    return table


def datasets_table(data_root: Path | None) -> Table:
    """All data sets that can be named."""
    from recsys.datasets.cards import data_folder, find_card, known_names
    from recsys.errors import DataError

    where = data_folder(data_root)
    table = make_table(
        "data sets", ["name", "what", "modalities", "reader"], f"data root: {where or 'none given'}"
    )
    for name in known_names(data_root):
        try:
            card = find_card(name, data_root)
            table.add_row(name, card.title, ", ".join(card.modalities), card.reader)
        except DataError as error:
            table.add_row(name, f"unreadable: {error}", "", "")
    for column in table.columns[1:]:
        column.justify = "left"
    return table


def info_tables(name: str, data_root: Path | None, seed: int) -> list[Table]:
    """What a data set holds, and what each split that it allows makes of it."""
    from recsys.datasets.cards import find_card, load_dataset
    from recsys.datasets.describe import describe
    from recsys.datasets.splits import make_split, protocols
    from recsys.errors import UserError

    dataset, card = load_dataset(name, data_root), find_card(name, data_root)
    splits, impossible = {}, []
    for protocol in protocols(dataset):
        try:
            splits[protocol] = make_split(dataset, protocol, seed)
        except UserError as error:
            impossible.append(str(error))
    summary = describe(dataset, splits)
    facts = make_table(
        f"{dataset.name}: {card.title}", ["what", "value"], "; ".join(summary["notes"]) or None
    )
    for key in ("users", "items", "interactions"):
        facts.add_row(key, f"{summary[key]:,}")
    facts.add_row("sparsity", f"{summary['sparsity']:.4%}")
    for key, modality in summary["modalities"].items():
        kind = "sparse" if modality["sparse"] else "dense"
        shape = f"{modality['coverage']:.1%} of items, {modality['width']:,} wide, {kind}"
        facts.add_row(f"modality {key}", f"{shape}; made from {modality['made_from']}")
    for key in ("user_attributes", "item_attributes"):
        if summary[key]:
            facts.add_row(key.replace("_", " "), ", ".join(summary[key]))
    facts.add_row("licence", card.licence)
    columns = ["split", "train", "valid", "test", "cold users", "cold items", "tested cold"]
    parts = make_table(f"splits, seed {seed}", columns, "; ".join(impossible) or None)
    for protocol, counts in summary["splits"].items():
        parts.add_row(protocol, *(f"{count:,}" for count in counts.values()))
    return [facts, parts]
