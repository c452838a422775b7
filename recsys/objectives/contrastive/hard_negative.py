"""Hard-negative InfoNCE: negatives that resemble the anchor weigh more."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import normalize

from recsys.errors import UserError


def hard_negative(
    z: Tensor, other: Tensor, temperature: float = 0.2, *, concentration: float = 1.0
) -> Tensor:
    """mean_i -log( e^(s_ii/tau) / (e^(s_ii/tau) + sum_{j != i} w_ij e^(s_ij/tau)) ), s_ij = cos(z_i, z'_j).

    w_ij is proportional to exp(c s_ij) over j != i with mean 1; c = 0 is `infonce`. "Multimodal Contrastive
    Learning with Hard Negative Sampling for Human Activity Recognition", 2023, after "Contrastive Learning
    with Hard Negative Samples", Robinson et al., ICLR 2021, arXiv 2010.04592. Only the abstract of the first
    was at hand: the equation is our reading. Gradients flow through the weights.

    Args:
        z, other: (n, d) two views of the same n nodes, normalised here. Memory is O(n^2): meant for batches.
        temperature: tau.
        concentration: c.

    Raises:
        UserError: shapes differ, or there are fewer than two nodes.
    """
    if z.shape != other.shape or len(z) < 2:
        raise UserError(
            f"hard_negative got views of shapes {tuple(z.shape)} and {tuple(other.shape)}; "
            "both must be (n, d) with n at least 2"
        )
    similarity = normalize(z, dim=1) @ normalize(other, dim=1).t()
    own = torch.eye(len(z), dtype=torch.bool, device=z.device)
    log_weight = (concentration * similarity).masked_fill(own, -torch.inf)
    log_weight = log_weight - log_weight.logsumexp(1, keepdim=True) + math.log(len(z) - 1)
    logits = similarity / temperature
    positive = logits.diagonal()
    return (torch.where(own, logits, logits + log_weight).logsumexp(1) - positive).mean()
