"""EASE: the best item-item weights in closed form, of interactions alone or of content as well."""

from __future__ import annotations

import numpy as np
import torch

from recsys.cold import ColdItems
from recsys.content import choose, shares, unit_rows
from recsys.data import TrainingData
from recsys.evaluation.scorers import FallbackScorer, HistoryScorer, JoinedScorer
from recsys.models.base import Model
from recsys.newcomers import Arrivals, Audience
from recsys.settings import Settings, setting


class EASESettings(Settings):
    regularisation: float = setting(
        50.0, "lambda: weight of the squared norm of B", low=1e-6, search=(1.0, 2000.0), log=True
    )
    content: float = setting(
        0.0, "weight of the items' similarity in content in the Gram matrix; 0 reads no content", low=0
    )
    k: int = setting(
        10, "nearest items whose scores a cold item averages, by each modality", low=1, high=1000
    )
    weights: dict[str, float] = setting({}, "weight of a modality; 1 where it is not named")


class EASE(Model):
    """B = argmin ||R - R B||^2 + lambda ||B||^2 with diag(B) = 0; a user's scores are r_u B.

    "Embarrassingly Shallow Autoencoders for Sparse Data", Steck, WWW 2019, arXiv 1905.03375, equation 8:
    B = I - P dMat(1 / diag(P)), P = (R^T R + lambda I)^-1.

    With `content` c > 0 the items' unit features X, each modality by its share, stand below R as c more users:
    P = (R^T R + c X X^T + lambda I)^-1 ("Closed-Form Models for Collaborative Filtering with Side-Information",
    Jeunen et al., RecSys 2020, the collective form). The column of a cold item cannot be fitted, for its
    interactions are unknown and not zero: it averages those of its k nearest warm items.

    P is dense by nature: two float64 matrices of warm items by warm items are held while fitting, one float32
    matrix of items by items afterwards. Without content, items without training interactions score lowest. A
    user without interactions gets the popularity ranking.
    """

    Settings = EASESettings
    closed_form = True

    def __init__(self, settings: EASESettings, data: TrainingData, seed: int):
        super().__init__(settings, data, seed)
        self.ranks_cold_items = settings.content > 0
        self.modalities, self.cold = {}, None
        if self.ranks_cold_items:
            self.modalities = choose(data.modalities, [], "EASE with content")
            self.weights_of = shares(self.modalities, settings.weights, "EASE")
            self.cold = ColdItems(data, self.modalities, settings.k, self.weights_of)

    def fit(self) -> None:
        warm = np.flatnonzero(self.data.warm_items)
        rows = self.data.interactions[:, warm].astype(np.float64)
        gram = torch.from_numpy((rows.T @ rows).todense())
        for name, modality in self.modalities.items():
            self.data.ledger.record("Gram matrix", name, items=modality.mask & self.data.warm_items)
            content = unit_rows(modality.features[warm])
            alike = content @ content.T
            alike = alike.toarray() if hasattr(alike, "toarray") else alike
            gram.add_(torch.from_numpy(alike), alpha=self.settings.content * self.weights_of[name])
        gram.diagonal().add_(self.settings.regularisation)
        inverse = torch.cholesky_inverse(torch.linalg.cholesky_ex(gram, check_errors=True).L)
        del gram
        inverse /= -inverse.diagonal().clone()
        inverse.diagonal().zero_()
        weights = torch.zeros(self.data.n_items, self.data.n_items)
        places = torch.from_numpy(warm)
        weights[places.unsqueeze(1), places] = inverse.float()
        self.register_buffer("weights", weights)

    def scorer_for(self, audience: Audience, arrivals: Arrivals | None = None) -> FallbackScorer:
        history = audience.history
        if self.cold is None:
            scorer = HistoryScorer(history, self.weights, self.unranked_items())
        else:
            scorer = HistoryScorer(history, self.weights)
            scorer = JoinedScorer(scorer, *self.cold.joined(arrivals), self.unranked(arrivals))
        return self.with_popularity(scorer, history, arrivals)

    def unranked_items(self) -> np.ndarray | None:
        return super().unranked_items() if self.cold is None else self.cold.blind
