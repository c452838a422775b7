"""WMF: weighted matrix factorisation, every pair of a user and an item an example."""

from __future__ import annotations

import numpy as np
import pandas as pd
import scipy.sparse as sp
import torch
from torch import Tensor

from recsys.models.base import Model, Vectors
from recsys.serving.fold_in import LeastSquares
from recsys.settings import Settings, setting
from recsys.solvers.als import folded_in, weighted_factors


class WMFSettings(Settings):
    width: int = setting(128, "width of the vectors", low=1, high=4096, search=[32, 64, 128, 256])
    confidence: float = setting(
        10.0, "how much more an interaction weighs than none", low=0, search=(1.0, 50.0), log=True
    )
    reg: float = setting(50.0, "weight of the squared norms", low=0, search=(5.0, 200.0), log=True)
    sweeps: int = setting(10, "alternations between users and items", low=1, high=1000)


class WMF(Model):
    """u . v with U, V = argmin sum_ui (1 + confidence r_ui) (r_ui - u . v)^2 + reg (||U||^2 + ||V||^2).

    "Collaborative Filtering for Implicit Feedback Datasets", Hu et al., ICDM 2008, equation 3; that it holds its own
    beside far younger models, "Revisiting the Performance of iALS on Item Recommendation Benchmarks", Rendle et al.,
    RecSys 2022. It starts from singular vectors, so that no seed and no order of the ids matters. A user's vector is
    what their interactions give beside the items as they stand (equation 4), whether training has seen them or not;
    one without interactions takes the mean user's. Items without training interactions score lowest.
    """

    Settings = WMFSettings
    paper = "Collaborative Filtering for Implicit Feedback Datasets, ICDM 2008"
    settings: WMFSettings
    closed_form = True
    users: Tensor
    items: Tensor

    def fit(self) -> None:
        settings, rows = self.settings, self.data.interactions
        options = {"confidence": settings.confidence, "reg": settings.reg}
        users, items = weighted_factors(rows, settings.width, sweeps=settings.sweeps, seed=None, **options)
        self.register_buffer("items", torch.from_numpy(items))
        users = folded_in(rows, items, start=users, **options)
        self.register_buffer("users", torch.from_numpy(users))

    def forward(self) -> Vectors:
        return Vectors(self.users, self.items)

    @torch.no_grad()
    def encode_users(
        self, history: sp.csr_array, attributes: pd.DataFrame | None = None, vectors: Vectors | None = None
    ) -> Tensor:
        users, items = (x.cpu().numpy() for x in (vectors or self.forward())[:2])
        rows = folded_in(history, items, confidence=self.settings.confidence, reg=self.settings.reg)
        known = history @ self.data.warm_items.astype(np.float32)
        rows[known == 0] = users[self.data.warm_users].mean(axis=0)
        return torch.from_numpy(rows).to(self.users.device)

    @torch.no_grad()
    def user_part(self, vectors: Vectors) -> LeastSquares:
        users, items = (x.cpu().numpy() for x in vectors[:2])
        gram = items.T.astype(np.float64) @ items + self.settings.reg * np.eye(items.shape[1])
        mean = users[self.data.warm_users].mean(axis=0)
        known = self.data.warm_items.astype(np.float32)
        return LeastSquares(items, known, gram, self.settings.confidence, mean)
