"""Calibrated uniformity: items are pushed apart down to their own multimodal similarity, not below."""

from __future__ import annotations

import math

from torch import Tensor

from recsys.encoders.sphere import unit
from recsys.errors import UserError
from recsys.objectives.fused import fused, log_pair_sum, safe_dtype


def calibrated_uniformity(
    x: Tensor,
    features: Tensor,
    *,
    t: float = 2.0,
    s_min: float = 0.0,
    s_max: float = 1.0,
    counts: Tensor | None = None,
    block: int | None = None,
) -> Tensor:
    """log mean_{i<j} exp(-t (||x_i - x_j||^2 - 2 + 2 s_ij)), s_ij = clamp(cos(f_i, f_j), s_min, s_max).

    "Calibrating Multimodal Recommendation" (CM3), arXiv 2508.01226. On the sphere the exponent is
    2t (cos(x_i, x_j) - s_ij): with s = 1 everywhere this is `uniformity`, with s = 0 it is that plus 2t.
    0 where there is no pair.

    Args:
        x: (n, d) rows, normalised here.
        features: (n, k) fused features f of the same rows, normalised here. Gradients flow to them where s
            is not clamped; pass `features.detach()` to stop them.
        t: width of the Gaussian potential.
        s_min, s_max: limits of the similarity.
        counts: (n,) how often each row stands among the rows, as if it were repeated; once where None.
        block: rows at a time; the value does not depend on it.

    Raises:
        UserError: x and features differ in rows, or the limits are not in order.
    """
    if len(x) != len(features):
        raise UserError(
            f"calibrated_uniformity got {len(x)} rows and features of {len(features)}; give one each"
        )
    if s_min > s_max:
        raise UserError(f"s_min {s_min} lies above s_max {s_max}; exchange them")
    rows = len(x) if counts is None else int(counts.sum())
    if rows < 2:
        return (x.sum() + features.sum()) * 0
    dtype = safe_dtype(x.dtype, 2 * t)
    units = [unit(v.to(dtype)) for v in (x, features)]

    def run(x: Tensor, features: Tensor, wanted: tuple[bool, bool]):
        limits = (s_min, s_max)
        return log_pair_sum(x, 2 * t, block, wanted, features=features, limits=limits, counts=counts)

    return (fused(run, *units) - math.log(math.comb(rows, 2))).to(x.dtype)
