"""An objective: tensors in, a scalar out."""

from torch import Tensor

from recsys.objectives.reduction import Reduction, reduce


def hinge(positive_scores: Tensor, negative_scores: Tensor, *, reduction: Reduction = "mean") -> Tensor:
    """max(0, 1 - (s+ - s-)): nothing is lost where the observed item leads by one.

    Args:
        positive_scores, negative_scores: (n,) scores of observed and unobserved pairs of the same users.
    """
    return reduce((1 - positive_scores + negative_scores).clamp(min=0), reduction)
