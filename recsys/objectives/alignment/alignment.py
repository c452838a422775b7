"""Alignment: how close matched vectors lie on the unit sphere."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import normalize

from recsys.objectives.reduction import Reduction, reduce


def alignment(x: Tensor, y: Tensor, *, alpha: float = 2.0, reduction: Reduction = "mean") -> Tensor:
    """mean_i ||x_i - y_i||^alpha, rows normalised first.

    "Understanding Contrastive Representation Learning through Alignment and Uniformity on the Hypersphere",
    Wang and Isola, ICML 2020, arXiv 2005.10242.

    Args:
        x, y: (n, d) matched rows.
        alpha: exponent; below 2 the gradient is undefined where a pair coincides.
        reduction: "mean", "sum" or "none".
    """
    squared = (normalize(x, dim=-1) - normalize(y, dim=-1)).square().sum(-1)
    return reduce(squared if alpha == 2 else squared.pow(alpha / 2), reduction)
