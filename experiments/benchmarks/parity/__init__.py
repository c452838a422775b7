"""Our models against their authors' published code; see `python -m recsys.experiments.benchmarks.parity --help`."""
