"""Two objectives: tensors in, a scalar out."""

from torch import Tensor
from torch.nn.functional import cosine_similarity

from recsys.objectives.reduction import Reduction, reduce


def hinge(positive_scores: Tensor, negative_scores: Tensor, *, reduction: Reduction = "mean") -> Tensor:
    """max(0, 1 - (s+ - s-)): nothing is lost where the observed item leads by one.

    Args:
        positive_scores, negative_scores: (n,) scores of observed and unobserved pairs of the same users.
    """
    return reduce((1 - positive_scores + negative_scores).clamp(min=0), reduction)


def cosine(x: Tensor, y: Tensor, *, reduction: Reduction = "mean") -> Tensor:
    """1 - cos(x_i, y_i): two views of the same item or user point in one direction.

    Args:
        x, y: (n, d), the views.
    """
    return reduce(1 - cosine_similarity(x, y, dim=1), reduction)
