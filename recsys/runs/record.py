"""What a run's figures rest on besides its configuration, and what the run took: environment.json."""

from __future__ import annotations

import functools
import hashlib
import os
import platform
import subprocess
import sys
import time
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from recsys.datasets.dataset import Dataset
from recsys.datasets.splits import Split
from recsys.runs.versions import data_checksum

PACKAGES = ("recsys", "torch", "numpy", "scipy", "pandas", "pytorch-lightning", "scikit-learn")
PACKAGE = Path(__file__).parents[1]
STATUS = Path("/proc/self/status")


class Usage(NamedTuple):
    """Clocks of this process: wall and CPU seconds, the latter of its finished children too."""

    wall: float
    cpu: float

    @classmethod
    def now(cls) -> Usage:
        """What the clocks show; only differences mean something."""
        times = os.times()
        cpu = times.user + times.system + times.children_user + times.children_system
        return cls(time.perf_counter(), cpu)


def checksums(dataset: Dataset, split: Split) -> dict[str, str]:
    """Of what was trained on: `data_sha256`, and `split_sha256` of the row numbers of its parts."""
    parts = [split.train, split.valid, split.test, split.valid_support, split.test_support]
    rows = np.concatenate([p for part in parts for p in (part, [-1])])
    return {
        "data_sha256": data_checksum(dataset),
        "split_sha256": hashlib.sha256(np.ascontiguousarray(rows, np.int64).data).hexdigest(),
    }


def environment(dataset: Dataset, split: Split) -> dict[str, Any]:
    """Versions, commit, hardware, and checksums of data and split."""
    import torch

    return {
        "python": platform.python_version(),
        "packages": {name: metadata.version(name) for name in PACKAGES},
        "commit": commit(),
        "hardware": hardware(),
        "threads": torch.get_num_threads(),
        "content": {name: asdict(made) for name, made in dataset.provenance.items()},
        **checksums(dataset, split),
    }


def usage(since: Usage) -> dict[str, float | None]:
    """What was used since then: seconds, and the process's largest memory so far, in MiB; with a GPU also of
    torch's on it."""
    import torch

    wall, cpu = (now - then for now, then in zip(Usage.now(), since, strict=True))
    used = {"wall_seconds": wall, "cpu_seconds": cpu, "peak_memory_mib": peak_memory()}
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        used["peak_gpu_memory_mib"] = torch.cuda.max_memory_allocated() / 2**20
    return used


def peak_memory() -> float | None:
    """MiB of this process's largest resident set so far; None where the system does not tell."""
    try:  # a child's ru_maxrss begins with what its parent held when it was started
        lines = STATUS.read_text(encoding="ascii", errors="replace").splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024
    except (OSError, StopIteration, ValueError):
        pass
    try:
        import resource
    except ImportError:  # Windows
        return None
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20


def hardware() -> dict[str, Any]:
    """The processor's name, cores, memory in GiB, and the names of GPUs."""
    import torch

    gpus = range(torch.cuda.device_count()) if torch.cuda.is_available() else ()
    return {
        "machine": platform.machine(),
        "cpu": cpu_name(),
        "cores": os.cpu_count(),
        "memory_gib": memory(),
        "gpus": [torch.cuda.get_device_name(number) for number in gpus],
    }


def cpu_name() -> str:
    """The processor's model name, or what the platform calls it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.processor())


def memory() -> float | None:
    """GiB of the machine's memory; None where the system does not tell."""
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)
    except (AttributeError, OSError, ValueError):
        return None


@functools.cache
def commit(package: Path = PACKAGE) -> str | None:
    """The commit that the package was checked out at, with -dirty behind it where a Python file has been changed
    since; None where it lies in no checkout, or git is not there to ask."""
    try:
        # A package installed below somebody else's checkout is not part of it.
        _git(package, "ls-files", "--error-unmatch", "__init__.py")
        changed = _git(package, "status", "--porcelain", "--untracked-files=no", "--", ":/*.py")
        return _git(package, "rev-parse", "HEAD") + ("-dirty" if changed else "")
    except (OSError, subprocess.SubprocessError):
        return None


def _git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", os.fspath(folder), *arguments]
    # Reading must not take the lock that a commit elsewhere waits for.
    env = os.environ | {"GIT_OPTIONAL_LOCKS": "0"}
    return subprocess.run(
        command, capture_output=True, text=True, check=True, timeout=10, env=env
    ).stdout.strip()
