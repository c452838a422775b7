"""Right answers of commands on damaged files, but for those on data sets."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from recsys.experiments.benchmarks.fuzzing.cases import Ask, Judge, files_in
from recsys.experiments.benchmarks.fuzzing.reading import Unreadable, any_of, json_of, text_of, token, yaml_of


def same(run: Path, arguments: tuple[str, ...], answer: Ask) -> Judge:
    """The answer of the whole run: what is printed, and the files that are written."""
    expected = answer(run, arguments)

    def judge(case: Path, ended: Any, whole: bool) -> str:
        if ended.out != expected.out:
            return "another answer than that of the whole run"
        if expected.files != files_in(case / "out"):
            return "other files than those of the whole run"
        return ""

    return judge


def _figures(path: Path) -> dict[str, Any]:
    values = json_of(path)
    return values["test"] if isinstance(values, dict) else {}


def reported(case: Path, ended: Any, whole: bool) -> str:
    """The figures of metrics.json."""
    tables = json.loads((case / "out" / "results.json").read_text())["tables"]
    (row,) = tables[0]["rows"]
    try:
        figures = _figures(case / "run" / "metrics.json")
    except Unreadable as error:
        return f"reported a run whose metrics.json is none: {error}"
    shown = row["columns"]["ndcg@20"]["mean"]
    return "" if abs(shown - figures["ndcg@20"]) < 1e-9 else f"{shown} is reported for {figures['ndcg@20']}"


def repeated(case: Path, ended: Any, whole: bool) -> str:
    """Status 0 where the figures are the same, 1 where they are not."""
    old, new = (_figures(case / name / "metrics.json") for name in ("run", "out"))
    gap = max(abs(old.get(k, np.inf) - new.get(k, np.inf)) for k in old | new)
    return (
        f"status {ended.status}, and figures that differ by {gap}"
        if (gap > 1e-6) > (ended.status == 1)
        else ""
    )


def resumed(run: Path) -> Judge:
    expected = _figures(run / "metrics.json")
    return lambda case, ended, whole: (
        ""
        if _figures(case / "run" / "metrics.json") == expected
        else "other figures than those of the whole run"
    )


def ranked(given: str, noun: str) -> Judge:
    """A ranking for the ids that the file holds, without what they have."""

    def judge(case: Path, ended: Any, whole: bool) -> str:
        path, had = case / given, set[tuple[str, str]]()
        try:
            if path.suffix == ".txt":
                wanted = {line for line in text_of(path).splitlines() if line}
            elif path.suffix == ".npz":
                with np.load(path, allow_pickle=False) as archive:
                    wanted = set(map(token, archive["item"].tolist()))
            else:
                rows = any_of(path)
                wanted = {token(row[noun.removesuffix("s")]) for row in rows}
                if noun == "users":
                    had = {(token(r["user"]), str(r["item"])) for r in rows}
        except (Unreadable, KeyError) as error:
            return f"read what is none: {error!r:.100}"
        made = any_of(case / "out.parquet")
        found = {row[noun.removesuffix("s")] for row in made}
        if found != wanted:
            return f"ranked {sorted(found ^ wanted)[:3]!r:.100} otherwise"
        return (
            "somebody was recommended what they have" if had & {(r["user"], r["item"]) for r in made} else ""
        )

    return judge


def benched(given: str) -> Judge:
    """A table with the rows that the file names."""

    def judge(case: Path, ended: Any, whole: bool) -> str:
        try:
            named = yaml_of(case / given)
        except Unreadable as error:
            return f"read what is none: {error!r:.100}"
        results = json.loads((case / "out" / "results.json").read_text())
        rows = {row["model"] for row in results["tables"][0]["rows"]}
        wanted = set(map(str, named["models"]))
        failed = str(results["failed"])
        return "" if rows == wanted or failed != "{}" else f"rows {sorted(rows)} for {sorted(wanted)}"

    return judge


def scanned(case: Path, ended: Any, whole: bool) -> str:
    return "" if (case / "out" / "best.yaml").exists() else "no best.yaml"


def configured(given: str) -> Judge:
    """The settings that the file holds."""

    def judge(case: Path, ended: Any, whole: bool) -> str:
        try:
            wanted = yaml_of(case / given) if text_of(case / given).strip() not in ("", "null", "~") else {}
        except Unreadable as error:
            return f"read what is none: {error!r:.100}"
        used = yaml.safe_load((case / "out" / "config.yaml").read_text())["settings"]
        odd = [
            k for k, v in wanted.items() if used.get(k) != v and plain_number(used.get(k)) != plain_number(v)
        ]
        return f"{odd[0]} is {used.get(odd[0])}, given as {wanted[odd[0]]}" if odd else ""

    return judge


def plain_number(value: Any) -> Any:
    """A number as a float, also one that is written as text; anything else as text."""
    try:
        return float(value)
    except (TypeError, ValueError):
        return str(value)
