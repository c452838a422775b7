"""An epoch of a run on a small copy of its data, and what it took: what a forecast starts in a process of its own.

python -m recsys.runs.trial FOLDER
"""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path

import pandas as pd

from recsys.errors import UserError
from recsys.graphs import approximate, knn
from recsys.runs.artifacts import ENVIRONMENT_FILE
from recsys.runs.config import RunConfig
from recsys.runs.forecast import TRIAL_FILE
from recsys.runs.record import peak_memory
from recsys.runs.run import execute, prepare
from recsys.training.filenames import HISTORY_FILE


def measure(folder: Path) -> dict[str, float]:
    """Carry out the run of `folder` in this process, and tell what it took."""
    asked = json.loads((folder / TRIAL_FILE).read_text("utf-8"))
    config = RunConfig(**asked["config"])
    # A search that is approximate on the whole data is on the copy too: its threshold shrinks as pairs of items do.
    approximate.EXACT_WORK = int(approximate.EXACT_WORK * asked["share"] ** 2)
    base = peak_memory()
    run = prepare(config, forecasts=False)
    searches = dict(knn.SPENT)  # those after it belong to the first validation
    timing = execute(run, folder / "run")["timing"]
    used = json.loads((folder / "run" / ENVIRONMENT_FILE).read_text("utf-8"))["usage"]
    return {
        **searches,
        "graphs": max(timing["graph"] - sum(searches.values()), 0.0),
        "epoch": epoch_of(folder / "run") or timing["train_epoch_median"],
        "ranking": timing["evaluate"],
        "base": (base or math.nan) * 2**20,
        "memory": (used["peak_memory_mib"] or math.nan) * 2**20,
    }


def epoch_of(folder: Path) -> float | None:
    """Seconds of an epoch, of each stage its fastest: the first one also meets everything for the first time. None for
    a closed form, which has no epochs."""
    if not (folder / HISTORY_FILE).exists():
        return None
    history = pd.read_csv(folder / HISTORY_FILE)
    stages = history["stage"] if "stage" in history else pd.Series("", index=history.index)
    return float(history["seconds"].groupby(stages).min().median())


if __name__ == "__main__":
    try:
        print(json.dumps(measure(Path(sys.argv[1]))))
    except UserError as error:
        sys.exit(str(error))
