"""What a comparison measures: relative differences of graphs, vectors, losses and gradients, and named departures."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import scipy.sparse as sp
import torch
from torch import Tensor, nn

UNTRAINED_FEATURES = (
    "raw features are unit rows and are not trained",
    "an item that arrives later has no trained features",
    "`features: trained` (compared above)",
)
"""A departure of several models, as `Comparison.depart` takes it."""
KINDS = ("graphs", "vectors", "loss", "gradients")
BOUND = 1e-6
"""A model agrees where no difference that is not a named departure is larger."""


@dataclass(frozen=True)
class Source:
    """Published code.

    Attributes:
        repository: on GitHub, "owner/name".
        folders: names that its folder may have below the one that the user names; the first that is there is read.
        note: whose code it is, where it is not the authors' own.
    """

    repository: str
    folders: tuple[str, ...]
    note: str = ""


@dataclass(frozen=True)
class Departure:
    """Where we differ on purpose.

    Attributes:
        what: is different.
        reason: for it.
        option: that removes it, or why there is none.
        difference: as measured, relative; None where it is none of graphs, vectors, loss and gradients.
    """

    what: str
    reason: str
    option: str
    difference: float | None = None


@dataclass
class Comparison:
    """The measurements of one model."""

    rows: list[tuple[str, str, float]] = field(default_factory=list)
    departures: list[Departure] = field(default_factory=list)

    def graphs(self, what: str, ours: Any, theirs: Any) -> None:
        """Compare two matrices, of any kind."""
        self.rows.append(("graphs", what, difference(ours, theirs)))

    def vectors(self, what: str, ours: Any, theirs: Any) -> None:
        """Compare two (n, d) tensors."""
        self.rows.append(("vectors", what, difference(ours, theirs)))

    def loss(self, what: str, ours: Any, theirs: Any) -> None:
        """Compare two scalars."""
        self.rows.append(("loss", what, difference(ours, theirs)))

    def gradients(self, what: str, ours: Any, theirs: Any) -> None:
        """Compare two gradients of one shape."""
        self.rows.append(("gradients", what, difference(ours, theirs)))

    def parameters(
        self,
        same: Mapping[str, str],
        ours: Mapping[str, Tensor],
        theirs: Mapping[str, Tensor],
        when: str = "",
    ) -> None:
        """Compare the gradients of parameters: our name -> theirs; `when` stands behind the name."""
        for name, other in same.items():
            self.gradients(name + when, ours[name], theirs[other])

    def depart(self, what: str, reason: str, option: str, measured: float | None = None) -> None:
        """Note a departure."""
        self.departures.append(Departure(what, reason, option, measured))

    def largest(self) -> dict[str, float | None]:
        """The largest difference of each kind; None where nothing of the kind was compared."""
        return {kind: max((d for k, _, d in self.rows if k == kind), default=None) for kind in KINDS}


def difference(ours: Any, theirs: Any) -> float:
    """max |ours - theirs| / max |theirs|, in float64; infinite where either is not finite."""
    a, b = (_dense(x).detach().double() for x in (ours, theirs))
    if a.shape != b.shape:
        raise ValueError(f"shapes {tuple(a.shape)} and {tuple(b.shape)} cannot be compared")
    if not (a.isfinite().all() and b.isfinite().all()):
        return math.inf
    return float((a - b).abs().max() / b.abs().max().clamp_min(1e-300))


def _dense(x: Any) -> Tensor:
    if sp.issparse(x):
        return torch.from_numpy(x.toarray())
    if isinstance(x, Tensor):
        return x.to_dense() if x.is_sparse else x
    return torch.as_tensor(x)


def matrix(operator: Any) -> Tensor:
    """A sparse operator as a dense float64 matrix."""
    return operator @ torch.eye(operator.shape[1], dtype=torch.float64)


@torch.no_grad()
def put(parameter: Tensor, values: Any) -> None:
    """Overwrite a parameter with values of as many numbers."""
    parameter.copy_(torch.as_tensor(values).detach().to(parameter).view(parameter.shape))


def put_linear(ours: nn.Linear, theirs: nn.Linear) -> None:
    """Overwrite the weights of a linear layer with another's."""
    put(ours.weight, theirs.weight)
    if ours.bias is not None:
        put(ours.bias, theirs.bias)


def put_id_tables(ours: Any, theirs: nn.Module) -> None:
    """Overwrite a model's ID tables with those of a model of MMRec's form."""
    put(ours.user_table, theirs.user_embedding.weight)
    put(ours.item_table, theirs.item_id_embedding.weight)


@torch.no_grad()
def shaken(model: nn.Module) -> nn.Module:
    """The model with noise on all its weights, so that no bias is zero and no weight can hide behind another."""
    generator = torch.Generator().manual_seed(0)
    for parameter in model.parameters():
        parameter += 0.3 * torch.randn(parameter.shape, generator=generator)
    return model


def gradients(model: nn.Module, loss: Tensor) -> dict[str, Tensor]:
    """Parameter -> gradient of `loss`; the graph is kept for a second call."""
    model.zero_grad(set_to_none=True)
    loss.backward(retain_graph=True)
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
