"""Adaptive feature fusion: gates that weigh each field for each instance, and attention over the fields."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import embedding, embedding_bag, gelu

from recsys.datasets.dataset import Modality
from recsys.encoders.content import ContentRows
from recsys.encoders.linear import linear


class FieldRows(NamedTuple):
    """The fields of n users, items or moments.

    Attributes:
        vectors: of each of F fields (n, d); what a row holds that lacks the field does not matter.
        present: (n, F) bool, True where a row has the field.
    """

    vectors: list[Tensor]
    present: Tensor

    def plus(self, vectors: Tensor, present: Tensor) -> FieldRows:
        """With one more field: (n, d) and (n,) bool."""
        return FieldRows([*self.vectors, vectors], torch.cat([self.present, present.unsqueeze(1)], 1))

    def gated_sum(self, gates: Tensor, fields: int, width: int) -> Tensor:
        """(n, width) sum_f g_f e_f over the first `fields` of them, those present; zero columns where width is 0."""
        total = gates.new_zeros(len(gates), width)
        for number in range(fields if width else 0):
            total = total + gates[:, [number]] * self.vectors[number]
        return total

    def take(self, rows: Tensor) -> FieldRows:
        """The rows numbered `rows`."""
        return FieldRows([embedding(rows, v) for v in self.vectors], self.present[rows])


class Gates(NamedTuple):
    """The gates of n users, items or moments: (n, F) each, and the names of the F fields.

    Attributes:
        values: float32, in (0, 1), zero where a field is missing.
        present: bool, True where a row has the field.
        warm: (n,) bool; None where nobody is cold.
    """

    fields: list[str]
    values: np.ndarray
    present: np.ndarray
    warm: np.ndarray | None


class ContentFields(nn.Module):
    """Fields that are content: W2 gelu(W1 x + b1) + b2 of the unit row x of each.

    Args:
        contents: field -> content of the n users or items that the module is made for.
        width: d.
        generator: source of the initial weights.
        dropout: share of the hidden entries dropped in training.
    """

    def __init__(
        self, contents: Mapping[str, Modality], width: int, generator: torch.Generator, dropout: float = 0.0
    ):
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.contents = nn.ModuleList(ContentRows(m) for m in contents.values())
        self.first = nn.ModuleList(linear(m.width, width, generator) for m in contents.values())
        self.second = nn.ModuleList(linear(width, width, generator) for _ in contents)

    def forward(self, n: int, rows: Tensor | None = None) -> FieldRows:
        """The n rows that the module was made for, or those numbered `rows` (n,) among them."""
        return self._encode([*self.contents], n, rows)

    def encode(self, contents: Mapping[str, Modality], n: int, device: torch.device) -> FieldRows:
        """Other n rows' fields, of the same names in the same order."""
        return self._encode([ContentRows(m).to(device) for m in contents.values()], n)

    def _encode(self, contents: Sequence[nn.Module], n: int, rows: Tensor | None = None) -> FieldRows:
        layers = zip(contents, self.first, self.second, strict=True)
        vectors = [second(self.dropout(gelu(content(first, rows)))) for content, first, second in layers]
        masks = [c.get_buffer("present") for c in contents]
        present = [mask if rows is None else mask[rows] for mask in masks]
        return FieldRows(vectors, torch.stack(present, 1) if present else torch.zeros(n, 0, dtype=torch.bool))


class FieldGates(nn.Module):
    """A weight in (0, 1) for each field of each instance, from all its fields.

    sigmoid(W2 relu(W1 z + b1) + b2), z the fields side by side with zeros for those missing: the excitation of
    "Squeeze-and-Excitation Networks", Hu et al., CVPR 2018, arXiv 1709.01507, on fields in place of channels and
    without the squeeze to a mean, which says little of an embedding.
    """

    def __init__(self, fields: int, width: int, generator: torch.Generator):
        super().__init__()
        hidden = max(fields, width // 2)
        self.first = linear(fields * width, hidden, generator)
        self.second = linear(hidden, fields, generator)

    def forward(self, fields: Tensor) -> Tensor:
        """(n, F, d) -> (n, F)."""
        return torch.sigmoid(self.second(torch.relu(self.first(fields.flatten(1)))))


class FieldFusion(nn.Module):
    """Gated fields -> self-attention over those present and a learned default -> their sum -> `outputs` columns.

    With g the gates, x_0 the default and x_f = g_f e_f: W layernorm(sum_f (x_f + attention(x)_f)) + b. The default
    stands for what is true of everybody: it is all that an instance without any field has.

    Args:
        fields: number of fields F.
        width: d.
        outputs: width of the result.
        generator: source of the initial weights.
        gates, attention: False leaves the part out: all gates 1, the fields summed as they are.
        dropout: share of the normalised sum's entries dropped in training.
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
        if self.attention is not None:
            for parameter in self.attention.parameters():
                if parameter.dim() > 1:
                    nn.init.xavier_uniform_(parameter, generator=generator)
        self.norm = nn.LayerNorm(width)
        self.dropout = nn.Dropout(dropout)
        self.out = linear(width, outputs, generator)

    def forward(self, fields: FieldRows) -> tuple[Tensor, Tensor]:
        """(n, outputs), and the gates (n, F), zero where a field is missing."""
        present = fields.present
        rows = torch.stack(fields.vectors, 1) * present.unsqueeze(2)
        gates = present.to(rows.dtype) if self.gates is None else self.gates(rows) * present
        rows = torch.cat([rows * gates.unsqueeze(2), self.default.expand(len(rows), 1, -1)], 1)
        if self.attention is not None:
            absent = torch.cat([~present, present.new_zeros(len(rows), 1)], 1)
            mixed, _ = self.attention(rows, rows, rows, key_padding_mask=absent, need_weights=False)
            rows = rows + mixed * ~absent.unsqueeze(2)
        return self.out(self.dropout(self.norm(rows.sum(1)))), gates


def root_mean(rows: Tensor, taken: Tensor, counts: Tensor) -> Tensor:
    """(n, d) sums of the rows taken, divided by the root of their number; zero where nothing was.

    Args:
        rows: (m, d) of items.
        taken: (p,) int64, rows of `rows`, one user's after another's.
        counts: (n,) int64, how many of them are each user's.
    """
    sums = rows.new_zeros(len(counts), rows.shape[1])
    if len(taken) and rows.shape[1]:
        sums = embedding_bag(taken, rows, counts.cumsum(0) - counts, mode="sum")
    return sums / counts.clamp_min(1).sqrt().unsqueeze(1)


class HistoryField(nn.Module):
    """What users took as a field: W (sum of the items' keys / sqrt(their number)) + b.

    Linear: with a nonlinearity users with few items were placed worse.
    """

    def __init__(self, width: int, generator: torch.Generator):
        super().__init__()
        self.read = linear(width, width, generator)

    def forward(self, keys: Tensor, taken: Tensor, counts: Tensor) -> tuple[Tensor, Tensor]:
        """(n, d), and (n,) bool: who took anything. The arguments are `root_mean`'s."""
        return self.read(root_mean(keys, taken, counts)), counts > 0
