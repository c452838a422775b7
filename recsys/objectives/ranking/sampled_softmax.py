"""Sampled softmax: the observed item against a sample of the catalogue."""

from __future__ import annotations

import torch
from torch import Tensor

from recsys.objectives.reduction import Reduction, reduce


def sampled_softmax(
    positive_scores: Tensor,
    negative_scores: Tensor,
    *,
    temperature: float = 1.0,
    log_q: tuple[Tensor, Tensor] | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """-log( e^(s+/tau - log q+) / (e^(s+/tau - log q+) + sum_k e^(s-_k/tau - log q-_k)) ).

    "Adaptive Importance Sampling to Accelerate Training of a Neural Probabilistic Language Model", Bengio and
    Senecal, 2008; with in-batch negatives "Sampling-Bias-Corrected Neural Modeling for Large Corpus Item
    Recommendations", Yi et al., RecSys 2019.

    Args:
        positive_scores: (n,) scores of the observed items.
        negative_scores: (n, k) scores of k sampled items each; -inf leaves one out.
        temperature: tau.
        log_q: log-probabilities with which positives (n,) and negatives (n, k) are sampled; None for uniform
            sampling, where the correction cancels.
        reduction: "mean", "sum" or "none" (one value per row).
    """
    positive, negative = positive_scores / temperature, negative_scores / temperature
    if log_q is not None:
        positive, negative = positive - log_q[0], negative - log_q[1]
    logits = torch.cat([positive[:, None], negative], dim=1)
    return reduce(logits.logsumexp(1) - positive, reduction)
