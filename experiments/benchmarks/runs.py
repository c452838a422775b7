"""The trained runs that a command is given by their folders."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

from recsys.runs.run import Run, load_run


def given_runs(description: str) -> Iterator[tuple[str, Run]]:
    """Name and content of each RUN on the command line, whose data lie below `--data-root`."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("--data-root")
    options = parser.parse_args()
    for folder in options.runs:
        yield folder.name, load_run(folder, options.data_root)
