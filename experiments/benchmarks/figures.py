"""Whether models still compute what they computed: metrics of short runs against those that are stored.

`python -m recsys.experiments.benchmarks.figures --data-root DIR [MODEL ...]` repeats the runs in stored/figures.json
(seed 0, a few epochs, one thread) and prints which figures differ; exit status 1 where some do. The stored ones were
made on x86-64 by the commit that the file names; another machine may differ in the last digits, and data sets that are
not at hand are skipped and named. `--store` writes what is computed now into the file.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

STORED = Path(__file__).parent / "stored" / "figures.json"


def repeat(stored: dict[str, Any], data_root: str | None) -> dict[str, float]:
    """The figures that a stored run has now, under the stored names.

    Raises:
        DataError: its data set is not at hand.
    """
    from recsys.runs.config import RunConfig
    from recsys.runs.run import execute, prepare

    settings = {"max_epochs": stored["max_epochs"]} if "max_epochs" in stored else {}
    config = RunConfig(
        **{key: stored[key] for key in ("model", "dataset", "split", "task")},
        settings=settings,
        data_root=data_root,
    )
    with tempfile.TemporaryDirectory() as folder:
        metrics = execute(prepare(config), Path(folder) / "run")
    names = (name.split(" ") for name in stored["figures"])
    return {f"{group} {metric}": metrics[group][metric] for group, metric in names}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="*", help="names of models; all where none is given")
    parser.add_argument("--data-root", default=os.environ.get("RECSYS_DATA"))
    parser.add_argument("--dataset", default="", help="only runs on this data set")
    parser.add_argument("--store", action="store_true", help="write what was found into the file")
    arguments = parser.parse_args()
    if os.environ.get("OMP_NUM_THREADS") != "1":
        one = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
        command = [sys.executable, "-m", "recsys.experiments.benchmarks.figures", *sys.argv[1:]]
        return subprocess.run(command, env=os.environ | one).returncode
    from recsys.errors import DataError

    kept = json.loads(STORED.read_text(encoding="utf-8"))
    compared = differing = 0
    for stored in kept["runs"]:
        if arguments.models and stored["model"] not in arguments.models:
            continue
        if arguments.dataset not in ("", stored["dataset"]):
            continue
        name = f"{stored['model']} on {stored['dataset']}, {stored['split']}"
        try:
            now = repeat(stored, arguments.data_root)
        except DataError as error:
            print(f"{name}: skipped: {error}")
            continue
        changed = {key: (old, now[key]) for key, old in stored["figures"].items() if now[key] != old}
        compared, differing = compared + len(now), differing + len(changed)
        largest = max((abs(new - old) for old, new in changed.values()), default=0.0)
        equal = f"{len(now)} figures equal"
        print(
            f"{name}: {f'{len(changed)} differ, by {largest:.2g} at most' if changed else equal}", flush=True
        )
        stored["figures"] = now
    print(f"{compared - differing} of {compared} figures are equal to the last bit")
    if arguments.store:
        lines = ",\n".join(json.dumps(run) for run in kept.pop("runs"))
        STORED.write_text(json.dumps(kept)[:-1] + f', "runs": [\n{lines}\n]}}\n', encoding="utf-8")
    return int(differing > 0)


if __name__ == "__main__":
    sys.exit(main())
