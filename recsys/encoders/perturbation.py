"""Modulus-based personalised perturbation: a longer embedding takes a stronger one."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import normalize


def perturb(vectors: Tensor, strength: float, generator: torch.Generator, by_length: bool = True) -> Tensor:
    """e' = e + strength g(||e||) sign(e) * norm(|noise|), g(||e||) = ||e|| / mean ||e||.

    "Semantic Item Graph Enhancement for Multimodal Recommendation", arXiv 2508.06154; only the abstract was
    at hand, so the equation is our reading, as are Gaussian noise and gradients that flow through e alone:
    the perturbation is a constant. Call it twice for two independent views.

    Args:
        vectors: (n, d).
        strength: length of the perturbation of a vector of mean length.
        generator: source of the noise.
        by_length: False: g = 1, as long for each vector as in SimGCL (arXiv 2112.08679, equation 3).
    """
    noise = torch.randn(vectors.shape, generator=generator, device=generator.device).to(vectors)
    with torch.no_grad():
        relative: Tensor | float = 1.0
        if by_length:
            length = torch.linalg.vector_norm(vectors, dim=1, keepdim=True)
            relative = length / length.mean().clamp_min(torch.finfo(vectors.dtype).tiny)
        shift = strength * relative * vectors.sign() * normalize(noise.abs(), dim=1)
    return vectors + shift
