"""Formulas written out so that each can be read beside its paper: dense, row by row, float64, differentiable."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def unit(rows: np.ndarray) -> Tensor:
    """Each row over its length."""
    return torch.stack([row / row.norm() for row in torch.from_numpy(rows).double()])


def nearest(rows: Tensor, k: int, *, itself: bool) -> Tensor:
    """(n, n): cosines of each row's k nearest others, or of itself and k - 1 others, above 0; zero elsewhere."""
    scaled = rows / rows.norm(dim=1, keepdim=True).clamp_min(1e-300)
    similar = scaled @ scaled.T
    graph = torch.zeros_like(similar)
    for i, row in enumerate(similar.tolist()):
        # Equal to 2^-24 is equal, and the lower number comes first.
        others = sorted((-round(value * 2**24), j) for j, value in enumerate(row) if j != i and value > 0)
        for minus, j in others[: k - itself]:
            graph[i, j] = -minus / 2**24
        if itself:
            graph[i, i] = 1
    return graph


def normalised(graph: Tensor) -> Tensor:
    """D^-1/2 A D^-1/2 with the row sums on both sides; a row without edges stays zero."""
    degree = graph.sum(1)
    half = torch.where(degree > 0, degree.clamp_min(1e-300).rsqrt(), 0)
    return half[:, None] * graph * half


def lightgcn(adjacency: Tensor, users: Tensor, items: Tensor, layers: int) -> tuple[Tensor, Tensor]:
    """The mean of layers 0..L, users and items."""
    all_layers = [torch.cat([users, items])]
    for _ in range(layers):
        all_layers.append(adjacency @ all_layers[-1])
    mean = torch.stack(all_layers).mean(0)
    return mean[: len(users)], mean[len(users) :]


def infonce(x: Tensor, y: Tensor, temperature: float) -> Tensor:
    """mean_i -log( exp(cos(x_i, y_i)/tau) / sum_j exp(cos(x_i, y_j)/tau) )."""
    x, y = (rows / rows.norm(dim=1, keepdim=True) for rows in (x, y))
    weights = (x @ y.T / temperature).exp()
    return -torch.stack([(row[i] / row.sum()).log() for i, row in enumerate(weights)]).mean()


def log_sigmoid(x: Tensor) -> Tensor:
    return -(1 + (-x).exp()).log()


def squares(*rows: Tensor) -> Tensor:
    return torch.stack([row @ row for row in rows]).sum()
