"""MV-InfoNCE and MV-DHEL, which one paper and one file of code give."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from recsys.experiments.benchmarks.parity.compare import Comparison, Source, difference
from recsys.experiments.benchmarks.parity.foreign import foreign, load
from recsys.experiments.benchmarks.parity.material import Material
from recsys.objectives.contrastive.mv_dhel import mv_dhel
from recsys.objectives.contrastive.mv_infonce import mv_infonce

SOURCE = Source("pakoromilas/Multi-View-CL", ("Multi-View-CL",))
STUBS = ("diffdist", "diffdist.functional", "einops", "utils.utils")
TEMPERATURES = (0.1, 0.2, 1.0)


def views(count: int) -> list[Tensor]:
    """`count` views (40, 8) of the same nodes, float64, drawn from one seed."""
    generator = torch.Generator().manual_seed(count)
    shape, how = (40, 8), {"generator": generator, "dtype": torch.float64, "requires_grad": True}
    return [torch.randn(shape, **how) for _ in range(count)]


def compare_mv_infonce(folder: Path, given: Material) -> Comparison:
    return _compare(folder, "MVINFONCE", mv_infonce, 0.0)


def compare_mv_dhel(folder: Path, given: Material) -> Comparison:
    found = _compare(folder, "MVDHEL", mv_dhel, math.log(2))
    found.depart(
        "A_i sums each pair of views twice, once for each order, as the paper's formula does",
        "the code sums each pair once: its loss is log 2 larger, with the same gradient",
        "none needed: log 2 was added to ours here",
        _apart(folder),
    )
    return found


def _compare(folder: Path, name: str, ours: Callable[..., Tensor], constant: float) -> Comparison:
    found = Comparison()
    with foreign(folder, stubs=STUBS):
        published = getattr(load(folder / "models/losses.py"), name)
        for count in (2, 3, 4):
            for tau in TEMPERATURES:
                given, about = views(count), f"{count} views, temperature {tau}"
                theirs = _loss(published, given, tau)
                own = ours(given, tau) + constant
                found.loss(about, own, theirs)
                pairs = zip(torch.autograd.grad(own, given), torch.autograd.grad(theirs, given), strict=True)
                for place, (got, expected) in enumerate(pairs):
                    found.gradients(f"{about}, view {place}", got, expected)
    return found


def _loss(published: Any, given: list[Tensor], tau: float) -> Tensor:
    return published(tau=tau, multiplier=len(given))(torch.cat(given))[0]


def _apart(folder: Path) -> float:
    with foreign(folder, stubs=STUBS):
        published = load(folder / "models/losses.py").MVDHEL
        return difference(mv_dhel(views(2), 0.2), _loss(published, views(2), 0.2))
