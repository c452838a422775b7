"""How much memory is left, refusing in one line what would not fit, and keeping what is freed and needed again."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from recsys.errors import UserError

CACHED = 2**25
"""Bytes of a table that a processor's caches may hold. What reads larger ones here and there waits for memory, and is
worth another order; the C library maps larger ones anew each time."""

MMAP_THRESHOLD, TRIM_THRESHOLD = (-3, 2**25), (-1, 2**26)
"""Of glibc's `mallopt`: the parameters' numbers, and the values that it comes to by itself."""

CHOSEN = "MALLOC_MMAP_THRESHOLD_"
"""The variable by which whoever starts a process sets glibc's threshold."""

MEMINFO, STATM, GROUP = Path("/proc/meminfo"), Path("/proc/self/statm"), Path("/sys/fs/cgroup")


def available() -> int | None:
    """Bytes that this process may still take: what the machine has left, and what its control group allows; None where
    the system does not tell."""
    try:
        lines = MEMINFO.read_text(encoding="ascii").splitlines()
        free = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable"))
    except (OSError, StopIteration, ValueError):
        return None
    try:
        limit, used = (int((GROUP / f"memory.{name}").read_text()) for name in ("max", "current"))
    except (OSError, ValueError):  # no control group, or none that limits
        return free
    return min(free, max(limit - used, 0))


def resident() -> int:
    """Bytes of memory that this process holds; 0 where the system does not tell."""
    try:
        return int(STATM.read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError):
        return 0


@contextmanager
def kept(largest: int) -> Iterator[None]:
    """Within, memory that is freed in pieces of at most `largest` bytes stays with the process and is used again;
    behind it, it is given back. Larger pieces would leave gaps that nothing else fits into.

    Tensors of more than 32 MiB are otherwise mapped anew for each operation of each step, and the system fills their
    pages with zeros first: on tables of 256 MiB that took as long as adding two of them up. Smaller ones may meet the
    same at the heap's end: LightGCN's epoch on tiktok took 0.70 s in place of 0.40. Does nothing where the C library is
    not glibc, or where `CHOSEN` is in the environment, as it is in a trial on a copy of the data.
    """
    if CHOSEN in os.environ:
        yield
        return
    try:
        library = ctypes.CDLL(None)
        change, trim = library.mallopt, library.malloc_trim
    except (OSError, AttributeError, TypeError):
        yield
        return
    change(MMAP_THRESHOLD[0], min(max(largest, MMAP_THRESHOLD[1]) + 2**23, 2**31 - 1))
    change(TRIM_THRESHOLD[0], 2**31 - 1)
    try:
        yield
    finally:
        change(*MMAP_THRESHOLD)
        change(*TRIM_THRESHOLD)
        trim(0)


def check_fits(needed: int, what: str, remedy: str) -> None:
    """UserError where `needed` bytes are more than there are.

    Args:
        what: that needs them, such as "EASE on 20,000 items".
        remedy: what to do instead.
    """
    free = available()
    if free is not None and needed > free:
        raise UserError(f"{what} needs {gib(needed)} of memory, and {gib(free)} are left; {remedy}")


def gib(size: int) -> str:
    """A number of bytes for people.

    Example:
        >>> gib(3 * 2**29)
        '1.5 GiB'
    """
    return f"{size / 2**30:,.1f} GiB"
