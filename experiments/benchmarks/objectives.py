"""What each objective that compares views costs, beside the matrix products that it cannot do without.

`python -m recsys.experiments.benchmarks.objectives [NAME ...]` computes each objective over 4,096 items x 4 views x 64,
value and gradient, called as a term of a loss calls it, and the same products bare: of each Gram matrix that the
objective sums over one product for the value, and for the gradient one for each side; of a symmetric one half of each.
It prints CPU time on one thread, which other work on the machine lengthens least, the ratio (the bar is 3), and the
peak memory that the objective adds, each measured in a process of its own. Exit status 1 where one is above the bar. An
objective without a Gram matrix has no ratio.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch

from recsys.objectives.calling import ViewObjective

BAR = 3.0
GRAMS: dict[str, tuple[int, int]] = {
    "alignment": (0, 0),
    "anchored_infonce": (3, 0),
    "calibrated_uniformity": (0, 6),
    "gram": (3, 0),
    "hard_negative": (3, 0),
    "infonce": (3, 0),
    "mixup": (8, 0),
    "mv_dhel": (0, 4),
    "mv_infonce": (0, 16),
    "negative_free": (0, 0),
    "uniformity": (0, 4),
}
"""Gram matrices of 4,096 x 4,096 over 4 views, those between two views and those of a view with itself: an anchor with
each other view; both directions of the cycle of four; (view, feature) pairs; all 4 x 4 blocks of one symmetric one."""


def seconds(call: Callable[[], object], repeats: int) -> float:
    """The fastest of `repeats` calls, after one that warms up."""
    call()
    times = []
    for _ in range(repeats):
        start = time.process_time()
        call()
        times.append(time.process_time() - start)
    return min(times)


def memory(kind: str, reset: bool = False) -> int:
    """Bytes that this process holds (VmRSS), or has held at most (VmHWM) since the last reset; Linux tells."""
    if reset:
        Path("/proc/self/clear_refs").write_text("5")
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(kind))


def products(x: torch.Tensor, y: torch.Tensor, symmetric: bool, block: int = 512) -> None:
    """The products of one Gram matrix, block by block: for the value, and for the gradient of both sides."""
    to_x, to_y = torch.zeros_like(x), torch.zeros_like(y)
    for start in range(0, len(x), block):
        first = start if symmetric else 0
        rows = x[start : start + block]
        tile = rows @ y[first:].t()
        to_x[start : start + block].addmm_(tile, y[first:])
        to_y[first:].addmm_(tile.t(), rows)


def measure(name: str, items: int, views: int, width: int, repeats: int) -> None:
    """Print one objective's line."""
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(0)
    rows = [torch.randn(items, width, generator=generator).requires_grad_() for _ in range(views)]
    objective = ViewObjective(name, {})

    def step() -> None:
        value = objective(rows, generator=generator, predict=torch.nn.Identity())
        torch.autograd.grad(value, rows, allow_unused=True)

    plain = [torch.nn.functional.normalize(row.detach(), dim=1) for row in rows]
    between, within = GRAMS[name]

    def bare() -> None:
        for _ in range(between):
            products(plain[0], plain[1], symmetric=False)
        for _ in range(within):
            products(plain[0], plain[0], symmetric=True)

    step()
    before = memory("VmRSS", reset=True)
    took = seconds(step, repeats)
    added = (memory("VmHWM") - before) / 2**20
    line = f"{name:22s} {took * 1e3:8.0f} ms, peak memory +{added:5.0f} MiB"
    if not between + within:
        print(f"{line}, no Gram matrix")
        return
    bound = seconds(bare, repeats)
    ratio = took / bound
    print(
        f"{line}, {ratio:4.2f} times its products ({bound * 1e3:.0f} ms)"
        + (" ABOVE 3" if ratio > BAR else "")
    )
    sys.exit(int(ratio > BAR))


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help="objectives; all where none is given")
    parser.add_argument("--items", type=int, default=4096)
    parser.add_argument("--views", type=int, default=4)
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--here", action="store_true", help="measure one name in this process")
    options = parser.parse_args(arguments)
    sizes = (options.items, options.views, options.width, options.repeats)
    if options.here:
        measure(options.names[0], *sizes)
        return 0
    flags = [
        f"--{key}={value}" for key, value in zip(("items", "views", "width", "repeats"), sizes, strict=True)
    ]
    module = [sys.executable, "-m", "recsys.experiments.benchmarks.objectives", "--here", *flags]
    return max(subprocess.run([*module, name]).returncode for name in options.names or GRAMS)


if __name__ == "__main__":
    sys.exit(main())
