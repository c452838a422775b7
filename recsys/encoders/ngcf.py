"""NGCF: graph convolution with weights, and the product of neighbours as a second message."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import dropout, leaky_relu, normalize

from recsys.encoders.lightgcn import Operator
from recsys.encoders.linear import linear
from recsys.errors import UserError

Readout = Literal["concat", "mean", "sum"]


class NGCF(nn.Module):
    """E^(l+1) = leaky_relu((L + I) E^(l) W1 + (L E^(l) * E^(l)) W2), layers normalised, then read out.

    "Neural Graph Collaborative Filtering", Wang et al., SIGIR 2019, arXiv 1905.08108, equations 7 and 8,
    L = D^-1/2 A D^-1/2. The paper concatenates the layers; MMHCL (arXiv 2504.16576) takes their mean, which
    keeps the width. W1 and W2 have biases, as in both authors' code.

    With `apart` each message has an activation of its own, and a vector itself is no message, as in MMHCL's code:
    E^(l+1) = leaky_relu(L E^(l) W1) + leaky_relu((L E^(l) * E^(l)) W2), with a slope of 0.01 in place of 0.2.

    Args:
        width: d of every layer.
        layers: number of propagations.
        generator: source of the initial weights.
        readout: "concat" (width (layers + 1) d), "mean" or "sum".
        drop: probability of dropping a message's element in training.
        apart: see above.

    Raises:
        UserError: an unknown read-out.
    """

    def __init__(
        self,
        width: int,
        layers: int,
        generator: torch.Generator,
        readout: Readout = "concat",
        drop: float = 0.0,
        apart: bool = False,
    ):
        super().__init__()
        if readout not in ("concat", "mean", "sum"):
            raise UserError(f"read-out '{readout}' is unknown; use 'concat', 'mean' or 'sum'")
        self.readout = readout
        self.drop, self.apart = drop, apart
        self.neighbours = nn.ModuleList(linear(width, width, generator) for _ in range(layers))
        self.products = nn.ModuleList(linear(width, width, generator) for _ in range(layers))

    def forward(self, operator: Operator, users: Tensor, items: Tensor) -> tuple[Tensor, Tensor]:
        """Embeddings of users (n_users, d) and items (n_items, d), propagated.

        Args:
            operator: (n_users, n_items) normalised interactions D_u^-1/2 R D_i^-1/2.
        """
        transposed = operator.T
        outputs = [(users, items)]
        for neighbours, products in zip(self.neighbours, self.products, strict=True):
            messages = operator @ items, transposed @ users
            users, items = (
                dropout(self._combined(neighbours, products, m, e), self.drop, self.training)
                for m, e in zip(messages, (users, items), strict=True)
            )
            outputs.append((normalize(users, dim=1), normalize(items, dim=1)))
        users, items = (self._read(list(side)) for side in zip(*outputs, strict=True))
        return users, items

    def _combined(self, neighbours: nn.Module, products: nn.Module, message: Tensor, own: Tensor) -> Tensor:
        if self.apart:
            return leaky_relu(neighbours(message)) + leaky_relu(products(message * own))
        return leaky_relu(neighbours(message + own) + products(message * own), 0.2)

    def _read(self, layers: list[Tensor]) -> Tensor:
        if self.readout == "concat":
            return torch.cat(layers, dim=1)
        total = sum(layers[1:], start=layers[0])
        return total / len(layers) if self.readout == "mean" else total
