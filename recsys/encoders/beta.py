"""Symmetric Beta variates from a generator that is passed in."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from recsys.errors import UserError


def symmetric_beta(n: int, alpha: float, generator: torch.Generator) -> Tensor:
    """(n,) float64 draws of Beta(alpha, alpha), exact for every alpha > 0, on the generator's device.

    "Random Variate Generation in One Line of Code", Devroye, WSC 1996: Bailey's polar method gives a Student t
    with 2 alpha degrees of freedom, T = sqrt(2 alpha (U^(-1/alpha) - 1)) cos(2 pi V), and
    1/2 + T / (2 sqrt(2 alpha + T^2)) is the Beta. Gamma variates, whose ratio is the usual way, underflow
    together where alpha is small.

    Raises:
        UserError: alpha is not positive.
    """
    if alpha <= 0:
        raise UserError(f"alpha of a Beta distribution is {alpha}; it must be positive")
    u, v = torch.rand(2, n, generator=generator, device=generator.device, dtype=torch.float64)
    power = u.pow(1 / alpha)
    cosine = torch.cos(2 * math.pi * v)
    # T / sqrt(2 alpha + T^2) with 1/(U^(-1/alpha) - 1) written so that it cannot overflow.
    return (1 + cosine / torch.sqrt(power / (1 - power) + cosine.square())) / 2
