"""MLPs of content, and self-attention that mixes vectors without changing what their coordinates mean."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize, relu

from recsys.encoders.content import ContentRows
from recsys.encoders.linear import linear


class ContentMLP(nn.Module):
    """One modality's rows: hidden layers of `hidden` and 256 units with ReLU, then `width` columns."""

    def __init__(self, features: int, hidden: int, width: int, generator: torch.Generator):
        super().__init__()
        self.first = linear(features, hidden, generator)
        self.second = linear(hidden, 256, generator)
        self.third = linear(256, width, generator)

    def forward(self, content: ContentRows, rows: Tensor | None) -> Tensor:
        """(n, width) unit rows; zero where the modality is missing."""
        hidden = relu(self.second(relu(content(self.first, rows))))
        present = content.present if rows is None else content.present[rows]
        return normalize(self.third(hidden), dim=1) * present.unsqueeze(1)


class AttentionMean(nn.Module):
    """mean_i sum_j softmax_j(W_q x_i . W_k x_j / sqrt d) x_j: one-head self-attention, and the mean of its output.

    There is no value and no output matrix, residual or feed-forward layer, as in the code published with CLHE
    (WSDM 2024, arXiv 2310.18770), which joins the slots of an item and the items of a bundle like this. What comes out
    is a weighted mean of what goes in: a matrix in between would destroy what a content vector says of an item never
    trained on.

    Args:
        width: d.
        gain: W_q and W_k start uniform within gain sqrt(3 / d).

    Example:
        >>> import torch
        >>> attention = AttentionMean(2, torch.Generator().manual_seed(0))
        >>> attention(torch.tensor([[[1.0, 0.0], [9.0, 9.0]]]), torch.tensor([[True, False]]))[0].tolist()
        [1.0, 0.0]
    """

    def __init__(self, width: int, generator: torch.Generator, gain: float = 1.0):
        super().__init__()
        self.query = linear(width, width, generator, bias=False)
        self.key = linear(width, width, generator, bias=False)
        with torch.no_grad():
            self.query.weight.mul_(gain)
            self.key.weight.mul_(gain)

    def forward(self, rows: Tensor, present: Tensor) -> Tensor:
        """Rows (n, length, d), present (n, length) bool -> (n, d), over those present; zero where none is."""
        scores = self.query(rows) @ self.key(rows).mT / rows.shape[2] ** 0.5
        missing = ~present & present.any(1, keepdim=True)
        weights = scores.masked_fill(missing.unsqueeze(1), -torch.inf).softmax(2)
        share = present / present.sum(1, keepdim=True).clamp(min=1)
        return ((share.to(rows.dtype).unsqueeze(1) @ weights) @ rows).squeeze(1)
