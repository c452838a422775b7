"""How much each modality counts for each user."""

from __future__ import annotations

from torch import Tensor


def weigh_blocks(vectors: Tensor, logits: Tensor) -> Tensor:
    """Each of a row's C blocks times its softmax weight.

    CM3, "Calibrating Multimodal Recommendation", arXiv 2508.01226: per-user weights of M + 1 blocks, one
    for each modality and one that they share.

    Args:
        vectors: (n, C d) the blocks side by side.
        logits: (n, C).
    """
    blocks = vectors.view(len(vectors), logits.shape[1], -1)
    return (blocks * logits.softmax(1)[:, :, None]).flatten(1)
