"""EASE: the best item-item weights in closed form."""

from __future__ import annotations

import numpy as np
import torch

from recsys.evaluation.scorers import FallbackScorer, HistoryScorer
from recsys.models.base import Model
from recsys.newcomers import Arrivals, Audience
from recsys.settings import Settings, setting


class EASESettings(Settings):
    regularisation: float = setting(
        50.0, "lambda: weight of the squared norm of B", low=1e-6, search=(1.0, 2000.0), log=True
    )


class EASE(Model):
    """B = argmin ||R - R B||^2 + lambda ||B||^2 with diag(B) = 0; a user's scores are r_u B.

    "Embarrassingly Shallow Autoencoders for Sparse Data", Steck, WWW 2019, arXiv 1905.03375, equation 8:
    B = I - P dMat(1 / diag(P)), P = (R^T R + lambda I)^-1.

    P is dense by nature: two float64 matrices of warm items by warm items are held while fitting, one float32
    matrix afterwards. Items without training interactions have a zero column: they score lowest. A user
    without interactions gets the popularity ranking.
    """

    Settings = EASESettings
    closed_form = True

    def fit(self) -> None:
        warm = np.flatnonzero(self.data.warm_items)
        rows = self.data.interactions[:, warm].astype(np.float64)
        gram = torch.from_numpy((rows.T @ rows).todense())
        gram.diagonal().add_(self.settings.regularisation)
        inverse = torch.cholesky_inverse(torch.linalg.cholesky_ex(gram, check_errors=True).L)
        del gram
        inverse /= -inverse.diagonal().clone()
        inverse.diagonal().zero_()
        self.register_buffer("weights", inverse.float())

    def scorer_for(self, audience: Audience, arrivals: Arrivals | None = None) -> FallbackScorer:
        history = audience.history
        warm = torch.from_numpy(np.flatnonzero(self.data.warm_items))
        weights = torch.zeros(self.data.n_items, self.data.n_items)
        weights[warm.unsqueeze(1), warm] = self.weights
        return self.with_popularity(HistoryScorer(history, weights, self.unranked_items()), history)
