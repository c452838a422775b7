"""Several feature slots of an item, joined by self-attention over the slots."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize, relu

from recsys.encoders.content import ContentRows
from recsys.encoders.linear import linear


class ContentMLP(nn.Module):
    """One modality's rows: hidden layers of `hidden` and 256 units with ReLU, then `width` columns."""

    def __init__(self, features: int, width: int, generator: torch.Generator):
        super().__init__()
        hidden = min(features, 256)
        self.first = linear(features, hidden, generator)
        self.second = linear(hidden, 256, generator)
        self.third = linear(256, width, generator)

    def forward(self, content: ContentRows, rows: Tensor | None) -> Tensor:
        """(n, width) unit rows; zero where the modality is missing."""
        hidden = relu(self.second(relu(content(self.first, rows))))
        present = content.present if rows is None else content.present[rows]
        return normalize(self.third(hidden), dim=1) * present.unsqueeze(1)


class SlotAttention(nn.Module):
    """Unit slots -> one-head self-attention over those present -> their mean, as in CLHE (WSDM 2024)."""

    def __init__(self, width: int, generator: torch.Generator):
        super().__init__()
        self.attention = nn.MultiheadAttention(width, 1, bias=False, batch_first=True)
        for parameter in self.attention.parameters():
            nn.init.xavier_normal_(parameter, generator=generator)

    def forward(self, slots: Sequence[Tensor], present: Sequence[Tensor]) -> Tensor:
        """Slots (n, d) and their masks (n,) bool -> (n, d); zero where an item has no slot at all."""
        rows, held = normalize(torch.stack(list(slots), 1), dim=2), torch.stack(list(present), 1)
        missing = ~held & held.any(1, keepdim=True)
        mixed, _ = self.attention(rows, rows, rows, key_padding_mask=missing, need_weights=False)
        weight = held.unsqueeze(2).to(mixed.dtype)
        return (mixed * weight).sum(1) / weight.sum(1).clamp(min=1)
