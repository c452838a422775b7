"""Adaptive feature fusion: gates that weigh each field for each instance, and attention over the fields."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu

from recsys.encoders.content import ContentRows
from recsys.encoders.linear import linear


class FieldEncoder(nn.Module):
    """One field's rows to width d: W2 gelu(W1 x + b1) + b2; zero where the field is missing."""

    def __init__(self, features: int, width: int, generator: torch.Generator):
        super().__init__()
        self.first = linear(features, width, generator)
        self.second = linear(width, width, generator)

    def forward(self, content: ContentRows, rows: Tensor | None = None) -> Tensor:
        present = content.present if rows is None else content.present[rows]
        return self.second(gelu(content(self.first, rows))) * present.unsqueeze(1)


class FieldGates(nn.Module):
    """A weight in (0, 1) for each field of each instance, from all its fields.

    sigmoid(W2 relu(W1 z + b1) + b2), z the fields side by side with zeros for those missing: the excitation of
    "Squeeze-and-Excitation Networks", Hu et al., CVPR 2018, arXiv 1709.01507, on fields in place of channels and
    without the squeeze to a mean, which says little of an embedding.
    """

    def __init__(self, fields: int, width: int, generator: torch.Generator):
        super().__init__()
        self.first = linear(fields * width, max(fields, width // 2), generator)
        self.second = linear(max(fields, width // 2), fields, generator)

    def forward(self, fields: Tensor) -> Tensor:
        """(n, F, d) -> (n, F)."""
        return torch.sigmoid(self.second(torch.relu(self.first(fields.flatten(1)))))


class FieldFusion(nn.Module):
    """Gated fields -> self-attention over those present and a learned default -> their sum -> `outputs` columns.

    The default stands for what is true of everybody: it is all that an instance without any field has.

    Args:
        fields: number of fields F.
        width: d.
        outputs: width of the result.
        gates, attention: False leaves the part out: all gates 1, the fields summed as they are.
        dropout: share of the sum's entries dropped in training.
    """

    def __init__(
        self,
        fields: int,
        width: int,
        outputs: int,
        generator: torch.Generator,
        *,
        gates: bool = True,
        attention: bool = True,
        dropout: float = 0.0,
    ):
        super().__init__()
        self.default = nn.Parameter(torch.zeros(width))
        self.gates = FieldGates(fields, width, generator) if gates else None
        self.attention = nn.MultiheadAttention(width, 1, batch_first=True) if attention else None
        if attention:
            for parameter in self.attention.parameters():
                if parameter.dim() > 1:
                    nn.init.xavier_uniform_(parameter, generator=generator)
        self.norm = nn.LayerNorm(width)
        self.dropout = nn.Dropout(dropout)
        self.out = linear(width, outputs, generator)

    def forward(self, fields: Sequence[Tensor], present: Tensor) -> tuple[Tensor, Tensor]:
        """F fields (n, d) and their mask (n, F) bool -> (n, outputs), and the gates (n, F), zero where a field is
        missing."""
        held = present.unsqueeze(2)
        rows = torch.stack(list(fields), 1) * held
        gates = present.to(rows.dtype) if self.gates is None else self.gates(rows) * present
        rows = torch.cat([rows * gates.unsqueeze(2), self.default.expand(len(rows), 1, -1)], 1)
        if self.attention is not None:
            absent = torch.cat([~present, present.new_zeros(len(rows), 1)], 1)
            mixed, _ = self.attention(rows, rows, rows, key_padding_mask=absent, need_weights=False)
            rows = rows + mixed * ~absent.unsqueeze(2)
        return self.out(self.dropout(self.norm(rows.sum(1)))), gates
