"""The kept measurements, and the page of the documentation that is made of them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from recsys.experiments.bench.result_file import as_json
from recsys.experiments.benchmarks.parity.compare import BOUND, KINDS
from recsys.files import write_text

ROOT = Path(__file__).parents[3]
STORED, PAGE = ROOT / "experiments/benchmarks/stored/parity.json", ROOT / "docs/results/parity.md"
HEAD = """# Parity with the authors' code

```sh
python -m recsys.experiments.benchmarks.parity --authors DIR
```

Our models beside the code that their authors published, on the same data, weights, batch, dropout masks and random
draws, in float64. A figure is the largest relative difference, max |ours − theirs| / max |theirs|, over all graphs,
vectors, terms of the loss, or gradients that were compared. Graphs are built in single precision, hence differences
about 1e-7.

`DIR` holds a clone of each repository. That code is foreign, and is run on purpose, with the rights of whoever starts
the command; no line of it is part of this repository.
"""
WITHOUT_CODE = """SIGE and AFF have no published code. What stands in for it is a slow transcription of the formulas in
their docstrings, item by item. These are our reading of the papers' abstracts: the figure shows that the fast code
computes them, not that they are the authors'."""

DEPARTURES = """## Departures

Where we differ on purpose, or from a fault. Both sides were given the same in these points, so that the table above
shows the rest. A difference is that of the graph, vectors or loss with the departure.
"""
TRAINING = """What concerns training rather than a formula (initial weights, weight decay, the metric that chooses the
epoch) is in `recsys show models NAME`; `recsys train --published` takes the authors' settings and protocol.
"""


def largest(rows: Iterable[tuple[str, str, float]]) -> dict[str, float | None]:
    """Kind -> the largest difference; None where nothing of the kind was compared."""
    rows = list(rows)
    return {kind: max((value for k, _, value in rows if k == kind), default=None) for kind in KINDS}


def page(measured: Mapping[str, Any]) -> str:
    """The page's text."""
    models = measured["models"]
    users, items = measured["shape"]
    about = [
        f"* Measured at commit `{measured['commit']}`.",
        f"* Data: {measured['data']}, {users} users and {items} items with interactions.",
    ]
    agreed = [
        name for name, record in models.items() if _worst(record) is not None and _worst(record) < BOUND
    ]
    rows = [_row(name, record) for name, record in models.items()]
    departures = [
        {
            "model": name,
            "ours": one["what"],
            "why": one["reason"],
            "option that removes it": one["option"],
            "difference": _figure(one["difference"]),
        }
        for name, record in models.items()
        for one in record.get("departures", ())
    ]
    parts = [
        HEAD,
        "\n".join(about) + "\n",
        f"## Differences\n\n{len(agreed)} of {len(models)} are below {BOUND:.0e} in all that was compared.\n",
        _table(rows, len(KINDS)) + "\n",
        WITHOUT_CODE + "\n",
        DEPARTURES,
        _table(departures, 1) + "\n",
        TRAINING,
    ]
    return "\n".join(parts)


def _worst(record: Mapping[str, Any]) -> float | None:
    return max((value for *_, value in record.get("rows", ())), default=None)


def _row(name: str, record: Mapping[str, Any]) -> dict[str, str]:
    code = "none: transcribed slowly"
    if "repository" in record:
        commit = record.get("commit", "unknown")
        link = f"https://github.com/{record['repository']}"
        link += f"/tree/{commit}" if commit != "unknown" else ""
        code = f"[{record['repository']}]({link}) {commit[:10]}"
        code += f" ({record['note']})" if record["note"] else ""
    worst = largest(record.get("rows", ()))
    figures = {kind: _figure(worst[kind]) for kind in KINDS}
    if "skipped" in record:
        figures = dict.fromkeys(KINDS, "not compared")
    return {"model": name, "code": code, **figures}


def _table(rows: list[dict[str, str]], figures: int) -> str:
    """Markdown; the last columns, so many of them, are figures."""
    frame = pd.DataFrame(rows)
    align = ["left"] * (frame.shape[1] - figures) + ["right"] * figures
    return str(frame.to_markdown(index=False, disable_numparse=True, colalign=align))


def _figure(value: float | None) -> str:
    return "" if value is None else "0" if value == 0 else f"{value:.1e}"


def read_stored() -> dict[str, Any] | None:
    """The kept measurements; None where there are none."""
    return json.loads(STORED.read_text(encoding="utf-8")) if STORED.is_file() else None


def store(measured: dict[str, Any], kept: dict[str, Any] | None) -> None:
    """Keep the measurements, those of other models from before included, and write the page."""
    if kept:
        measured = measured | {"models": kept["models"] | measured["models"]}
    write_text(STORED, as_json(measured) + "\n")
    write_text(PAGE, page(measured))
