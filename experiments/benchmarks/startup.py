"""How long a person waits before anything happens: importing the package, and the command line's help.

    python -m recsys.experiments.benchmarks.startup

Each is a fresh process, timed from outside, beside an empty interpreter; both must stay under a second.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

COMMANDS = {
    "empty interpreter": ["-c", ""],
    "import recsys": ["-c", "import recsys"],
    "recsys --help": ["-m", "recsys", "--help"],
    "recsys train --help": ["-m", "recsys", "train", "--help"],
}
ROUNDS = 5


def main() -> None:
    for name, arguments in COMMANDS.items():
        seconds = []
        for _ in range(ROUNDS + 1):
            start = time.perf_counter()
            subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)
            seconds.append(time.perf_counter() - start)
        print(f"{name:>20}: {statistics.median(seconds[1:]):.2f} s (at most 1 wanted)")


if __name__ == "__main__":
    main()
