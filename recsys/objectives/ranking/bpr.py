"""BPR: Bayesian personalised ranking from implicit feedback."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import softplus

from recsys.objectives.reduction import Reduction, reduce


def bpr(positive_scores: Tensor, negative_scores: Tensor, *, reduction: Reduction = "mean") -> Tensor:
    """-log sigmoid(s+ - s-), written softplus(s- - s+), which neither overflows nor loses small values.

    "BPR: Bayesian Personalized Ranking from Implicit Feedback", Rendle et al., UAI 2009, arXiv 1205.2618,
    criterion BPR-Opt; the parameters' penalty is `l2`.

    Args:
        positive_scores: (n,) scores of observed pairs.
        negative_scores: (n,) scores of unobserved pairs of the same users. With k negatives each, give
            (n, 1) and (n, k).
        reduction: "mean", "sum" or "none" (one value per pair).
    """
    return reduce(softplus(negative_scores - positive_scores), reduction)
