"""Result files: the figures that the repository keeps of its experiments, and where they come from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from recsys.errors import UserError
from recsys.files import write_text
from recsys.runs.artifacts import GROUPS, first_fault

FILES = Path("experiments/results")
COMMAND = "python -m recsys.experiments.bench.pages"


class Kept(BaseModel):
    """A part of a file that the repository keeps: no key that is not known."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Row(Kept):
    """One row of a table.

    Attributes:
        figures: column -> mean over seeds.
        interval: of the deciding column's mean, 95%.
        difference, difference_interval: from the reference in the deciding column; the interval is corrected for the
            number of comparisons.
        vectors: diagnostics of the vectors at the best epoch, and seconds of an epoch, means over the runs; of
            trainings with `diagnostics: true`.
    """

    model: str
    figures: dict[str, float]
    interval: tuple[float, float] | None = None
    difference: float | None = None
    difference_interval: tuple[float, float] | None = None
    verdict: str | None = None
    vectors: dict[str, float] = {}


class ResultTable(Kept):
    """One data set under one split. `chance` is what a random order has in each column."""

    title: str
    columns: list[str]
    decide_by: str
    reference: str | None
    rows: list[Row]
    chance: dict[str, float | None] = {}


class ResultFile(Kept):
    """Figures and where they come from; None stands for what is not known.

    Attributes:
        command: measures the figures again.
        source: "measured", or the page that the figures were copied from.
        printed_by: the first commit whose `source` holds all the figures, where they were copied.
        experiment: the file that says what was run, at that commit.
        commit: of the code that measured them.
        data_sha256: data set -> checksum of its content.
        settings: title of the table -> row -> model and settings.
    """

    title: str
    command: str
    source: str
    printed_by: str | None = None
    experiment: str | None = None
    commit: str | None
    seeds: list[int]
    split_seeds: list[int]
    data_sha256: dict[str, str | None]
    settings: dict[str, dict[str, dict[str, Any]]] | None
    tables: list[ResultTable]


def read_results(path: Path) -> ResultFile:
    """A result file.

    Raises:
        UserError: it cannot be read, or is no result file.
    """
    try:
        return ResultFile.model_validate_json(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from None
    except ValidationError as error:
        raise UserError(
            f"{path} is no result file ({first_fault(error)}); make it with {COMMAND} --from"
        ) from None


def heading(column: str) -> str:
    """A column's name for people.

    Example:
        >>> heading("ndcg@20"), heading("cold:ndcg@20")
        ('ndcg@20', 'ndcg@20, cold items')
    """
    group, _, metric = column.rpartition(":")
    return f"{metric}, {GROUPS.get(group, group)}" if group else metric


def interval_text(ends: tuple[float, float] | None, sign: str = "") -> str:
    """The ends of an interval for people; empty where there is none."""
    return f"{ends[0]:{sign}.4f} to {ends[1]:{sign}.4f}" if ends else ""


def difference_text(difference: float | None, ends: tuple[float, float] | None) -> str:
    """A difference and its interval for people.

    Example:
        >>> difference_text(0.05, (0.02, 0.07))
        '+0.0500 (+0.0200 to +0.0700)'
    """
    gap = "" if difference is None else f"{difference:+.4f}"
    return f"{gap} ({interval_text(ends, '+')})".strip() if ends else gap


def as_json(value: Any, indent: str = "") -> str:
    """JSON with whatever fits a line on one line, so that a row of a table is a line of its file."""
    line = json.dumps(value, ensure_ascii=False)
    if len(line) < 110 or not isinstance(value, (dict, list)) or "model" in value:
        return line
    inner = indent + "  "
    if isinstance(value, dict):
        parts = [f"{json.dumps(key)}: {as_json(part, inner)}" for key, part in value.items()]
    else:
        parts = [as_json(part, inner) for part in value]
    start, end = "{}" if isinstance(value, dict) else "[]"
    return start + "\n" + ",\n".join(inner + part for part in parts) + f"\n{indent}{end}"


def write_results(results: ResultFile, path: Path) -> None:
    """Write a result file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, as_json(results.model_dump(mode="json", exclude_unset=True)) + "\n")
