"""The result pages of the documentation, written from result files that the repository keeps.

`python -m recsys.experiments.bench.pages` writes docs/results/<name>.md from each experiments/results/<name>.json, with the
command that measures it on top and the text of experiments/results/<name>.md below. `--keep runs/bench/<name>` first
copies what `recsys bench` measured into experiments/results/<name>.json: figures, seeds, checksums and commit.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from recsys.errors import UserError
from recsys.experiments.bench.config import find_file
from recsys.experiments.bench.results import RESULTS_FILE, read_json
from recsys.files import write_text
from recsys.runs.artifacts import ENVIRONMENT_FILE, GROUPS, first_fault

KEPT, PAGES = Path("experiments/results"), Path("docs/results")
JOB_FILE = "cell.json"
INDEX = """# Results

Each page is written from a file in `experiments/results/` by `python -m recsys.experiments.bench.pages`. It names the
command that measures it, the commit, the seeds and the checksums of the data where they are known.

| page | data |
| --- | --- |
"""


class _Kept(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class Against(_Kept):
    """The difference from the row that all others are compared with, and its corrected interval."""

    reference: str
    difference: float | None = None
    interval: tuple[float, float] | None = None


class Figure(_Kept):
    """One model's mean over seeds, its 95% interval, and what the comparison with the reference says."""

    mean: float
    interval: tuple[float, float] | None = None
    verdict: str = ""
    against: Against | None = None


class Row(_Kept):
    """One model: figures by column."""

    model: str
    seeds: int | None = None
    columns: dict[str, Figure]


class KeptTable(_Kept):
    """One data set under one split: `columns` in the order in which they are shown."""

    title: str
    dataset: str
    split: str
    columns: list[str]
    decide_by: str
    chance: dict[str, float | None] = {}
    rows: list[Row]


class KeptResults(_Kept):
    """A result file: a subset of what `recsys bench` writes into results.json, and where the figures come from.

    Attributes:
        source: "measured", or where the figures were copied from.
        commit: of the code that measured them.
        experiment: name of the experiment file, with its SHA-256 as it was measured.
        data_sha256: data set -> checksum of its content; None where it was not kept.
        note: what a reader must know about gaps in the record.
    """

    title: str
    command: str
    source: str
    commit: str | None
    experiment: str
    experiment_sha256: str | None = None
    seeds: list[int] = []
    split_seeds: list[int] = []
    data_sha256: dict[str, str | None]
    note: str = ""
    tables: list[KeptTable]


def read_kept(path: Path) -> KeptResults:
    """A result file.

    Raises:
        UserError: it is no JSON, or lacks a field.
    """
    try:
        return KeptResults.model_validate_json(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from None
    except ValidationError as error:
        raise UserError(f"{path} is no result file ({first_fault(error)})") from None


def page(results: KeptResults, reading: str) -> str:
    """A result page as Markdown: the command on top, the tables, the reading below."""
    lines = [f"# {results.title}", "", "```sh", results.command, "```", "", _provenance(results), ""]
    for table in results.tables:
        lines += [f"## {table.title}", ""] if len(results.tables) > 1 else []
        lines += [*_table(table), ""]
    if results.note:
        lines += [f"Note: {results.note}", ""]
    return "\n".join([*lines, "## Reading", "", reading.strip(), ""]) if reading else "\n".join(lines)


def _provenance(results: KeptResults) -> str:
    known = {f"`{name}` {digest[:12]}" for name, digest in results.data_sha256.items() if digest}
    lines = [
        f"Source: {results.source}.",
        f"Commit: {results.commit or 'not recorded'}.",
        f"Experiment: `{results.experiment}`"
        + (f" (SHA-256 {results.experiment_sha256[:12]})." if results.experiment_sha256 else "."),
        f"Seeds: {_listed(results.seeds)}; split seeds: {_listed(results.split_seeds)}.",
        f"Data (SHA-256): {', '.join(sorted(known)) or 'not recorded'}.",
    ]
    return "\n".join(lines)


def _listed(numbers: Sequence[int]) -> str:
    return ", ".join(map(str, numbers)) or "not recorded"


def heading(column: str) -> str:
    """A column's name for people: `cold:ndcg@20` becomes `ndcg@20, cold items`."""
    group, _, metric = column.rpartition(":")
    return f"{metric}, {GROUPS.get(group, group)}" if group and group != "overall" else metric


def _table(table: KeptTable) -> Iterator[str]:
    decided = [row.columns.get(table.decide_by) for row in table.rows]
    extra = {
        "95% interval": [_interval(f.interval) if f else "" for f in decided],
        f"difference in {heading(table.decide_by)}": [_difference(f) for f in decided],
        "verdict": [f.verdict if f else "" for f in decided],
    }
    shown = {name: texts for name, texts in extra.items() if any(texts)}
    yield _line(["model", *map(heading, table.columns), *shown])
    yield _line(["---", *["---:"] * (len(table.columns) + len(shown))])
    for number, row in enumerate(table.rows):
        figures = [row.columns.get(column) for column in table.columns]
        cells = [_figure(f, table.decide_by == c) for f, c in zip(figures, table.columns, strict=True)]
        yield _line([row.model, *cells, *(texts[number] for texts in shown.values())])
    if any(value is not None for value in table.chance.values()):
        values = [table.chance.get(column) for column in table.columns]
        yield _line(["chance", *("" if v is None else f"{v:.4f}" for v in values), *[""] * len(shown)])


def _figure(figure: Figure | None, decides: bool) -> str:
    if figure is None:
        return ""
    worse = not decides and figure.verdict == "worse"
    return f"{figure.mean:.4f}" + (" (worse)" if worse else "")


def _interval(interval: tuple[float, float] | None) -> str:
    return f"{interval[0]:.4f} to {interval[1]:.4f}" if interval else ""


def _difference(figure: Figure | None) -> str:
    against = figure.against if figure else None
    if against is None:
        return ""
    text = "" if against.difference is None else f"{against.difference:+.4f}"
    return f"{text} ({_interval(against.interval)})".strip() if against.interval else text


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def pages(root: Path) -> dict[Path, str]:
    """Path -> text of every result page, and of their index, below the checkout `root`."""
    found, index = {}, INDEX
    for path in sorted((root / KEPT).glob("*.json")):
        results, text = read_kept(path), path.with_suffix(".md")
        reading = text.read_text(encoding="utf-8") if text.is_file() else ""
        found[root / PAGES / f"{path.stem}.md"] = page(results, reading)
        index += _line([f"[{results.title}]({path.stem}.md)", ", ".join(results.data_sha256)]) + "\n"
    return found | {root / PAGES / "index.md": index}


def keep(out: Path, root: Path) -> Path:
    """Copy what `recsys bench` measured in its folder `out` into the result files below `root`.

    Raises:
        UserError: there are no results, or some of its jobs failed.
    """
    measured = read_json(out / RESULTS_FILE)
    if not measured.get("tables"):
        raise UserError(f"{out} holds no {RESULTS_FILE}; run `recsys bench` first")
    if measured.get("failed"):
        raise UserError(f"{out}: {len(measured['failed'])} jobs failed; run `recsys bench` again")
    runs = [p.parent for p in sorted(out.glob(f"*/*/{JOB_FILE}"))]
    target = root / KEPT / f"{out.name}.json"
    kept = KeptResults.model_validate(measured | _record(out.name, runs) | {"source": "measured"})
    write_text(target, json.dumps(kept.model_dump(exclude_none=True), indent=1) + "\n")
    return target


def _record(name: str, runs: Sequence[Path]) -> dict[str, Any]:
    """Where measured figures come from, as their runs' folders say."""
    made = [read_json(run / ENVIRONMENT_FILE) for run in runs]
    metrics = [read_json(run / "metrics.json") for run in runs]
    jobs = [read_json(run / JOB_FILE) for run in runs]
    data = {m["dataset"]: j.get("data_sha256") for m, j in zip(metrics, jobs, strict=True)}
    return {
        "experiment": name,
        "experiment_sha256": hashlib.sha256(find_file(name).read_bytes()).hexdigest(),
        "commit": " and ".join(sorted({m["commit"] for m in made if m.get("commit")})) or None,
        "seeds": sorted({m["seed"] for m in metrics}),
        "split_seeds": sorted({m.get("split_seed", 0) for m in metrics}),
        "data_sha256": data,
    }


def write_pages(root: Path) -> Mapping[Path, str]:
    """Write every result page below the checkout `root`."""
    found = pages(root)
    (root / PAGES).mkdir(parents=True, exist_ok=True)
    for path, text in found.items():
        write_text(path, text)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--root", type=Path, default=Path(), help="the checkout; by default this folder")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="first copy this benchmark's results")
    arguments = parser.parse_args()
    try:
        if arguments.keep:
            print(f"wrote {keep(arguments.keep, arguments.root)}")
        for path in write_pages(arguments.root):
            print(f"wrote {path}")
    except UserError as error:
        raise SystemExit(f"recsys: {error}") from None


if __name__ == "__main__":
    main()
