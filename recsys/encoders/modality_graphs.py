"""Views of items and users, one for each modality, by propagation over item graphs of content."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor, nn

from recsys.encoders.lightgcn import Operator
from recsys.encoders.linear import linear
from recsys.graphs.operator import SparseOperator


class ModalityGraphs(nn.Module):
    """E_m = S_m^L z_m: an item graph for each modality, over which the warm items' rows are propagated.

    Args:
        graphs: S_m, (n_items, n_items) each, with edges among warm items alone.
        warm: (w,) numbers of the warm items.
    """

    warm: Tensor

    def __init__(self, graphs: Sequence[sp.csr_array], warm: np.ndarray):
        super().__init__()
        self.register_buffer("warm", torch.from_numpy(warm), persistent=False)
        self.graphs = nn.ModuleList(SparseOperator(graph[:, warm]) for graph in graphs)

    def forward(self, rows: Sequence[Tensor], layers: int) -> list[Tensor]:
        """Of each modality (n_items, d), from the warm items' rows (w, d); zero for cold items."""
        views = [graph(own) for graph, own in zip(self.graphs, rows, strict=True)]
        for _ in range(layers - 1):
            views = [graph(view[self.warm]) for graph, view in zip(self.graphs, views, strict=True)]
        return views


def read_by_users(interactions: Operator, views: Sequence[Tensor]) -> list[Tensor]:
    """Of each modality the users' views: D_u^-1/2 R D_i^-1/2 of the items' (n_items, d)."""
    return list((interactions @ torch.cat(list(views), 1)).split(views[0].shape[1], 1))


def join_views(
    own: Sequence[Tensor],
    views: Sequence[Tensor],
    average: Callable[[Tensor], Tensor],
    k: int,
    absent: Tensor,
) -> list[Tensor]:
    """The views of items that are not in the graphs: the mean of their own rows and of k - 1 neighbours' views.

    Args:
        own: of each modality (n, d), the items' own rows.
        views: of each modality (n_items, d), the catalogue's views.
        average: gives the neighbours' mean (n, d) of a view.
        k: neighbours in a graph, the item included.
        absent: (n, M) bool, True where an item lacks the modality: its view is zero.
    """
    return [
        ((rows + (k - 1) * average(view)) / k).masked_fill(absent[:, number : number + 1], 0)
        for number, (rows, view) in enumerate(zip(own, views, strict=True))
    ]


class ViewAttention(nn.Module):
    """sum_m a_m E_m, a = softmax_m(q . tanh(W E_m + b)): MGCN's fusion of views (arXiv 2308.03588)."""

    def __init__(self, width: int, generator: torch.Generator):
        super().__init__()
        self.query = nn.Sequential(
            linear(width, width, generator), nn.Tanh(), linear(width, 1, generator, bias=False)
        )

    def forward(self, views: Sequence[Tensor], absent: Tensor | None = None) -> Tensor:
        """(n, d) from views (n, d); absent (n, M) bool is True where a row lacks the modality."""
        logits = torch.cat([self.query(rows) for rows in views], 1)
        if absent is not None:
            logits = logits.masked_fill(absent, torch.finfo(logits.dtype).min)
        weights = logits.softmax(1)
        parts = [rows * weights[:, number : number + 1] for number, rows in enumerate(views)]
        return sum(parts, start=weights.new_zeros(()))
