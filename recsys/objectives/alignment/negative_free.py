"""Negative-free alignment: predict a slowly moving target, with no negatives."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity

from recsys.errors import UserError


def negative_free(predictions: Sequence[Tensor], targets: Sequence[Tensor]) -> Tensor:
    """Mean over all pairs of modalities (a, b) of 2 - 2 cos(q(x_a), stop(x'_b)): across and within modalities.

    "SLAP: Siamese Language-Audio Pretraining Without Negative Samples for Music Understanding", 2025, after
    BYOL, arXiv 2006.07733. Only the abstract was at hand: the equation is our reading.

    Args:
        predictions: each modality's (n, d) output of the online encoder and predictor q.
        targets: each modality's (n, d) output of the target encoder (see `move_average`); no gradient flows.

    Raises:
        UserError: there is no prediction or no target.
    """
    if not predictions or not targets:
        raise UserError("negative_free needs at least one prediction and one target")
    terms = [2 - 2 * cosine_similarity(q, x.detach(), dim=1).mean() for q in predictions for x in targets]
    return torch.stack(terms).mean()


@torch.no_grad()
def move_average(target: nn.Module, online: nn.Module, decay: float = 0.99) -> None:
    """target <- decay target + (1 - decay) online, parameter by parameter; buffers are copied."""
    for slow, fast in zip(target.parameters(), online.parameters(), strict=True):
        slow.lerp_(fast, 1 - decay)
    for kept, current in zip(target.buffers(), online.buffers(), strict=True):
        kept.copy_(current)
