"""Matrix factorisation: the encoder that uses no graph."""

from __future__ import annotations

from torch import Tensor

from recsys.encoders.lightgcn import Operator


def mf(operator: Operator | None, users: Tensor, items: Tensor) -> tuple[Tensor, Tensor]:
    """The tables themselves, in the form of the graph encoders, so that a model can exchange one for another.

    "Matrix Factorization Techniques for Recommender Systems", Koren, Bell and Volinsky, IEEE Computer 2009.
    """
    return users, items
