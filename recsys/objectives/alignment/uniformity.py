"""Uniformity: how evenly vectors cover the unit sphere."""

from __future__ import annotations

import math

from torch import Tensor

from recsys.encoders.sphere import unit
from recsys.objectives.fused import fused, log_pair_sum, safe_dtype


def uniformity(
    x: Tensor, *, t: float = 2.0, counts: Tensor | None = None, block: int | None = None
) -> Tensor:
    """log mean_{i<j} exp(-t ||x_i - x_j||^2), rows normalised first; 0 where there is no pair.

    "Understanding Contrastive Representation Learning through Alignment and Uniformity on the Hypersphere",
    Wang and Isola, ICML 2020, arXiv 2005.10242. On the sphere ||x - y||^2 = 2 - 2 x.y, so one Gram product
    in blocks takes the place of pairwise distances.

    Args:
        x: (n, d) rows.
        t: width of the Gaussian potential.
        counts: (n,) how often each row stands among the rows, as if it were repeated; once where None.
        block: rows at a time; the value does not depend on it.
    """
    rows = len(x) if counts is None else int(counts.sum())
    if rows < 2:
        return x.sum() * 0
    rows_on_sphere = unit(x.to(safe_dtype(x.dtype, 2 * t)))
    value = fused(lambda x, wanted: log_pair_sum(x, 2 * t, block, wanted, counts=counts), rows_on_sphere)
    return (value - 2 * t - math.log(math.comb(rows, 2))).to(x.dtype)
