"""An experiment's results as text: for a terminal, as Markdown, LaTeX and CSV."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
from rich.table import Table
from rich.text import Text

from recsys.runs.tables import make_table, number
from recsys.terminal import for_spreadsheets, visible

AGAINST = (
    "reference",
    "difference",
    "p_holm",
    "p_wilcoxon_holm",
    "p_bootstrap_holm",
    "p_equivalence_holm",
    "d_z",
    "rank_biserial",
    "smallest_detectable",
)

Grid = tuple[str, list[str], list[list[str]], str]
"""A table as text: title, header, rows, caption."""


class Bold(str):
    """A cell that stands out."""


def grids(results: Mapping[str, Any]) -> list[Grid]:
    """The tables as text. The figures of models that may be best are `Bold`."""
    tables: list[Grid] = []
    for table in results["tables"]:
        tables += [_means(table), _verdicts(table)] if table["rows"] else []
        tables += [_slices(table)] if table.get("slices") else []
    return [*tables, beside_paper(results["paper"])] if results["paper"] else tables


def _title(table: Mapping[str, Any]) -> str:
    return table.get("title") or f"{table['dataset']}, {table['split']}"


def _means(table: Mapping[str, Any]) -> Grid:
    columns = table["columns"]
    cold = any(column.startswith(("cold:", "cold_pool:")) for column in columns)
    rows = []
    for row in table["rows"]:
        texts = [row["model"] + (" *" if cold and not row["ranks_cold_items"] else "")]
        for column in columns:
            cell = row["columns"].get(column, {})
            text = number(cell.get("mean"))
            texts.append(Bold(text) if cell.get("may_be_best") else text)
        rows.append([*texts, f"{row['seconds']:.1f}"])
    rows.append(["chance", *(number(table["chance"].get(c)) for c in columns), ""])
    caption = "means over seeds; bold: not shown to be worse than any other"
    if cold and not all(row["ranks_cold_items"] for row in table["rows"]):
        caption += "; * cannot rank cold items: they score lowest, tied"
    content = table.get("content", {})
    unknown = [name for name, made_from in content.items() if made_from == "unknown"]
    caption += f"; it is not known what {', '.join(unknown)} were made from" if unknown else ""
    leaky = [name for name in content if name not in unknown]
    caption += f"; made from all interactions, the test's among them: {', '.join(leaky)}" if leaky else ""
    for name, ways in table.get("unequal", {}).items():
        caption += f"; runs compared here had unequal features: {name} by {', '.join(ways)}"
    return _title(table), ["model", *columns, "seconds"], rows, caption


def _verdicts(table: Mapping[str, Any]) -> Grid:
    decide, rows = table["decide_by"], []
    for row in table["rows"]:
        cell = row["columns"].get(decide, {})
        against = cell.get("against", {})
        gap = f"{against['difference']:+.4f}" if against else ""
        seeds = [str(row["seeds"])]
        if row["seeds"] < row["seeds_wanted"]:
            seeds += ["of", str(row["seeds_wanted"])]
        texts = [row["model"], number(cell.get("mean")), _between(cell), gap, _between(against)]
        rows.append([*texts, cell.get("verdict", ""), " ".join(seeds)])
    header = ["model", decide, "95% interval", "to the best", "its interval", "verdict", "seeds"]
    one = table["seeds"] < 2
    covered = (
        "users alone: one seed each, and how much seeds differ is not known" if one else "users and seeds"
    )
    caption = f"paired by user, Holm-corrected; intervals cover {covered}"
    return f"{_title(table)}: verdicts on {decide}", header, rows, caption


def _slices(table: Mapping[str, Any]) -> Grid:
    metric, slices = table["decide_by"].rpartition(":")[2], table["slices"]
    rows = []
    for row in table["rows"]:
        cells = [part["cells"].get(row["model"], {}) for part in slices]
        rows.append([row["model"], *(number(cell.get("mean")) for cell in cells)])
    rows.append(["chance", *(number(part["chance"]) for part in slices)])
    header = ["model", *(part["label"] for part in slices)]
    return f"{_title(table)}: {metric} by slice", header, rows, "means over seeds"


def beside_paper(paper: Sequence[Mapping[str, Any]]) -> Grid:
    """Figures of papers beside ours."""
    header = ["model", "data set", "figure", "reported", "ours", "difference", "reason"]
    rows = []
    for line in paper:
        gap = "" if line["ours"] is None else f"{line['ours'] - line['reported']:+.4f}"
        figures = [number(line["reported"]), number(line["ours"]), gap]
        where = f"{line['dataset']}, {line['split']}"
        rows.append([line["model"], where, line["column"], *figures, line["reason"]])
    return "beside the paper", header, rows, ""


def _between(cell: Mapping[str, Any]) -> str:
    return "[{:.4f}, {:.4f}]".format(*cell["interval"]) if "interval" in cell else ""


def markdown(results: Mapping[str, Any]) -> str:
    """The tables as Markdown."""
    lines = [f"# {_plain(results['title'] or 'Results')}", ""]
    for title, header, rows, caption in grids(results):
        lines += [f"## {_plain(title)}", "", markdown_table(header, rows), ""]
        lines += [_plain(caption), ""] if caption else []
    if results["failed"]:
        failed = (f"- {_plain(name)}: {_plain(error)}" for name, error in results["failed"].items())
        lines += ["## failed", "", *failed, ""]
    return "\n".join(lines)


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """One table as Markdown, its text escaped and its `Bold` cells bold; all columns but the first are numbers.

    Example:
        >>> print(markdown_table(["model", "recall"], [["a*b", Bold("0.5")]]))
        | model   |   recall |
        |:--------|---------:|
        | a\\*b    |  **0.5** |
    """
    cells = [[f"**{_plain(c)}**" if isinstance(c, Bold) else _plain(c) for c in row] for row in rows]
    frame = pd.DataFrame(cells, columns=[_plain(name) for name in header])
    align = ["left", *["right"] * (len(header) - 1)]
    return str(frame.to_markdown(index=False, disable_numparse=True, colalign=align))


_MARKDOWN = re.compile(r"[\\|*`<]|(?<![^\W_])_|_(?![^\W_])|(?<=\])\(")
"""What Markdown would read as more than text: an underscore within a word is text."""


def _plain(text: str) -> str:
    return _MARKDOWN.sub(lambda match: f"\\{match[0]}", " ".join(text.split()))


def latex(results: Mapping[str, Any]) -> str:
    """The tables as LaTeX, for the package booktabs."""
    texts = ["% needs \\usepackage{booktabs}"]
    for title, header, rows, caption in grids(results):
        cells = [[f"\\textbf{{{_tex(c)}}}" if isinstance(c, Bold) else _tex(c) for c in row] for row in rows]
        styler = pd.DataFrame(cells, columns=[_tex(name) for name in header]).style.hide(axis="index")
        text = styler.to_latex(
            hrules=True,
            column_format="l" + "r" * (len(header) - 1),
            caption=_tex(title) + (f". {_tex(caption)}." if caption else ""),
            position_float="centering",
        )
        texts.append(text.replace("\nchance &", "\n\\midrule\nchance &"))
    return "\n".join(texts)


_TEX: dict[str, str | int | None] = {c: f"\\{c}" for c in "&%$#_{}"}
_TEX |= {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "–": "--"}


def _tex(text: str) -> str:
    return text.translate(str.maketrans(_TEX))


def csv_text(results: Mapping[str, Any]) -> str:
    """Every figure in long form: one line a model and column."""
    lines = [
        {"table": _title(table), "dataset": table["dataset"], "split": table["split"]}
        | {"model": row["model"], "column": column}
        | {name: cell[name] for name in ("mean", "users", "verdict") if name in cell}
        | _ends("", cell)
        | {"seeds": row["seeds"], "seconds": row["seconds"]}
        | _ends("difference_", cell.get("against", {}))
        | {name: cell["against"][name] for name in AGAINST if "against" in cell}
        for table in results["tables"]
        for row in table["rows"]
        for column, cell in row["columns"].items()
    ]
    return for_spreadsheets(pd.DataFrame(lines)).to_csv(index=False)


def _ends(prefix: str, cell: Mapping[str, Any]) -> dict[str, float]:
    return dict(zip((f"{prefix}low", f"{prefix}high"), cell.get("interval", ()), strict=False))


def tables_for_screen(results: Mapping[str, Any]) -> list[Table]:
    """The tables for a terminal."""
    tables = []
    for title, header, rows, caption in grids(results):
        table = make_table(title, header, caption or None)
        for row in rows:
            cells = [Text(visible(cell), style="bold" if isinstance(cell, Bold) else "") for cell in row]
            table.add_row(*cells, style="dim" if row[0] == "chance" else None)
        tables.append(table)
    return tables
