"""How much each modality counts for each user."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def weigh_channels(vectors: Tensor, logits: Tensor) -> Tensor:
    """Each of a row's C blocks times its softmax weight.

    CM3, "Calibrating Multimodal Recommendation", arXiv 2508.01226: per-user weights of the M + 1 channels.

    Args:
        vectors: (n, C d) concatenated channels.
        logits: (n, C).
    """
    blocks = vectors.view(len(vectors), logits.shape[1], -1)
    return (blocks * logits.softmax(1)[:, :, None]).flatten(1)


class ChannelWeights(nn.Module):
    """A table of channel logits, one row per user; equal weights at the start."""

    def __init__(self, users: int, channels: int):
        super().__init__()
        self.logits = nn.Parameter(torch.zeros(users, channels))

    def forward(self, vectors: Tensor) -> Tensor:
        """(users, C d) -> (users, C d)."""
        return weigh_channels(vectors, self.logits)
