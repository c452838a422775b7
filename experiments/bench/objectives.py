"""What one objective in place of another is worth, in every model and data set that was measured: one page, made of the
result files of experiments/configs/tables/objectives-*.yaml."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from scipy.stats import spearmanr

from recsys.experiments.bench.result_file import ResultFile, ResultTable, Row
from recsys.experiments.bench.tables import markdown_table
from recsys.files import read_yaml

PREFIX = "objectives-"
TABLES = Path("experiments/configs/tables")
HEAD = """# Objectives in exchange

Four models, each with one objective after another in the same place, the same three weights to choose from on
validation, and the same epochs. A figure is how much better or worse the row makes the model than its reference does,
in the column that the table is decided by; *better* and *worse* stand where the 95% interval of the paired difference,
corrected for the number of comparisons in the table (Holm), excludes zero. Tables, seeds and commands are on the pages
that are linked.
"""
WHY = """## What the vectors say

Over the rows of a table, the rank correlation (Spearman) of the deciding figure with what is recorded of the vectors
at the best epoch: 1 where the row with more of it is always the better one, 0 where it says nothing. Alignment is the
mean squared distance of users and their items, uniformity the logarithm of a mean of exp(-2 distance²): less is closer,
and more evenly spread.
"""


def expected(root: Path) -> list[str]:
    """The names of the result files that the experiments' files ask for."""
    return [
        f"{path.stem}-{dataset}"
        for path in sorted((root / TABLES).glob(f"{PREFIX}*.yaml"))
        for dataset in read_yaml(path)["datasets"]
    ]


def page(results: Mapping[str, ResultFile], wanted: Iterable[str]) -> str:
    """The page as Markdown.

    Args:
        results: by name; those of other experiments are passed over.
        wanted: names of result files that there should be.
    """
    measured = [
        (name, table)
        for name, result in results.items()
        if name.startswith(PREFIX)
        for table in result.tables
    ]
    heads = [name.removeprefix(PREFIX) for name, _ in measured]
    names = dict.fromkeys(
        row.model for _, table in measured for row in table.rows if row.model != table.reference
    )
    rows = [[name, *(_cell(table, name) for _, table in measured)] for name in sorted(names)]
    links = ", ".join(
        f"[{results[name].title}: {head}]({name}.md)" for head, (name, _) in zip(heads, measured, strict=True)
    )
    lines = [HEAD, markdown_table(["", *heads], rows), "", f"Measured on {links}.", ""]
    if missing := [name.removeprefix(PREFIX) for name in wanted if name not in results]:
        lines += [f"Not measured yet: {', '.join(missing)}.", ""]
    recorded = [
        (head, correlations(table.rows, table.decide_by))
        for head, (_, table) in zip(heads, measured, strict=True)
    ]
    kinds = list(dict.fromkeys(kind for _, found in recorded for kind in found))
    if kinds:
        texts = [
            [head, *(f"{found[kind]:+.2f}" if kind in found else "" for kind in kinds)]
            for head, found in recorded
        ]
        lines += [WHY, markdown_table(["", *(kind.replace("_", " ") for kind in kinds)], texts), ""]
    return "\n".join(lines)


def _cell(table: ResultTable, name: str) -> str:
    row = next((row for row in table.rows if row.model == name), None)
    if row is None or row.difference is None:
        return ""
    said = f" {row.verdict}" if row.verdict in ("better", "worse") else ""
    return f"{row.difference:+.4f}{said}"


def correlations(rows: Iterable[Row], column: str) -> dict[str, float]:
    """Diagnostic -> its rank correlation with a column over the rows that have both; without those that never vary.

    Example:
        >>> rows = [Row(model=str(n), figures={"ndcg@20": n}, vectors={"alignment": n * n}) for n in range(4)]
        >>> correlations(rows, "ndcg@20")
        {'alignment': 1.0}
    """
    having = [row for row in rows if column in row.figures and row.vectors]
    kinds = dict.fromkeys(kind for row in having for kind in row.vectors if kind != "seconds")
    found = {}
    for kind in kinds:
        pairs = [(row.figures[column], row.vectors[kind]) for row in having if kind in row.vectors]
        figures, values = zip(*pairs, strict=True)
        if len(set(figures)) > 1 and len(set(values)) > 1:
            found[kind] = round(float(spearmanr(figures, values).statistic), 10)
    return found
