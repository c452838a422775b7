"""The encoder of the interaction graph, by name: our own, or any convolution of torch-geometric."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Generator, Tensor, nn

from recsys.encoders.lightgcn import Readout, lightgcn
from recsys.encoders.ngcf import NGCF
from recsys.encoders.pyg import PYG, PygConvolutions
from recsys.errors import UserError, nearest
from recsys.graphs.operator import SparseOperator
from recsys.settings import setting

OWN = ("lightgcn", "ngcf", "ngcf-apart", "mf")
DROP = 0.1
"""Share of NGCF's messages that are dropped, as in its paper."""


def backbone_setting() -> Any:
    """The field `backbone` of a graph model's settings."""
    return setting(
        "lightgcn",
        "encoder of the interactions: lightgcn; ngcf, or ngcf-apart, as MMHCL's code has it; mf (none); or pyg:NAME, a "
        "convolution of torch-geometric such as pyg:GATv2Conv",
    )


def backbone_options_setting() -> Any:
    """The field `backbone_options` of a graph model's settings."""
    return setting({}, "arguments of a pyg backbone's convolution, such as {heads: 2, concat: false}")


class Backbone(nn.Module):
    """(users, items) of layer 0 -> the same propagated over the interactions.

    LightGCN and MF have no weights; NGCF and torch-geometric's convolutions do, drawn from `generator`. The layers,
    the tables themselves included, are read out by their mean or sum, as in LightGCN.

    Args:
        name: lightgcn, ngcf, ngcf-apart, mf or pyg:NAME.
        options: arguments of the convolution of a pyg backbone.
        width: d.
        layers: propagations L.

    Raises:
        UserError: an unknown name, an option that the convolution does not have, or one that changes the width.

    Example:
        >>> import torch, scipy.sparse as sp
        >>> graph = SparseOperator(sp.csr_array([[1.0, 0.0], [0.0, 1.0]]))
        >>> none = Backbone("mf", {}, 2, 3, torch.Generator())
        >>> [rows.tolist() for rows in none(graph, torch.eye(2), torch.eye(2))]
        [[[1.0, 0.0], [0.0, 1.0]], [[1.0, 0.0], [0.0, 1.0]]]
    """

    def __init__(
        self,
        name: str,
        options: Mapping[str, Any],
        width: int,
        layers: int,
        generator: Generator,
        readout: Readout = "mean",
    ):
        super().__init__()
        self.name, self.layers, self.readout = name, layers, readout
        self.module: nn.Module | None = None
        if name.startswith(PYG):
            self.module = PygConvolutions(name, options, width, layers, generator)
        elif name not in OWN:
            raise UserError(f"there is no backbone '{name}'{nearest(name, [*OWN, PYG + 'GATv2Conv'])}")
        elif options:
            raise UserError(f"backbone_options are for pyg backbones, and this is '{name}'; leave them out")
        elif name.startswith("ngcf"):
            self.module = NGCF(width, layers, generator, readout, drop=DROP, apart=name == "ngcf-apart")

    @property
    def by_column(self) -> bool:
        """Whether each column of what it gives depends on the same column of the tables alone."""
        return self.module is None

    def forward(self, graph: SparseOperator, users: Tensor, items: Tensor) -> tuple[Tensor, Tensor]:
        """(n_users, d) and (n_items, d).

        Args:
            graph: (n_users, n_items) normalised interactions D_u^-1/2 R D_i^-1/2; torch-geometric's convolutions take
                its edges, and weigh them themselves.
        """
        if self.name == "lightgcn":
            return lightgcn(graph, users, items, self.layers, self.readout)
        if self.module is None:
            return users, items
        if isinstance(self.module, PygConvolutions):
            return self.module.over_interactions(graph, users, items, self.readout)
        return self.module(graph, users, items)
