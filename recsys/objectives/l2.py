"""The L2 penalty on the embeddings of a batch."""

from __future__ import annotations

from torch import Tensor

from recsys.errors import UserError


def l2(*tensors: Tensor) -> Tensor:
    """sum_t ||t||^2 / (2 |B|), |B| the rows of the first tensor: only what the batch touched is penalised.

    As in LightGCN's and MMHCL's code (arXiv 2002.02126, arXiv 2504.16576).

    Args:
        tensors: (B, d) embeddings of the batch's users, positives and negatives. A tensor that occurs once
            per row of the batch is expected; a whole table would be divided by |B| too.

    Raises:
        UserError: no tensor was given.
    """
    if not tensors:
        raise UserError("l2 was called without a tensor; pass the batch's embeddings")
    total = sum((t.square().sum() for t in tensors[1:]), start=tensors[0].square().sum())
    return total / (2 * tensors[0].shape[0])
