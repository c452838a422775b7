"""Gradients of each term of a loss: their shares, their conflicts, and what harmonisation makes of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations

import torch
from torch import Tensor

from recsys.errors import UserError, nearest
from recsys.objectives.gradient_harmonisation import harmonise

Gradients = dict[str, list[Tensor]]
"""Term -> its gradient on each parameter, zeros where it does not depend on it."""


def term_gradients(terms: Mapping[str, Tensor], parameters: Sequence[Tensor]) -> Gradients:
    """The gradient of each term on each parameter; the graph is kept, and the parameters' own gradients untouched.

    A step takes as many backward passes as there are terms.
    """
    gradients = {}
    for name, value in terms.items():
        if not value.requires_grad:
            gradients[name] = [torch.zeros_like(p) for p in parameters]
            continue
        parts = torch.autograd.grad(value, parameters, retain_graph=True, allow_unused=True)
        pairs = zip(parameters, parts, strict=True)
        gradients[name] = [torch.zeros_like(p) if part is None else part for p, part in pairs]
    return gradients


def gradient_figures(gradients: Gradients) -> dict[str, float]:
    """Of each term the share of its gradient's norm in the sum of all terms' norms, and of each two terms the share
    of the rows on which they pull in opposite directions, among those that both pull on.

    Returns:
        gradient_share_TERM and gradient_conflict_TERM_TERM, each between 0 and 1.

    Example:
        >>> import torch
        >>> table = {"a": [torch.tensor([[3.0, 0.0], [1.0, 0.0]])], "b": [torch.tensor([[-1.0, 0.0], [0.0, 0.0]])]}
        >>> {name: round(value, 2) for name, value in gradient_figures(table).items()}
        {'gradient_share_a': 0.76, 'gradient_share_b': 0.24, 'gradient_conflict_a_b': 1.0}
    """
    norms = {
        name: float(torch.stack([part.square().sum() for part in parts]).sum().sqrt())
        for name, parts in gradients.items()
    }
    total = sum(norms.values()) or 1.0
    figures = {f"gradient_share_{name}": norm / total for name, norm in norms.items()}
    for (first, a), (second, b) in combinations(gradients.items(), 2):
        inner = torch.cat([(_rows(x) * _rows(y)).sum(1) for x, y in zip(a, b, strict=True)])
        touched = (inner != 0).sum().clamp_min(1)
        figures[f"gradient_conflict_{first}_{second}"] = float((inner < 0).sum() / touched)
    return figures


def harmonised_loss(
    terms: Mapping[str, Tensor], gradients: Gradients, parameters: Sequence[Tensor], chosen: Sequence[str]
) -> Tensor:
    """The sum of the terms, with gradients in which the chosen terms no longer work against each other.

    Row by row of each parameter: an ID's vector, a layer's output unit, or a vector parameter as a whole.

    Args:
        chosen: the terms that are reconciled; the others' gradients stay.

    Raises:
        UserError: a name of no term.
    """
    for name in chosen:
        if name not in terms:
            raise UserError(f"objectives.harmonise: the loss has no term '{name}'{nearest(name, terms)}")
    pulls = []
    for place, parameter in enumerate(parameters):
        stacked = torch.stack([_rows(gradients[name][place]) for name in chosen])
        total = harmonise(stacked)[0].sum(0).view_as(parameter)
        total = sum((parts[place] for name, parts in gradients.items() if name not in chosen), start=total)
        pulls.append((parameter * total).sum())
    pull = torch.stack(pulls).sum()
    return torch.stack([value.detach() for value in terms.values()]).sum() + pull - pull.detach()


def _rows(tensor: Tensor) -> Tensor:
    return tensor.flatten(1) if tensor.dim() > 1 else tensor.view(1, -1)
