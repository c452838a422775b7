"""Our models against their authors' published code: `python -m recsys.experiments.benchmarks.parity --authors DIR`.

DIR holds a clone of each repository in a folder of its name. That code is foreign, and is run on purpose, with the
rights of whoever starts this command: look at what you clone. Both sides get the same slice of TikTok (of the toy shop
where TikTok is not at hand) in float64, with the same weights, batch, dropout masks and draws. Printed is the largest
relative difference, max |ours - theirs| / max |theirs|, of graphs, vectors, loss and gradients. A model without
published code is compared with a slow transcription of its formulas. Exit status 1 where a difference is above 1e-6.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from pathlib import Path
from typing import Any

from recsys.errors import UserError, nearest
from recsys.experiments.benchmarks.parity.compare import BOUND, KINDS, Comparison
from recsys.experiments.benchmarks.parity.foreign import commit_of, folder_of
from recsys.experiments.benchmarks.parity.material import Material, material
from recsys.experiments.benchmarks.parity.page import largest, read_stored, store
from recsys.files import write_text
from recsys.runs.record import commit

CHECKS = {
    "MMHCL": "mmhcl:compare",
    "CM3": "cm3:compare",
    "FREEDOM": "freedom:compare",
    "BM3": "bm3:compare",
    "LightGCN": "lightgcn:compare",
    "LATTICE": "lattice:compare",
    "VBPR": "vbpr:compare",
    "CLCRec": "clcrec:compare",
    "MGCN": "mgcn:compare",
    "CLHE": "clhe:compare",
    "MV-InfoNCE": "multiview:compare_mv_infonce",
    "MV-DHEL": "multiview:compare_mv_dhel",
    "GRAM": "gram:compare",
    "M3CoL": "m3col:compare",
    "SIGE": "sige:compare",
    "AFF": "aff:compare",
}
"""Name -> module of this package and function."""


def check(name: str, authors: Path | None, given: Material) -> dict[str, Any]:
    """One model's comparison as a stored record.

    Args:
        authors: the folder with the authors' repositories; None: models with published code are skipped.
    """
    module, _, function = CHECKS[name].partition(":")
    part = importlib.import_module(f"{__package__}.{module}")
    source, record = part.SOURCE, dict[str, Any]()
    folder = None
    try:
        if source is not None:
            record |= {"repository": source.repository, "note": source.note}
            if authors is None:
                raise UserError("its code is published; name the folder that holds it with --authors")
            folder = folder_of(source, authors)
            record["commit"] = commit_of(folder)
        found: Comparison = getattr(part, function)(folder, given)
    except UserError as error:
        return record | {"skipped": str(error).replace(f"{authors}", "DIR")}
    departures = [vars(departure) for departure in found.departures]
    return record | {"rows": [list(row) for row in found.rows], "departures": departures}


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m recsys.experiments.benchmarks.parity", description=__doc__.partition("\n\n")[2]
    )
    parser.add_argument(
        "--authors",
        type=Path,
        metavar="DIR",
        help="folder with the repositories, whose code is imported and run",
    )
    parser.add_argument(
        "--models", nargs="+", metavar="NAME", help=f"of {', '.join(CHECKS)}; all where none is given"
    )
    parser.add_argument("--data-root", default=os.environ.get("RECSYS_DATA"))
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the measurements to a file")
    parser.add_argument(
        "--store",
        action="store_true",
        help="keep them in the checkout, and write docs/results/parity.md anew",
    )
    options = parser.parse_args()
    try:
        return run(options)
    except UserError as error:
        print(f"recsys: {error}", file=sys.stderr)
        return 2


def run(options: argparse.Namespace) -> int:
    """Compare what was asked for, print a line for each, and keep it where asked."""
    for name in options.models or ():
        if name not in CHECKS:
            raise UserError(f"there is no comparison of '{name}'{nearest(name, CHECKS)}")
    if options.authors is not None and not options.authors.is_dir():
        raise UserError(
            f"--authors {options.authors}: no such folder; clone the authors' repositories into one"
        )
    authors = options.authors and options.authors.resolve()
    given, apart = material(options.data_root), 0
    print(f"on {given.name}: {given.shape[0]} users, {given.shape[1]} items")
    measured: dict[str, Any] = {
        "commit": commit(),
        "data": given.name,
        "shape": list(given.shape),
        "models": {},
    }
    for name in options.models or CHECKS:
        record = measured["models"][name] = check(name, authors, given)
        if "skipped" in record:
            print(f"{name:11s} not compared: {record['skipped']}", flush=True)
            continue
        worst = largest(record["rows"])
        shown = "  ".join(f"{kind} {worst[kind]:.1e}" for kind in KINDS if worst[kind] is not None)
        agrees = all(value < BOUND for *_, value in record["rows"])
        apart += not agrees
        print(f"{name:11s} {'agrees ' if agrees else 'DIFFERS'}  {shown}", flush=True)
        for kind, what, value in () if agrees else record["rows"]:
            if not value < BOUND:
                print(f"    {kind}: {what} {value:.1e}")
    if options.json:
        from recsys.experiments.bench.result_file import as_json

        write_text(options.json, as_json(measured) + "\n")
    if options.store:
        store(measured, read_stored() if options.models else None)
    return int(apart > 0)


if __name__ == "__main__":
    sys.exit(main())
