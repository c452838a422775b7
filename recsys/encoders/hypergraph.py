"""Propagation over the nodes of a hypergraph."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor


class Multiplies(Protocol):
    """Anything that multiplies dense rows (n, d) from the left."""

    def __matmul__(self, x: Tensor, /) -> Tensor: ...


def hypergraph(operator: Multiplies, nodes: Tensor, layers: int) -> Tensor:
    """E^(l+1) = A E^(l), the last layer kept.

    The second-order embeddings of MMHCL, "Multi-Modal Hypergraph Contrastive Learning", arXiv 2504.16576.

    Args:
        operator: (n, n) propagation matrix, or anything that multiplies like it, such as H (H^T x).
        nodes: (n, d) embeddings of layer 0.
        layers: number of propagations.
    """
    for _ in range(layers):
        nodes = operator @ nodes
    return nodes
