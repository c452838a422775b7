"""Anchor-based InfoNCE: one representation is pulled to another that stays where it is."""

from __future__ import annotations

from torch import Tensor

from recsys.objectives.contrastive.infonce import infonce


def anchored_infonce(
    z: Tensor, anchor: Tensor, temperature: float = 0.2, *, block: int | None = None
) -> Tensor:
    """mean_i -log( exp(cos(a_i, z_i)/tau) / sum_j exp(cos(a_i, z_j)/tau) ), no gradient to a.

    The first of the two alignments of "Semantic Item Graph Enhancement for Multimodal Recommendation",
    arXiv 2508.06154; only the abstract was at hand, so the equation is our reading. Sum it over modalities.

    Args:
        z: (n, d) representations that are moved, such as one modality's.
        anchor: (n, d) representations that they are moved to, such as the behaviour's.
        temperature, block: as in `infonce`, which also says what is raised.
    """
    return infonce(anchor.detach(), z, temperature, block=block)
