"""BCE: observed pairs are ones, sampled pairs are zeros."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import softplus

from recsys.objectives.reduction import Reduction, reduce


def bce(positive_scores: Tensor, negative_scores: Tensor, *, reduction: Reduction = "mean") -> Tensor:
    """-log sigmoid(s) of observed pairs and -log(1 - sigmoid(s)) of the others, over all pairs.

    "Neural Collaborative Filtering", He et al., WWW 2017, arXiv 1708.05031, equation 7.

    Args:
        positive_scores, negative_scores: logits of any shapes; all are flattened, positives first.
        reduction: "mean", "sum" or "none" (one value per pair).
    """
    values = torch.cat([softplus(-positive_scores).flatten(), softplus(negative_scores).flatten()])
    return reduce(values, reduction)
