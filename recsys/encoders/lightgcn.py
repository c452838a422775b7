"""LightGCN: neighbourhood averaging without weights or nonlinearity."""

from __future__ import annotations

from typing import Literal, Protocol

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from recsys.errors import UserError

Readout = Literal["mean", "sum"]


class Operator(Protocol):
    """A sparse matrix that multiplies dense ones; `recsys.graphs.operator.SparseOperator` is one."""

    def __matmul__(self, x: Tensor, /) -> Tensor: ...

    @property
    def T(self) -> Operator: ...


def lightgcn(
    operator: Operator, users: Tensor, items: Tensor, layers: int, readout: Readout = "mean"
) -> tuple[Tensor, Tensor]:
    """E^(l+1) = D^-1/2 A D^-1/2 E^(l) on the bipartite graph; the mean or sum of layers 0..L is read out.

    "LightGCN: Simplifying and Powering Graph Convolution Network for Recommendation", He et al., SIGIR 2020,
    arXiv 2002.02126, equations 3 and 4. CM3 (arXiv 2508.01226) reads out the sum.
    The two blocks of A are one rectangular matrix and its transpose, so A itself is never formed.

    Args:
        operator: (n_users, n_items) normalised interactions D_u^-1/2 R D_i^-1/2.
        users, items: (n_users, d) and (n_items, d) embeddings of layer 0.
        layers: number of propagations L; 0 returns the tables themselves.

    Returns:
        (n_users, d) and (n_items, d) embeddings.

    Raises:
        UserError: an unknown read-out.
    """
    if readout not in ("mean", "sum"):
        raise UserError(f"read-out '{readout}' is unknown; use 'mean' or 'sum'")
    return _LayerSum.apply(operator, layers, 1 if readout == "sum" else layers + 1, users, items)


class _LayerSum(torch.autograd.Function):
    """(I + A + ... + A^L) [users; items] / n by Horner's rule, added up and divided in place. A is symmetric, hence the
    gradient is the same sum of the gradients over n, and no layer is kept for it. The operator itself is a constant."""

    @staticmethod
    def forward(
        ctx, operator: Operator, layers: int, n: int, users: Tensor, items: Tensor
    ) -> tuple[Tensor, Tensor]:
        ctx.operator, ctx.layers, ctx.n = operator, layers, n
        users, items = _layer_sum(operator, layers, users, items)
        return (users, items) if n == 1 else (users.div_(n), items.div_(n))

    @staticmethod
    @once_differentiable
    def backward(ctx, users: Tensor, items: Tensor):
        if ctx.n > 1:
            users, items = users / ctx.n, items / ctx.n
        return None, None, None, *_layer_sum(ctx.operator, ctx.layers, users, items)


def _layer_sum(operator: Operator, layers: int, users: Tensor, items: Tensor) -> tuple[Tensor, Tensor]:
    transposed = operator.T
    user_sum, item_sum = users, items
    for _ in range(layers):
        user_sum, item_sum = operator @ item_sum, transposed @ user_sum
        user_sum += users
        item_sum += items
    return (user_sum, item_sum) if layers else (users.clone(), items.clone())
