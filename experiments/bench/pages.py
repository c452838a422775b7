"""The result pages of the documentation, written from result files that the repository keeps.

`python -m recsys.experiments.bench.pages` writes docs/results/NAME.md for each experiments/results/NAME.json: the
command that measures it on top, then where the figures come from, the tables, and the reading in NAME.md beside it.
With `--from FOLDER` what `recsys bench` wrote into that folder first becomes a result file, named after the folder.
"""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from recsys.errors import UserError
from recsys.experiments.bench import claims, objectives
from recsys.experiments.bench.config import JOB_FILE
from recsys.experiments.bench.result_file import (
    COMMAND,
    FILES,
    ResultFile,
    ResultTable,
    Row,
    difference_text,
    heading,
    interval_text,
    read_results,
    write_results,
)
from recsys.experiments.bench.results import RESULTS_FILE, read_json
from recsys.experiments.bench.tables import markdown_table
from recsys.files import write_text
from recsys.runs.artifacts import CONFIG_FILE, ENVIRONMENT_FILE, read_history, read_metrics
from recsys.runs.tables import number

PAGES = Path("docs/results")
NOT_KEPT = "not kept"
DIAGNOSTIC = "embedding_"
INDEX = f"""# Results

Each page is written by `{COMMAND}` from a file in `experiments/results/`.
At the top of a page is the command that measures its figures again, then what is known of the measurement. What is not
known is "{NOT_KEPT}".

Every figure is a mean over seeds and over users of the test part. "Worse" means that the 95% interval of the paired
difference from the reference, corrected for the number of comparisons (Holm), excludes zero.

[What papers claim](claims.md), and [what one objective in place of another is worth](objectives.md), is answered from
these pages. Other commands write pages of their own: [whether our
models compute what their authors' code computes](parity.md), [how cost grows with the data](scale.md), [how much seeds
differ](seeds.md), and [updates, warm starts and retraining in a simulated month](updates.md).

"""


def page(name: str, results: ResultFile) -> str:
    """A result page as Markdown, but for its reading."""
    lines = [f"# {results.title}", "", "```sh", results.command, "```", "", *_origin(name, results), ""]
    for table in results.tables:
        lines += [f"## {table.title}", "", _table(table), ""]
        if any(row.vectors for row in table.rows):
            lines += ["The vectors at the best epoch, and the seconds of an epoch:", "", _vectors(table), ""]
    return "\n".join(lines)


def _reading(root: Path, name: str) -> str:
    """What a person says of the figures: the end of their page, where somebody wrote it."""
    path = root / FILES / f"{name}.md"
    return f"\n## Reading\n\n{path.read_text(encoding='utf-8').strip()}\n" if path.is_file() else ""


def _origin(name: str, results: ResultFile) -> list[str]:
    """Where the figures come from, as a list."""
    code, settings = results.commit or NOT_KEPT, f"in `{FILES}/{name}.json`"
    source = results.source
    if results.printed_by:
        first = f"commit {results.printed_by[:10]} is the first that prints all of them"
        source = f"copied from `{source}`; {first}, and no more was kept"
    if results.settings is None:
        settings = NOT_KEPT
        if results.experiment:
            at = (results.printed_by or "")[:10]
            settings = f"those of `{results.experiment}` in commit {at}; each run's own were not kept"
    data = ", ".join(
        f"{dataset}: {f'`{sha}`' if sha else NOT_KEPT}" for dataset, sha in results.data_sha256.items()
    )
    if results.printed_by and any(results.data_sha256.values()):
        data += " (computed later, of files whose checksums the card has held since)"
    facts = {
        "Figures": source,
        "Commit that measured them": code,
        "Settings": settings,
        "Seeds": f"{_list(results.seeds)}; of the split: {_list(results.split_seeds)}",
        "SHA-256 of the data": data,
    }
    return [f"* {name}: {text}." for name, text in facts.items()]


def _list(values: Iterable[int]) -> str:
    return ", ".join(map(str, values)) or NOT_KEPT


def _table(table: ResultTable) -> str:
    beside = {
        "95% interval": [interval_text(row.interval) for row in table.rows],
        f"against {table.reference}": [_against(row) for row in table.rows],
    }
    beside = {name: texts for name, texts in beside.items() if any(texts)}
    header = ["", *map(heading, table.columns)]
    rows = [[row.model, *(number(row.figures.get(c)) for c in table.columns)] for row in table.rows]
    at = 1 + table.columns.index(table.decide_by) + 1  # right of the deciding column
    for offset, (name, texts) in enumerate(beside.items()):
        header.insert(at + offset, name)
        for row, text in zip(rows, texts, strict=True):
            row.insert(at + offset, text)
    if table.chance:
        chance = ["chance", *(number(table.chance.get(c)) for c in table.columns)]
        rows.append([*chance[:at], *[""] * len(beside), *chance[at:]])
    return markdown_table(header, rows)


def _vectors(table: ResultTable) -> str:
    names = list(dict.fromkeys(name for row in table.rows for name in row.vectors))
    rows = [
        [row.model, *(f"{row.vectors[n]:.3g}" if n in row.vectors else "" for n in names)]
        for row in table.rows
    ]
    return markdown_table(["", *(name.replace("_", " ") for name in names)], rows)


def _against(row: Row) -> str:
    return ", ".join(filter(None, [difference_text(row.difference, row.difference_interval), row.verdict]))


def from_bench(folder: Path) -> ResultFile:
    """What `recsys bench` measured in `folder`, with its settings, seeds, checksums and commits.

    Raises:
        UserError: the folder holds no results, or some runs failed.
    """
    results = read_json(folder / RESULTS_FILE)
    if not results.get("tables"):
        raise UserError(f"{folder} holds no {RESULTS_FILE}; write it with recsys bench")
    if results["failed"]:
        raise UserError(
            f"{folder}: some runs failed ({len(results['failed'])}); run recsys bench again, then this"
        )
    runs = [
        folder / "jobs" / name for table in results["tables"] for row in table["rows"] for name in row["runs"]
    ]
    try:
        configs = {run: yaml.safe_load((run / CONFIG_FILE).read_text(encoding="utf-8")) for run in runs}
    except OSError as error:
        raise UserError(f"cannot read {error.filename}: {error.strerror}; run recsys bench again") from None
    commits = [read_json(run / ENVIRONMENT_FILE).get("commit") or "" for run in runs]
    values = {
        "title": results["title"],
        "command": _command(results["command"], any(config.get("data_root") for config in configs.values())),
        "source": "measured",
        "commit": " and ".join(sorted(set(commits))) if all(commits) else None,
        "seeds": sorted({config["seed"] for config in configs.values()}),
        "split_seeds": sorted({config["split_seed"] for config in configs.values()}),
        "data_sha256": {
            Path(configs[run]["dataset"]).stem: read_json(run / JOB_FILE).get("data_sha256") for run in runs
        },
        "settings": {
            table["title"]: {
                row["model"]: {
                    name: configs[folder / "jobs" / row["runs"][0]][name] for name in ("model", "settings")
                }
                for row in table["rows"]
            }
            for table in results["tables"]
        },
        "tables": [_measured(table, folder / "jobs") for table in results["tables"]],
    }
    return ResultFile.model_validate(values)


def _command(command: str, elsewhere: bool) -> str:
    """The command that measures the results, without places of one machine."""
    words, kept = iter(shlex.split(command)), []
    for word in words:
        if word in ("--out", "--data-root", "--device"):
            next(words)
        else:
            kept.append(word)
    kept[2] = Path(kept[2]).stem  # the name of a shipped file, wherever it lay
    return shlex.join(kept) + (" --data-root DIR" if elsewhere else "")


def _measured(table: Mapping[str, Any], jobs: Path) -> dict[str, Any]:
    """A table of results.json as a `ResultTable` holds it; its runs lie in `jobs`."""
    decide, rows = table["decide_by"], []
    columns = list(dict.fromkeys([*table["columns"], decide]))
    references = {row["columns"].get(decide, {}).get("against", {}).get("reference") for row in table["rows"]}
    for row in table["rows"]:
        decided = row["columns"].get(decide, {})
        against = decided.get("against", {})
        values = {
            "model": row["model"],
            "figures": {c: round(row["columns"][c]["mean"], 6) for c in columns if c in row["columns"]},
            "interval": _rounded(decided.get("interval")),
            "difference": round(against["difference"], 6) if against else None,
            "difference_interval": _rounded(against.get("interval")),
            "verdict": against.get("label"),
            "vectors": _diagnostics([jobs / name for name in row["runs"]]) or None,
        }
        rows.append({name: value for name, value in values.items() if value is not None})
    return {
        "title": table["title"],
        "columns": columns,
        "decide_by": decide,
        "reference": next(iter(references - {None}), None),
        "rows": rows,
        "chance": {c: value and round(value, 6) for c, value in table["chance"].items()},
    }


def _diagnostics(runs: Iterable[Path]) -> dict[str, float]:
    """Means over the runs of what `diagnostics: true` records of the vectors, at each run's best epoch."""
    diagnostics = []
    for run in runs:
        history, metrics = read_history(run), read_metrics(run)
        recorded = [name for name in (() if history is None else history) if name.startswith(DIAGNOSTIC)]
        if history is None or metrics is None or not recorded:
            continue
        (at,) = history.loc[history["epoch"] == metrics["best_epoch"], recorded].to_dict("records")[-1:]
        diagnostics.append({name.removeprefix(DIAGNOSTIC): value for name, value in at.items()})
        diagnostics[-1]["seconds"] = metrics["timing"]["train_epoch_median"]
    return {name: float(f"{value:.4g}") for name, value in pd.DataFrame(diagnostics).mean().items()}


def _rounded(ends: Iterable[float] | None) -> list[float] | None:
    return [round(end, 6) for end in ends] if ends else None


def pages(root: Path) -> dict[Path, str]:
    """Path -> text of every result page, of the pages that are made of several and of their index, below the checkout
    `root`."""
    results = {path.stem: read_results(path) for path in sorted((root / FILES).glob("*.json"))}
    texts, index = {}, []
    for name, result in results.items():
        texts[root / PAGES / f"{name}.md"] = page(name, result) + _reading(root, name)
        index.append(f"* [{result.title}]({name}.md)")
    papers = claims.read_claims(root / FILES / claims.FILE)
    if papers:
        texts[root / PAGES / "claims.md"] = claims.page(papers, results)
    if any(name.startswith(objectives.PREFIX) for name in results):
        text = objectives.page(results, objectives.expected(root))
        texts[root / PAGES / "objectives.md"] = text + _reading(root, "objectives")
    return texts | {root / PAGES / "index.md": INDEX + "\n".join(index) + "\n"}


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog=COMMAND, description=__doc__.splitlines()[0])
    parser.add_argument(
        "--from", dest="folder", type=Path, help="first make a result file of this benchmark's folder"
    )
    parser.add_argument(
        "--root", type=Path, default=Path(), help="the checkout (default: the current folder)"
    )
    options = parser.parse_args(arguments)
    try:
        if options.folder:
            write_results(from_bench(options.folder), options.root / FILES / f"{options.folder.name}.json")
        for path, text in pages(options.root).items():
            path.parent.mkdir(parents=True, exist_ok=True)
            write_text(path, text)
            print(f"wrote {path}")
    except UserError as error:
        raise SystemExit(f"recsys: {error}") from None


if __name__ == "__main__":
    main()
