"""Hard-negative InfoNCE: negatives that resemble the anchor weigh more."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor
from torch.nn.functional import normalize

from recsys.errors import UserError
from recsys.objectives.fused import LOG2E, block_rows, fused, safe_dtype


def hard_negative(
    z: Tensor,
    other: Tensor,
    temperature: float = 0.2,
    *,
    concentration: float = 1.0,
    block: int | None = None,
) -> Tensor:
    """mean_i -log( e^(s_ii/tau) / (e^(s_ii/tau) + sum_{j != i} w_ij e^(s_ij/tau)) ), s_ij = cos(z_i, z'_j).

    w_ij is proportional to exp(c s_ij) over j != i with mean 1; c = 0 is `infonce`. "Multimodal Contrastive
    Learning with Hard Negative Sampling for Human Activity Recognition", 2023, after "Contrastive Learning
    with Hard Negative Samples", Robinson et al., ICLR 2021, arXiv 2010.04592. Only the abstract of the first
    was at hand: the equation is our reading. Gradients flow through the weights.

    Args:
        z, other: (n, d) two views of the same n nodes, normalised here.
        temperature: tau; |c| + 1/tau is at most 600.
        concentration: c.
        block: rows at a time; the value does not depend on it.

    Raises:
        UserError: shapes differ, there are fewer than two nodes, or the temperature is out of range.
    """
    if z.shape != other.shape or len(z) < 2:
        raise UserError(
            f"hard_negative got views of shapes {tuple(z.shape)} and {tuple(other.shape)}; "
            "both must be (n, d) with n at least 2"
        )
    if temperature <= 0:
        raise UserError(f"hard_negative got a temperature of {temperature:g}; it must be positive")
    dtype = safe_dtype(z.dtype, abs(concentration) + 1 / temperature)
    x, y = (normalize(view.to(dtype), dim=1) for view in (z, other))
    run = partial(_value_and_gradients, scale=1 / temperature, concentration=concentration, block=block)
    return (fused(run, x, y) / len(z)).to(z.dtype)


def _value_and_gradients(
    x: Tensor,
    y: Tensor,
    wanted: tuple[bool, bool],
    *,
    scale: float,
    concentration: float,
    block: int | None,
) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    """sum_i log D_i - s_ii / tau, and its gradients to the unit rows x and y (n, d).

    D_i = e^(s_ii/tau) + (n - 1) A_i / B_i, A_i = sum_{j != i} e^((c + 1/tau) s_ij), B_i = sum_{j != i} e^(c s_ij).
    """
    n, size = len(x), min(block_rows(2 * len(x), x.device, block), len(x))
    to_x, to_y = torch.zeros_like(x), torch.zeros_like(y)
    inner, weights = x.new_empty(size, n), x.new_empty(size, n)
    steep, value = concentration + scale, torch.zeros((), dtype=torch.float64, device=x.device)
    for start in range(0, n, size):
        part = slice(start, min(start + size, n))
        own = torch.arange(start, part.stop, device=x.device)[:, None]
        hard = torch.mm(x[part], y.t(), out=inner[: part.stop - start])
        positive = hard.gather(1, own)[:, 0] * scale
        weight = torch.mul(hard, concentration * LOG2E, out=weights[: part.stop - start]).exp2_()
        hard.mul_(steep * LOG2E).exp2_()
        hard.scatter_(1, own, 0.0)
        weight.scatter_(1, own, 0.0)
        a, b = hard.sum(1), weight.sum(1)
        total = positive.exp() + (n - 1) * a / b
        value += (total.log() - positive).sum(dtype=torch.float64)
        if any(wanted):
            factor = (n - 1) / (total * b)
            hard.mul_((steep * factor)[:, None])
            hard.addcmul_(weight, (-concentration * factor * a / b)[:, None])
            hard.scatter_(1, own, ((positive.exp() / total - 1) * scale)[:, None])
            torch.mm(hard, y, out=to_x[part])
            to_y.addmm_(hard.t(), x[part])
    return value, (to_x, to_y)
