"""How long a person waits before anything happens: `python -m recsys.experiments.benchmarks.startup`.

Each is a fresh process, timed from outside. The first ones, beside an empty interpreter, are the package and the
command line's help, which must stay under a second. The others are commands that do little: a run of Popularity on
MovieLens-100K, one list of that run, and a report on five runs. Their figures are processor seconds, of which other
work on the machine changes less, and how many times as much that is as `import torch`, which training needs.
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
    "recsys train --model pop": (["train", "--model", "pop", "--dataset", "ml-100k"], 2.55),
    "recsys recommend": (["recommend", "--run", "runs/pop", "--user", "1"], 2.6),
    "recsys report, 5 runs": (["report", "runs"], 2.7),
}
"""Label -> a command, and how many times as much as `import torch` it may take: half of what these took before imports
were lazy (7.05, 7.1 and 7.4 s beside 1.38 s)."""
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
        torch = statistics.median(
            processor_seconds([sys.executable, "-c", "import torch"], folder) for _ in range(ROUNDS)
        )
        print(f"{'import torch':>26}: {torch:.2f} s of the processor", flush=True)
        for label, (arguments, most) in SMALL.items():
            median = statistics.median(processor_seconds(recsys(*arguments), folder) for _ in range(ROUNDS))
            ratio = f"{median / torch:.2f} times (at most {most} wanted)"
            print(f"{label:>26}: {median:.2f} s of the processor, {ratio}", flush=True)


if __name__ == "__main__":
    main()
