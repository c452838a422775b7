"""From a modality's raw features to the embedding space."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import leaky_relu

from recsys.encoders.linear import linear


class Projection(nn.Module):
    """h = W2 leaky_relu(W1 x); rows of items without the modality are zero.

    CM3, "Calibrating Multimodal Recommendation", arXiv 2508.01226, which takes a hidden width of 4d.

    Args:
        features: raw width.
        width: d.
        generator: source of the initial weights.
        hidden: hidden width; None for 4d, 0 for a single linear layer.
    """

    def __init__(self, features: int, width: int, generator: torch.Generator, hidden: int | None = None):
        super().__init__()
        hidden = 4 * width if hidden is None else hidden
        self.first = linear(features, hidden or width, generator)
        self.second = linear(hidden, width, generator) if hidden else None

    def forward(self, features: Tensor, mask: Tensor | None = None) -> Tensor:
        """(n, features) raw rows and (n,) bool mask, True where present -> (n, width).

        What a missing row holds, NaN included, reaches neither the result nor a gradient.
        """
        if mask is not None:
            features = features.masked_fill(~mask[:, None], 0)
        result = self.first(features)
        if self.second is not None:
            result = self.second(leaky_relu(result))
        return result if mask is None else result * mask[:, None]
