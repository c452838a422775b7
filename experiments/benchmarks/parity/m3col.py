"""M3CoL's mixup contrast."""

from __future__ import annotations

import importlib
from pathlib import Path

import torch

from recsys.experiments.benchmarks.parity.compare import Comparison, Source, difference
from recsys.experiments.benchmarks.parity.foreign import foreign
from recsys.experiments.benchmarks.parity.material import Material
from recsys.experiments.benchmarks.parity.multiview import views
from recsys.objectives.contrastive.mixup import mixed_contrast

SOURCE = Source("RaghavSinghal10/M3CoL", ("M3CoL",))
STUBS = ("torchvision", "PIL")


def compare(folder: Path, given: Material) -> Comparison:
    found = Comparison()
    x, y = views(2)
    rows = len(x)
    generator = torch.Generator().manual_seed(0)
    ratio = torch.rand(rows, generator=generator, dtype=torch.float64)
    # Half of the rows are not mixed, and no row is its own partner.
    ratio[torch.rand(rows, generator=generator) < 0.5] = 1
    partner = torch.arange(rows).roll(7)
    with foreign(folder, stubs=STUBS):
        module = importlib.import_module("model.utils")
        for temperature in (0.1, 1.0):
            mixture = ratio[:, None] * x + (1 - ratio[:, None]) * x[partner]
            theirs = module.mixco_nce(mixture, y, temp=temperature, perm=partner, betas=ratio)
            own = mixed_contrast(x, y, ratio, partner, temperature)
            found.loss(f"temperature {temperature}", own, theirs)
            sides = (torch.autograd.grad(loss, (x, y)) for loss in (own, theirs))
            for name, got, expected in zip("xy", *sides, strict=True):
                found.gradients(f"{name}, temperature {temperature}", got, expected)
        fixed = partner.clone()
        fixed[0] = 0
        ratio[0] = 0.7
        mixture = ratio[:, None] * x + (1 - ratio[:, None]) * x[fixed]
        theirs = module.mixco_nce(mixture, y, temp=0.1, perm=fixed, betas=ratio)
        apart = difference(mixed_contrast(x, y, ratio, fixed, 0.1), theirs)
    found.depart(
        "a row that is drawn as its own partner keeps its whole weight",
        "the code writes 1 - b over b there",
        "none: one row in n is drawn so",
        apart,
    )
    return found
