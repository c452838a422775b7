"""How several views of an item or user become one vector: an exchangeable part of the multimodal graph models."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Generator, Tensor, nn

from recsys.encoders.bezier import bezier
from recsys.encoders.linear import linear
from recsys.encoders.modality_graphs import ViewAttention
from recsys.settings import setting

Fusion = Literal["attention", "sum", "concatenation", "gates", "bezier"]
"""attention: `ViewAttention`; sum: sum_m E_m; concatenation: W [E_1 .. E_M] + b; gates: sum_m
sigmoid(W_m E_m + b_m) * E_m; bezier: the spherical Bezier curve through the directions, as long as the views are on
average."""


def fusion_setting(default: Fusion) -> Any:
    """The field `fusion` of a model's settings."""
    return setting(default, "how the modalities' views become one vector")


def make_fusion(name: Fusion, views: int, width: int, generator: Generator) -> nn.Module:
    """A module that maps views (n, d) each, and `absent` (n, M) bool or None, to (n, d); a view that is absent is zero
    and counts for nothing.

    Args:
        views: their number M.
        width: d.
        generator: source of the first weights.

    Example:
        >>> fuse = make_fusion("sum", 2, 3, Generator())
        >>> fuse([torch.ones(1, 3), torch.ones(1, 3)]).tolist()
        [[2.0, 2.0, 2.0]]
    """
    if name == "attention":
        return ViewAttention(width, generator)
    return {"sum": Sum, "concatenation": Concatenation, "gates": Gates, "bezier": Bezier}[name](
        views, width, generator
    )


def _present(views: Sequence[Tensor], absent: Tensor | None) -> list[Tensor]:
    """The views, zero where they are absent."""
    if absent is None:
        return list(views)
    return [rows.masked_fill(absent[:, number : number + 1], 0) for number, rows in enumerate(views)]


class Sum(nn.Module):
    """sum_m E_m."""

    def __init__(self, views: int, width: int, generator: Generator):
        super().__init__()

    def forward(self, views: Sequence[Tensor], absent: Tensor | None = None) -> Tensor:
        """(n, d)."""
        return torch.stack(_present(views, absent)).sum(0)


class Concatenation(nn.Module):
    """W [E_1 .. E_M] + b."""

    def __init__(self, views: int, width: int, generator: Generator):
        super().__init__()
        self.mix = linear(views * width, width, generator)

    def forward(self, views: Sequence[Tensor], absent: Tensor | None = None) -> Tensor:
        """(n, d)."""
        return self.mix(torch.cat(_present(views, absent), 1))


class Gates(nn.Module):
    """sum_m sigmoid(W_m E_m + b_m) * E_m: each view opens its own gate, coordinate by coordinate."""

    def __init__(self, views: int, width: int, generator: Generator):
        super().__init__()
        self.gates = nn.ModuleList(linear(width, width, generator) for _ in range(views))

    def forward(self, views: Sequence[Tensor], absent: Tensor | None = None) -> Tensor:
        """(n, d)."""
        pairs = zip(_present(views, absent), self.gates, strict=True)
        return torch.stack([rows * torch.sigmoid(gate(rows)) for rows, gate in pairs]).sum(0)


class Bezier(nn.Module):
    """The middle of the spherical Bezier curve (`recsys.encoders.bezier`) through the views' directions, times the mean
    length of the views present."""

    def __init__(self, views: int, width: int, generator: Generator):
        super().__init__()

    def forward(self, views: Sequence[Tensor], absent: Tensor | None = None) -> Tensor:
        """(n, d)."""
        rows = torch.stack(_present(views, absent))
        # A root has no gradient at zero, where a view is absent.
        squares = rows.square().sum(2)
        lengths = torch.where(squares > 0, squares, torch.ones_like(squares)).sqrt() * (squares > 0)
        mean = lengths.sum(0) / (squares > 0).sum(0).clamp_min(1)
        return bezier(rows) * mean.unsqueeze(1)
