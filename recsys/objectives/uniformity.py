"""Uniformity: how evenly vectors cover the unit sphere."""

from __future__ import annotations

import math

from torch import Tensor
from torch.nn.functional import normalize

from recsys.objectives.fused import fused, log_pair_sum, safe_dtype


def uniformity(x: Tensor, *, t: float = 2.0, block: int | None = None) -> Tensor:
    """log mean_{i<j} exp(-t ||x_i - x_j||^2), rows normalised first; 0 where there is no pair.

    "Understanding Contrastive Representation Learning through Alignment and Uniformity on the Hypersphere",
    Wang and Isola, ICML 2020, arXiv 2005.10242. On the sphere ||x - y||^2 = 2 - 2 x.y, so one Gram product
    in blocks takes the place of pairwise distances.

    Args:
        x: (n, d) rows.
        t: width of the Gaussian potential.
        block: rows at a time; the value does not depend on it.
    """
    if len(x) < 2:
        return x.sum() * 0
    unit = normalize(x.to(safe_dtype(x.dtype, 2 * t)), dim=1)
    value = fused(lambda x, wanted: log_pair_sum(x, 2 * t, block, wanted), unit)
    return (value - 2 * t - math.log(math.comb(len(x), 2))).to(x.dtype)
