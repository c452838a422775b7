"""Rows on the unit sphere."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


def unit(x: Tensor, eps: float = 1e-12) -> Tensor:
    """x / max(|x|, eps) along the last axis: torch's `normalize` with a third of its passes over memory.

    Its gradient (g - y (y . g)) / max(|x|, eps), y the result, is not differentiable again. A zero row stays zero.
    """
    return _Unit.apply(x, eps)


class _Unit(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, eps: float) -> Tensor:
        norms = torch.linalg.vector_norm(x, dim=-1, keepdim=True).clamp_min_(eps)
        y = x / norms
        ctx.save_for_backward(y, norms)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx, g: Tensor):
        y, norms = ctx.saved_tensors
        return torch.addcmul(g, y, (g * y).sum(-1, keepdim=True), value=-1).div_(norms), None
