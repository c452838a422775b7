"""EASE: the best item-item weights in closed form, of interactions alone or of content as well."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp
import torch
from scipy.linalg import lapack

from recsys.coldstart.cold_items import ColdItems
from recsys.errors import UserError
from recsys.evaluation.scorers import HistoryScorer, JoinedScorer, Scorer
from recsys.inputs.content import choose, shares, unit_rows
from recsys.inputs.requests import NewItems, QueryUsers
from recsys.inputs.training_data import TrainingData
from recsys.memory import check_fits
from recsys.models.base import Model
from recsys.serving.parts import History, Joined, Neighbours, Part
from recsys.settings import Settings, setting


class EASESettings(Settings):
    regularisation: float = setting(
        50.0, "lambda: weight of the squared norm of B", low=1e-6, search=(1.0, 2000.0), log=True
    )
    content: float = setting(
        0.0, "weight of the items' similarity in content in the Gram matrix; 0 reads no content", low=0
    )
    item_power: float = setting(
        0.0,
        "power of an item's count that divides its interactions: popular items weigh less",
        low=0,
        high=1,
    )
    user_power: float = setting(
        0.0, "power of a user's count that divides their row while B is fitted", low=0, high=1
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

    With `item_power` a and `user_power` b above 0 interactions are weighed by counts: n_u^-b r_ui n_i^-a, brought to
    the norm of R, in what is fitted, and r_ui n_i^-a in what a user's scores are made of ("Why is Normalization
    Necessary for Linear Recommenders?", Park et al., SIGIR 2025, arXiv 2504.05805, each side with its own exponent).

    P is dense by nature: one float64 matrix of warm items by warm items is held while fitting, one float32
    matrix of items by items afterwards. Without content, items without training interactions score lowest. A
    user without interactions gets the popularity ranking.
    """

    Settings = EASESettings
    paper = "Embarrassingly Shallow Autoencoders for Sparse Data, WWW 2019, arXiv 1905.03375"
    closed_form = True
    exports_vectors = False
    popular_without_history = True
    linear_in_history = True

    def __init__(self, settings: EASESettings, data: TrainingData, seed: int):
        super().__init__(settings, data, seed)
        self.reads_content = self.ranks_cold_items = settings.content > 0
        self.modalities, self.cold = {}, None
        if self.ranks_cold_items:
            self.modalities = choose(data.modalities, [], "EASE with content")
            self.shares = shares(self.modalities, settings.weights, "EASE")
            self.cold = ColdItems(data, self.modalities, settings.k, self.shares)

    def fit(self) -> None:
        warm = np.flatnonzero(self.data.warm_items)
        check_dense("EASE", len(warm), self.data.n_items)
        rows = self.data.interactions[:, warm].astype(np.float64)
        of_item, of_user = (
            np.maximum(rows.sum(axis=axis), 1.0) ** -power
            for axis, power in ((0, self.settings.item_power), (1, self.settings.user_power))
        )
        weighed = rows @ sp.diags_array(of_item)
        weighed = sp.csr_array(sp.diags_array(of_user) @ weighed)
        gram = np.asfortranarray((weighed.T @ weighed).toarray())
        gram *= rows.power(2).sum() / weighed.power(2).sum()
        for name, modality in self.modalities.items():
            self.data.ledger.record("Gram matrix", name, items=modality.mask & self.data.warm_items)
            add_product(gram, unit_rows(modality.features[warm]), self.settings.content * self.shares[name])
        gram[np.diag_indices(len(warm))] += self.settings.regularisation
        weights = torch.zeros(self.data.n_items, self.data.n_items)
        place_weights(weights.numpy(), inverse_in_place(gram), warm)
        weights[warm] *= torch.from_numpy(of_item).float()[:, None]
        self.register_buffer("weights", weights)

    def scores(self, users: QueryUsers, new_items: NewItems | None) -> Scorer:
        scorer = HistoryScorer(users.history, self.weights)
        return scorer if self.cold is None else JoinedScorer(scorer, *self.cold.joined(new_items))

    def served(self, users: QueryUsers) -> Part:
        part = History(self.get_buffer("weights").cpu().numpy())
        if self.cold is None:
            return part
        return Joined(
            part, self.cold.ids.numpy(), self.cold.graph, Neighbours(self.settings.k, dict(self.shares))
        )

    def cannot_score(self) -> np.ndarray:
        return super().cannot_score() if self.cold is None else self.cold.without_content


BLOCK = 1024


def check_dense(model: str, fitted: int, n_items: int) -> None:
    """UserError where a float64 matrix of the fitted items and a float32 one of all items do not fit into memory."""
    needed = 8 * fitted**2 + 4 * n_items**2
    remedy = "use a model that does not hold every pair of items, such as ease-sparse, itemknn or wmf"
    check_fits(needed, f"{model} on {n_items:,} items", remedy)


def add_product(gram: np.ndarray, rows: np.ndarray | sp.csr_array, weight: float) -> None:
    """gram += weight rows rows^T, in place, in blocks of columns."""
    for start in range(0, len(gram), BLOCK):
        columns = slice(start, start + BLOCK)
        product = rows @ rows[columns].T
        gram[:, columns] += weight * (product.toarray() if sp.issparse(product) else product)


def inverse_in_place(gram: np.ndarray) -> np.ndarray:
    """The lower triangle of gram^-1, in gram's own memory; gram is symmetric and in Fortran order.

    Raises:
        UserError: gram is not positive definite.
    """
    # SciPy's dpotrf ends in a segmentation fault from 16,000 columns on, where OpenBLAS has two threads.
    rows = torch.from_numpy(gram.T)
    failed = torch.empty((), dtype=torch.int32)
    torch.linalg.cholesky_ex(rows, out=(rows, failed))
    if not failed:
        # Three times as fast as torch.cholesky_inverse.
        inverse, failed = lapack.dpotri(gram, lower=0, overwrite_c=1)
    if failed:
        raise UserError("EASE's Gram matrix cannot be inverted; raise regularisation")
    return inverse.T


def place_symmetric(out: np.ndarray, lower: np.ndarray) -> None:
    """out = the symmetric matrix of which `lower` holds the lower triangle, in blocks."""
    for start in range(0, len(lower), BLOCK):
        rows = slice(start, start + BLOCK)
        left, corner = lower[rows, :start], np.tril(lower[rows, rows])
        out[rows, :start], out[:start, rows] = left, left.T
        out[rows, rows] = corner + np.tril(corner, -1).T


def place_weights(weights: np.ndarray, inverse: np.ndarray, places: np.ndarray) -> None:
    """weights[places, places] = I - P / diag(P), from P's lower triangle, in blocks."""
    diagonal = inverse.diagonal().copy()
    for start in range(0, len(places), BLOCK):
        rows = slice(start, start + BLOCK)
        block = np.tril(inverse[rows, : rows.stop], start)
        weights[np.ix_(places[rows], places[: rows.stop])] += -block / diagonal[: rows.stop]
        strictly = np.tril(block, start - 1)
        weights[np.ix_(places[: rows.stop], places[rows])] += (-strictly / diagonal[rows, None]).T
    weights[places, places] = 0
