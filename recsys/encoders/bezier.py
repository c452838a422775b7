"""Spherical Bezier fusion: one point on the unit sphere from any number of modalities' points."""

from __future__ import annotations

import torch
from torch import Tensor

from recsys.encoders.sphere import unit


def slerp(a: Tensor, b: Tensor, s: Tensor | float) -> Tensor:
    """sin((1-s)theta)/sin(theta) a + sin(s theta)/sin(theta) b, theta the angle between a and b.

    "Animating Rotation with Quaternion Curves", Shoemake, SIGGRAPH 1985. theta comes from atan2 of the chords
    |a - b| and |a + b|, accurate at every angle. Nearly parallel vectors are interpolated along the chord,
    which differs by O(theta^3). Nearly antiparallel ones have no unique arc: theirs goes through the basis
    vector least aligned with a, so the result stays on the sphere, deterministic, with finite gradients.

    Args:
        a, b: (..., d) unit vectors.
        s: position on the arc in [0, 1], broadcast against (...).

    Returns:
        (..., d) unit vectors.
    """
    s = torch.as_tensor(s, dtype=a.dtype, device=a.device)
    theta = 2 * torch.atan2(torch.linalg.vector_norm(a - b, dim=-1), torch.linalg.vector_norm(a + b, dim=-1))
    tolerance = torch.finfo(a.dtype).eps ** 0.5
    parallel, opposite = theta < tolerance, torch.pi - theta < tolerance
    angle = torch.where(parallel | opposite, torch.ones_like(theta), theta)
    first = torch.where(parallel, 1 - s, torch.sin((1 - s) * angle) / torch.sin(angle))
    second = torch.where(parallel, s, torch.sin(s * angle) / torch.sin(angle))
    arc = first[..., None] * a + second[..., None] * b
    if opposite.any():
        half = torch.cos(torch.pi * s)[..., None] * a + torch.sin(torch.pi * s)[..., None] * _orthogonal(a)
        arc = torch.where(opposite[..., None], half, arc)
    return unit(arc)


def _orthogonal(a: Tensor) -> Tensor:
    """(..., d) unit vectors orthogonal to a, the same one for a and -a."""
    least = a.detach().abs().argmin(dim=-1, keepdim=True)
    basis = torch.zeros_like(a).scatter_(-1, least, 1.0)
    return unit(basis - (basis * a).sum(-1, keepdim=True) * a)


def bezier(points: Tensor, s: Tensor | float = 0.5, mask: Tensor | None = None) -> Tensor:
    """De Casteljau on the sphere: b_j^(r) = slerp(b_j^(r-1), b_(j+1)^(r-1); s), f = b_1^(M-1).

    "Calibrating Multimodal Recommendation" (CM3), arXiv 2508.01226. Departure: an item is fused from the
    modalities that it has, in their order.

    Args:
        points: (M, n, d) control points, normalised here. With three or more, their order matters.
        s: curve parameter in [0, 1], a number or (n,).
        mask: (M, n) bool, True where an item has the modality; None for all.

    Returns:
        (n, d) unit vectors; zeros for an item without any modality.
    """
    if mask is not None:
        points = points.masked_fill(~mask[..., None], 0)
    points = unit(points)
    present = points.detach().any(dim=-1)
    if present.all():
        for _ in range(1, len(points)):
            points = slerp(points[:-1], points[1:], s)
        return points[0]
    return _bezier_of_present(points, present, s)


def _bezier_of_present(points: Tensor, present: Tensor, s: Tensor | float) -> Tensor:
    """`bezier` where items have different numbers of points; (M, n, d) unit or zero rows, (M, n) bool."""
    # Absent points go to the end, where no result is read; a constant keeps their angles defined.
    order = (~present).to(torch.int8).argsort(dim=0, stable=True)
    filler = torch.zeros_like(points[0, 0])
    filler[0] = 1
    points = torch.where(present[..., None], points, filler)
    points = points.gather(0, order[..., None].expand_as(points))
    degree = present.sum(0)
    for level in range(1, len(points)):
        last = torch.arange(len(points) - 1, device=points.device)[:, None] + level
        points = torch.where((last < degree)[..., None], slerp(points[:-1], points[1:], s), points[:-1])
    return points[0] * (degree > 0)[:, None]
