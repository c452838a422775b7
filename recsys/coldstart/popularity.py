"""How popular content alone makes an item."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor, nn

from recsys.datasets.dataset import Modality
from recsys.inputs.content import unit_rows


class ContentPopularity(nn.Module):
    """log(1 + n) of an item that n users took, as a ridge regression on its content expects it.

    x . w + b with w, b = argmin sum_i (log(1 + n_i) - x_i . w - b)^2 + regularisation |w|^2, x the unit rows of an
    item's fields side by side, zeros for those missing: "Ridge Regression: Biased Estimation for Nonorthogonal
    Problems", Hoerl and Kennard, Technometrics 1970. Solved by LSQR, without a matrix of items or of columns.

    Args:
        contents: field -> content of n items.
        counts: (n,) users who took each item.
        learned_on: (n,) bool, the items to learn from.
        regularisation: above 0.
    """

    weight: Tensor
    intercept: Tensor

    def __init__(
        self,
        contents: Mapping[str, Modality],
        counts: np.ndarray,
        learned_on: np.ndarray,
        regularisation: float,
    ):
        from sklearn.linear_model import Ridge  # a second of every start otherwise

        super().__init__()
        ridge = Ridge(regularisation, solver="lsqr", tol=1e-8)
        ridge.fit(_side_by_side(contents)[learned_on], np.log1p(counts[learned_on]))
        self.register_buffer("weight", torch.from_numpy(ridge.coef_))
        self.register_buffer("intercept", torch.tensor(float(ridge.intercept_), dtype=torch.float64))

    def forward(self, contents: Mapping[str, Modality]) -> Tensor:
        """(n,) float32 of any n items, from the fields that the regression knows, in their order."""
        predicted = _side_by_side(contents) @ self.weight.cpu().numpy() + self.intercept.item()
        return torch.from_numpy(predicted).float().to(self.weight.device)


def _side_by_side(contents: Mapping[str, Modality]) -> np.ndarray | sp.csr_array:
    rows = [unit_rows(m.features).astype(np.float64) for m in contents.values()]
    return sp.csr_array(sp.hstack(rows)) if any(map(sp.issparse, rows)) else np.hstack(rows)
