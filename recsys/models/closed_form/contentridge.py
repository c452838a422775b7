"""ContentRidge: the best weights of the items that a user took, for judging others by their content, in closed form."""

from __future__ import annotations

from functools import cached_property

import numpy as np
import scipy.sparse as sp
import torch

from recsys.evaluation.scorers import KernelScorer, Scorer
from recsys.inputs.content import all_weights, below, choose, unit_rows, without_content
from recsys.inputs.requests import NewItems, QueryUsers
from recsys.inputs.training_data import TrainingData
from recsys.models.base import Model
from recsys.models.closed_form.ease import add_product, check_dense, inverse_in_place, place_symmetric
from recsys.serving.parts import Content, Part
from recsys.settings import Settings, setting


class ContentRidgeSettings(Settings):
    regularisation: float = setting(
        2.0, "lambda: weight of the weights' squared norm", low=1e-6, search=(0.1, 100.0), log=True
    )
    modalities: list[str] = setting([], "modalities to read; empty: all of them")
    weights: dict[str, float] = setting({}, "weight of a modality; 1 where it is not named")


class ContentRidge(Model):
    """s_u = r_u (K + lambda I)^-1 k: kernel ridge regression of what users took on the items' content.

    K holds the similarities of warm items, sum_m w_m cosine_m, and k those of warm items with the candidate. The
    regression is one for each user, all with the same matrix: "Kernel Methods for Pattern Analysis", Shawe-Taylor
    and Cristianini, 2004, section 7.3. Content-KNN is its limit for a large lambda; a small one discounts what a
    user's items have in common with one another, and with everything. A warm item that the user did not take was
    fitted to a score of 0; it gets what the regression without it gives: s / (1 - h), h its diagonal entry of
    K (K + lambda I)^-1.

    One float64 matrix of warm items by warm items is held while fitting, one float32 matrix afterwards. A user
    without interactions gets the popularity ranking.
    """

    Settings = ContentRidgeSettings
    paper = "Kernel Methods for Pattern Analysis, Cambridge University Press 2004, section 7.3"
    closed_form = True
    reads_content = True
    ranks_cold_items = True
    exports_vectors = False
    popular_without_history = True
    linear_in_history = True
    inverse: torch.Tensor
    leave_out: torch.Tensor

    def __init__(self, settings: ContentRidgeSettings, data: TrainingData, seed: int):
        super().__init__(settings, data, seed)
        chosen = choose(data.modalities, settings.modalities, "content-ridge")
        self.weights = all_weights(chosen, settings.weights, "content-ridge")
        self.modalities = {name: chosen[name] for name, weight in self.weights.items() if weight}

    @cached_property
    def content(self) -> dict[str, np.ndarray | sp.csr_array]:
        """Modality -> (n_items, width) unit rows, each times the root of its weight."""
        return {name: self._scaled(name, m.features) for name, m in self.modalities.items()}

    def _scaled(self, name: str, features: np.ndarray | sp.csr_array) -> np.ndarray | sp.csr_array:
        return np.float32(np.sqrt(self.weights[name])) * unit_rows(features)

    def fit(self) -> None:
        warm, penalty = np.flatnonzero(self.data.warm_items), self.settings.regularisation
        check_dense("ContentRidge", len(warm), len(warm))
        gram = np.zeros((len(warm), len(warm)), order="F")
        for name, modality in self.modalities.items():
            self.data.ledger.record("Gram matrix", name, items=modality.mask & self.data.warm_items)
            add_product(gram, self.content[name][warm], 1.0)
        gram[np.diag_indices(len(warm))] += penalty
        inverse = torch.empty(len(warm), len(warm))
        place_symmetric(inverse.numpy(), inverse_in_place(gram))
        self.register_buffer("inverse", inverse)
        # K (K + lambda I)^-1 = I - lambda (K + lambda I)^-1.
        left = torch.ones(self.data.n_items)
        left[torch.from_numpy(warm)] = 1 / (penalty * self.inverse.diagonal())
        self.register_buffer("leave_out", left)

    def cannot_score(self) -> np.ndarray:
        return without_content(self.modalities, self.data.n_items)

    def served(self, users: QueryUsers) -> Part:
        warm, matrix = np.flatnonzero(self.data.warm_items), self.inverse.cpu().numpy()
        every = list(self.content.values())
        # Of dense content the product with the matrix is as narrow as the content, and is taken once.
        narrow = not any(map(sp.issparse, every))
        seen = [matrix @ rows[warm] if narrow else rows[warm] for rows in every]
        factors = [float(np.sqrt(self.weights[name])) for name in self.content]
        scale = self.leave_out.cpu().numpy()
        return Content(list(self.content), factors, seen, every, warm, None if narrow else matrix, scale)

    def scores(self, users: QueryUsers, new_items: NewItems | None) -> Scorer:
        warm, content, scale = np.flatnonzero(self.data.warm_items), self.content, self.leave_out
        if new_items is not None:
            scale = torch.cat([scale, scale.new_ones(len(new_items))])
            content = {
                name: below(rows, self._scaled(name, new_items.modalities[name].features))
                for name, rows in content.items()
            }
        pairs = [(rows[warm], rows) for rows in content.values()]
        return KernelScorer(users.history[:, warm], self.inverse, pairs, scale)
