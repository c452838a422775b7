"""Verdicts, intervals and column names as plain English."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from recsys.experiments.report.slices import SLICES
from recsys.experiments.stats.verdicts import ONE_SEED
from recsys.runs.config import RunConfig


def column_words(column: str) -> str:
    """A column's name, such as "cold:ndcg@20", for people.

    Example:
        >>> column_words("cold:ndcg@20")
        'ndcg@20, cold items'
    """
    group, _, metric = column.rpartition(":")
    return f"{metric}, {SLICES.get(group, group)}" if group else metric


def interval_words(interval: Sequence[float] | None) -> tuple[str, str] | None:
    """The two halves of an interval, between which a line may break; None where there is none."""
    if not interval:
        return None
    return f"{interval[0]:.4f}{' to ' if interval[0] < 0 else '–'}", f"{interval[1]:.4f}"


def verdict_words(row: Mapping[str, Any], table: Mapping[str, Any], margin: float) -> str:
    """What a row's results on the column that ranks the table show."""
    decide = table["decide_by"]
    cell = row["columns"].get(decide, {})
    verdict, against = cell.get("verdict"), cell.get("against", {})
    if verdict is None:
        return cell.get("note", "" if len(table["rows"]) > 1 else "the only model")
    if verdict == "best":
        return "best: shown to be better than every other model"
    if verdict == f"highest, {ONE_SEED}":
        return f"highest, of {ONE_SEED}: how much the seeds differ is not known"
    if verdict in ("highest, not shown best", "reference"):
        equals = [r["model"] for r in table["rows"] if r["columns"].get(decide, {}).get("may_be_best")]
        stands = "highest, but" if verdict.startswith("highest") else "the reference of the other models;"
        return f"{stands} not shown to be better than {_listed([m for m in equals if m != row['model']])}"
    reference, gap = against["reference"], abs(against["difference"])
    ends = sorted(abs(end) for end in against["interval"])
    if verdict == ONE_SEED:
        side = "above" if against["difference"] > 0 else "below"
        return f"{gap:.4f} {side} {reference}, {ONE_SEED}: how much the seeds differ is not known"
    if verdict in ("better", "worse"):
        return f"{verdict} than {reference}, by {gap:.4f} ({ends[0]:.4f} to {ends[1]:.4f})"
    if verdict == "equivalent":
        return f"as good as {reference}: any difference is below {margin:.0%}"
    detectable = f"{against['smallest_detectable']:.4f}"
    return f"not shown to differ from {reference}; a difference of {detectable} would be detected"


def headline(group_title: str, table: Mapping[str, Any]) -> str:
    """One sentence on who wins a table."""
    decide = table["decide_by"]
    if not table["rows"]:
        return f"{group_title}: no results."
    first = table["rows"][0]
    cell = first["columns"].get(decide, {})
    mean = f"{cell.get('mean', math.nan):.4f}"
    if len(table["rows"]) == 1:
        return f"{group_title}: {first['model']}, the only model, has {column_words(decide)} {mean}."
    first_place = f"{first['model']} ranks first by {column_words(decide)} with {mean}"
    if cell.get("verdict") == "best":
        return f"{group_title}: {first_place}, shown to be better than every other model."
    if ONE_SEED in cell.get("verdict", ""):
        return f"{group_title}: {first_place}; with {ONE_SEED}, which model is better is not known."
    others = [row["model"] for row in table["rows"][1:] if row["columns"].get(decide, {}).get("may_be_best")]
    if others:
        return f"{group_title}: {first_place}; {_listed(others)} may be as good."
    return f"{group_title}: {first_place}."


def settings_words(configs: Sequence[RunConfig]) -> str:
    """Where the runs' settings are from, as far as the runs recorded it.

    Example:
        >>> settings_words([RunConfig(model="pop", dataset="toy")])
        'The settings are defaults or were typed by hand; how they were chosen is not recorded.'
    """
    files = sorted({c.settings_from for c in configs if c.settings_from})
    taken = sum(bool(c.settings_from) for c in configs)
    rest = "defaults or were typed by hand; how they were chosen is not recorded."
    if not taken:
        return f"The settings are {rest}"
    where = f"files of tuned settings or from published code ({_listed(files)})"
    said = f"{taken} of {len(configs)} runs took settings from {where}"
    return f"{said}." if taken == len(configs) else f"{said}; the others' are {rest}"


def tests_words(metrics: Sequence[Mapping[str, Any]]) -> str:
    """How often the test part was looked at, and what chose the weights that were tested.

    Example:
        >>> tests_words([{"test_opened": 1}])
        'The test part was evaluated once by each run.'
    """
    most = max(int(one.get("test_opened", 1)) for one in metrics)
    opened = "once" if most <= 1 else f"up to {most} times"
    by_validation = sum("best_epoch" in one for one in metrics)
    chose = f" Of {by_validation} of {len(metrics)} runs the epoch was chosen on the validation part."
    return f"The test part was evaluated {opened} by each run.{chose if by_validation else ''}"


def _listed(names: Sequence[str], most: int = 4) -> str:
    if len(names) > most:
        names = [*names[: most - 1], f"{len(names) - most + 1} others"]
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names) or "any other"
