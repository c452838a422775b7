"""One epoch of a run on a small copy of its data, and what it took: what a forecast starts in a process of its own.

python -m recsys.runs.trial FOLDER
"""

from __future__ import annotations

import json
import math
import sys
import time
from pathlib import Path

from recsys.errors import UserError
from recsys.graphs import approximate
from recsys.runs.artifacts import ENVIRONMENT_FILE
from recsys.runs.config import RunConfig, resolve
from recsys.runs.forecast import TRIAL_FILE
from recsys.runs.record import peak_memory
from recsys.runs.run import execute, prepare


def measure(folder: Path) -> dict[str, float]:
    """Carry out the run of `folder` in this process, and tell what it took."""
    asked = json.loads((folder / TRIAL_FILE).read_text("utf-8"))
    config = RunConfig(**asked["config"])
    approximate.EXACT_WORK = int(approximate.EXACT_WORK * asked["share"])
    base, start = peak_memory() or math.nan, time.perf_counter()
    dataset = resolve(config).dataset
    load = time.perf_counter() - start
    metrics = execute(prepare(config, dataset, forecasts=False), folder / "run")
    used = json.loads((folder / "run" / ENVIRONMENT_FILE).read_text("utf-8"))["usage"]
    timing = metrics["timing"]
    return {
        "load": load,
        "graphs": timing["graph"],
        "epoch": timing["train_epoch_median"],
        "ranking": timing["evaluate"],
        "memory": (used["peak_memory_mib"] or math.nan) * 2**20,
        "base": base * 2**20,
    }


if __name__ == "__main__":
    try:
        print(json.dumps(measure(Path(sys.argv[1]))))
    except UserError as error:
        sys.exit(str(error))
