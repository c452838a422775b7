"""How per-element losses become one number."""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from recsys.errors import UserError

Reduction = Literal["mean", "sum", "none"]


def reduce(values: Tensor, reduction: Reduction = "mean") -> Tensor:
    """Mean, sum or the values themselves ("none"). Raises UserError for any other name."""
    if reduction == "mean":
        return values.mean()
    if reduction == "sum":
        return values.sum()
    if reduction == "none":
        return values
    raise UserError(f"reduction '{reduction}' is unknown; use 'mean', 'sum' or 'none'")
