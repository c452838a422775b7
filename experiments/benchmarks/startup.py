"""How long a person waits before anything happens: `python -m recsys.experiments.benchmarks.startup`.

Each is a fresh process, timed from outside. The first ones, beside an empty interpreter, are the package and the
command line's help, which must stay under a second. The others are commands that do little: a run of Popularity on
MovieLens-100K, one list of that run, and a report on five runs; `import torch`, which training needs, stands beside
them. Their figures are processor seconds, of which other work on the machine changes less.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

COMMANDS = {
    "empty interpreter": ["-c", ""],
    "import recsys": ["-c", "import recsys"],
    "recsys --help": ["-m", "recsys", "--help"],
    "recsys train --help": ["-m", "recsys", "train", "--help"],
}
SMALL = {
    "import torch": ([sys.executable, "-c", "import torch"], None),
    "recsys train --model pop": (["train", "--model", "pop", "--dataset", "ml-100k"], 2.6),
    "recsys recommend": (["recommend", "--run", "runs/pop", "--user", "1"], 2.2),
    "recsys report, 5 runs": (["report", "runs"], 7.0),
}
"""Label -> a command, and the processor seconds that it may take: half of what these took before imports were lazy."""
REPORTED = ("pop", "itemknn", "ease", "wmf", "hyperwalk")
ROUNDS = 5


def processor_seconds(command: list[str], folder: Path) -> float:
    """What a command and its children take, of user and system time."""
    before = os.times()
    subprocess.run(command, check=True, cwd=folder, stdout=subprocess.DEVNULL)
    after = os.times()
    return sum(getattr(after, name) - getattr(before, name) for name in ("children_user", "children_system"))


def recsys(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "recsys", *arguments]


def main() -> None:
    for name, arguments in COMMANDS.items():
        seconds = []
        for _ in range(ROUNDS + 1):
            start = time.perf_counter()
            subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)
            seconds.append(time.perf_counter() - start)
        print(f"{name:>26}: {statistics.median(seconds[1:]):.2f} s (at most 1 wanted)", flush=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for model in REPORTED:
            command = recsys("train", "--model", model, "--dataset", "ml-100k", "--out", f"runs/{model}")
            processor_seconds(command, folder)
        for label, (arguments, most) in SMALL.items():
            command = arguments if most is None else recsys(*arguments)
            median = statistics.median(processor_seconds(command, folder) for _ in range(ROUNDS))
            wanted = "" if most is None else f" (at most {most} wanted)"
            print(f"{label:>26}: {median:.2f} s of the processor{wanted}", flush=True)


if __name__ == "__main__":
    main()
