"""Convolutions of torch-geometric in place of our own propagation. Imported when they are asked for: an extra."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import scipy.sparse as sp
import torch
from torch import Tensor, nn

from recsys.errors import UserError, nearest
from recsys.graphs.operator import SparseOperator, edge_index
from recsys.optional_imports import require

PYG = "pyg:"
OF_HYPERGRAPHS = ("pyg:HypergraphConv",)


class PygConvolutions(nn.Module):
    """L convolutions of one kind: x^(l+1) = conv(x^(l)), without a nonlinearity in between.

    Args:
        name: pyg:NAME, a class of `torch_geometric.nn` such as GATv2Conv, SAGEConv, GraphConv, GCNConv, LGConv or, of
            a hypergraph, HypergraphConv.
        options: its arguments, but for the numbers of channels.
        width: d of every layer.
        layers: L.
        generator: what the first weights follow from; they are torch-geometric's own.
        hypergraph: whether it is a hypergraph that is convolved.

    Raises:
        UserError: torch-geometric is not installed, has no such convolution or argument, or the convolution does not
            keep the width or needs more than nodes and edges.
    """

    def __init__(
        self,
        name: str,
        options: Mapping[str, Any],
        width: int,
        layers: int,
        generator: torch.Generator,
        *,
        hypergraph: bool = False,
    ):
        super().__init__()
        self.name = name
        if (name in OF_HYPERGRAPHS) != hypergraph:
            of = f"a hypergraph; known: {', '.join(OF_HYPERGRAPHS)}" if hypergraph else "a graph's edges"
            raise UserError(f"'{name}' does not convolve {of}")
        make = _maker(name, options, width)
        seed = int(torch.randint(2**31, (), generator=generator))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            try:
                self.layers = nn.ModuleList(make() for _ in range(layers))
                tried = make().eval()(torch.zeros(3, width), torch.tensor([[0, 1, 2], [1, 2, 0]]))
            except Exception as error:  # any of dozens of classes, with any arguments
                reason = " ".join(f"{type(error).__name__}: {error}".split())[:160]
                given = f"{name} cannot be a backbone with the options {dict(options)}"
                raise UserError(f"{given} ({reason})") from None
        if not isinstance(tried, Tensor) or tried.shape != (3, width):
            got = tuple(tried.shape[1:]) if isinstance(tried, Tensor) else type(tried).__name__
            raise UserError(
                f"{name} makes {got} of vectors {width} wide; a backbone keeps the width (heads: concat=false)"
            )
        self._edges: tuple[SparseOperator | None, Tensor] = (None, torch.empty(2, 0, dtype=torch.int64))

    def forward(self, nodes: Tensor, edges: Tensor) -> list[Tensor]:
        """Layers 0..L, each (n, d), from layer 0 and edges (2, m) int64; of a hypergraph, from (node, hyperedge)."""
        layers = [nodes]
        for layer in self.layers:
            layers.append(layer(layers[-1], edges))
        return layers

    def over_interactions(
        self, graph: SparseOperator, users: Tensor, items: Tensor, readout: str
    ) -> tuple[Tensor, Tensor]:
        """Users and items as the nodes of one graph, with an edge each way for an interaction; layers read out."""
        if self._edges[0] is not graph or self._edges[1].device != users.device:
            self._edges = graph, both_ways(graph)
        layers = torch.stack(self(torch.cat([users, items]), self._edges[1]))
        nodes = layers.mean(0) if readout == "mean" else layers.sum(0)
        return nodes[: len(users)], nodes[len(users) :]


class PygHypergraph(nn.Module):
    """A hypergraph whose nodes are propagated by convolutions of torch-geometric, the last layer kept.

    Args:
        incidence: H, (n, n_hyperedges).
        others: as for `PygConvolutions`.
    """

    edges: Tensor

    def __init__(self, incidence: sp.csr_matrix, convolutions: PygConvolutions):
        super().__init__()
        self.convolutions = convolutions
        self.register_buffer("edges", torch.from_numpy(edge_index(incidence)), persistent=False)

    def forward(self, nodes: Tensor) -> Tensor:
        """(n, d)."""
        return self.convolutions(nodes, self.edges)[-1]


def _maker(name: str, options: Mapping[str, Any], width: int) -> Callable[[], nn.Module]:
    """What makes one convolution."""
    known = require("torch_geometric.nn", "pyg")
    convolutions = [each for each in known.conv.__all__ if isinstance(getattr(known, each), type)]
    wanted = name.removeprefix(PYG)
    if wanted not in convolutions:
        raise UserError(f"torch-geometric has no convolution '{wanted}'{nearest(wanted, convolutions)}")
    kind = getattr(known, wanted)
    arguments = inspect.signature(kind).parameters
    channels = {each: width for each in ("in_channels", "out_channels", "channels") if each in arguments}
    taken = [
        each
        for each, p in arguments.items()
        if each not in channels and p.kind is not p.VAR_KEYWORD and each != "self"
    ]
    for option in options:
        if option not in taken:
            raise UserError(f"backbone_options: {wanted} has no argument '{option}'{nearest(option, taken)}")
    return lambda: kind(**channels, **options)


def both_ways(graph: SparseOperator) -> Tensor:
    """(2, 2m) int64: for each entry (u, i) of the operator an edge u -> n_users + i, then all of them back."""
    counts = (graph.crow[1:] - graph.crow[:-1]).long()
    users = torch.arange(graph.shape[0], device=graph.col.device).repeat_interleave(counts)
    items = graph.col.long() + graph.shape[0]
    return torch.stack([torch.cat([users, items]), torch.cat([items, users])])
