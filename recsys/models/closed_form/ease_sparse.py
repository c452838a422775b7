"""EASE by a sparse factor of its inverse, for catalogues whose item-item matrix does not fit into memory."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp
import torch

from recsys.evaluation.scorers import HistoryScorer, Scorer
from recsys.graphs.operator import canonical
from recsys.inputs.requests import NewItems, QueryUsers
from recsys.memory import check_fits
from recsys.models.base import Model
from recsys.serving.parts import Factored, Part
from recsys.settings import Settings, setting

CELLS = 2**22
"""float64 cells of the systems that are solved at once: 32 MiB."""
BYTES_PER_ENTRY = 40
"""Of the Gram matrix: forming and sorting it, the peak seen."""


class SparseEASESettings(Settings):
    regularisation: float = setting(
        50.0, "lambda: weight of the squared norm of B", low=1e-6, search=(1.0, 2000.0), log=True
    )
    k: int = setting(
        100,
        "more popular items that each item's row of the factor holds",
        low=1,
        high=2000,
        search=[50, 100, 200],
    )


class SparseEASE(Model):
    """EASE, B = I - P dMat(1 / diag(P)), with P = (R^T R + lambda I)^-1 ~ W^T W of a sparse triangular W.

    "Scalable Approximate NonSymmetric Autoencoder for Collaborative Filtering", Spišák et al., RecSys 2023 (SANSA),
    whose idea it is to keep sparse factors of EASE's inverse. Here the factor is the sparse approximate inverse of
    Kolotilina and Yeremin ("Factorized Sparse Approximate Inverse Preconditionings", SIAM J. Matrix Anal. 1993), which
    takes a small system for each item and no factorisation that fills up: with items in order of popularity, row j of W
    solves G_SS w = e_j, divided by sqrt(w_j), where G = R^T R + lambda I and S is j and the k more popular items of
    largest cosine of co-occurrence with it. Where each S holds all more popular items W^T W is P itself.

    Memory and time grow with the pairs of items that some user took both. Where users took few items it ranks worse
    than EASE: `python -m recsys.experiments.benchmarks.closed_forms` prints both. Items without training interactions
    score lowest. A user without interactions gets the popularity ranking.
    """

    Settings = SparseEASESettings
    paper = "Scalable Approximate NonSymmetric Autoencoder for Collaborative Filtering, RecSys 2023"
    settings: SparseEASESettings
    closed_form = True
    linear_in_history = True
    exports_vectors = False
    popular_without_history = True
    indptr: torch.Tensor
    indices: torch.Tensor
    values: torch.Tensor

    def fit(self) -> None:
        interactions = self.data.interactions
        pairs = int(np.sum(np.diff(interactions.indptr).astype(np.int64) ** 2))
        most = min(pairs, self.data.n_items**2)
        check_fits(
            most * BYTES_PER_ENTRY, f"ease-sparse on {pairs:,} pairs of items", "use itemknn or wmf instead"
        )
        factor = inverse_factor(interactions, self.settings.regularisation, self.settings.k)
        self.data.ledger.record("Gram matrix", "interactions", items=self.data.warm_items)
        self.register_buffer("indptr", torch.from_numpy(factor.indptr.astype(np.int64)))
        self.register_buffer("indices", torch.from_numpy(factor.indices.astype(np.int32)))
        self.register_buffer("values", torch.from_numpy(factor.data.astype(np.float32)))

    def _factors(self) -> tuple[sp.csr_array, sp.csr_array]:
        """W^T and -W / diag(P): r B = r + (r W^T) (-W / diag(P))."""
        n = self.data.n_items
        arrays = (self.values, self.indices, self.indptr)
        factor = sp.csr_array(tuple(a.cpu().numpy() for a in arrays), shape=(n, n))
        diagonal = np.asarray(factor.multiply(factor).sum(axis=0)).ravel()
        return sp.csr_array(factor.T), sp.csr_array(factor @ sp.diags_array(-1 / diagonal))

    def scores(self, users: QueryUsers, new_items: NewItems | None) -> Scorer:
        down, up = self._factors()
        history = sp.csr_array(users.history, dtype=np.float32)
        weights = sp.vstack([sp.eye_array(self.data.n_items), up], format="csr")
        return HistoryScorer(sp.hstack([history, history @ down], format="csr"), weights)

    def served(self, users: QueryUsers) -> Part:
        down, up = self._factors()
        return Factored(down.astype(np.float32), up.astype(np.float32))


def inverse_factor(interactions: sp.csr_array, regularisation: float, k: int) -> sp.csr_array:
    """W (n_items, n_items) float64 CSR with W^T W ~ (R^T R + regularisation I)^-1; see `SparseEASE`.

    Example:
        >>> rows = sp.csr_array(np.array([[1.0, 1.0, 0.0], [1.0, 0.0, 1.0], [1.0, 1.0, 1.0]]))
        >>> factor = inverse_factor(rows, 1.0, 3).toarray()
        >>> np.allclose(factor.T @ factor, np.linalg.inv(rows.T @ rows + np.eye(3)))
        True
    """
    # Of items taken equally often those taken beside popular ones come first, so that their numbers do not matter.
    popularity = [np.asarray(interactions.sum(axis=0), dtype=np.float64).ravel()]
    for _ in range(2):
        popularity.append(interactions.T @ (interactions @ popularity[-1]))
    order = np.lexsort([-key for key in popularity[::-1]])
    rows = canonical(interactions, np.float64)[:, order]
    gram = canonical(rows.T @ rows, np.float64)
    support, held = _more_popular(gram, k)
    n, width = support.shape
    entries = Entries(gram)
    weights = np.zeros(support.shape)
    size = max(1, CELLS // width**2)
    for start in range(0, n, size):
        part = slice(start, start + size)
        system = entries[support[part, :, None], support[part, None, :]]
        system *= held[part, :, None] & held[part, None, :]
        system[:, np.arange(width), np.arange(width)] += regularisation
        unit = np.zeros((len(system), width, 1))
        unit[:, 0] = 1.0
        factor = torch.linalg.cholesky(torch.from_numpy(system))
        solved = torch.cholesky_solve(torch.from_numpy(unit), factor).squeeze(2).numpy()
        weights[part] = solved / np.sqrt(solved[:, :1])
    places = np.repeat(order, held.sum(axis=1)), order[support[held]]
    return sp.csr_array(sp.coo_array((weights[held], places), shape=(n, n)))


def _more_popular(gram: sp.csr_matrix, k: int) -> tuple[np.ndarray, np.ndarray]:
    """(n, 1 + k) int64: each item and, behind it, the k items before it of largest cosine, and (n, 1 + k) bool: there
    is one."""
    n = gram.shape[0]
    norms = np.sqrt(np.maximum(gram.diagonal(), 1))
    rows = np.repeat(np.arange(n, dtype=np.int32), np.diff(gram.indptr))
    before = gram.indices < rows
    rows, columns = rows[before], gram.indices[before]
    cosines = (gram.data[before] / (norms[rows] * norms[columns])).astype(np.float32)
    order = np.lexsort((columns, -cosines, rows))
    rows, columns = rows[order], columns[order]
    starts = np.searchsorted(rows, np.arange(n))
    kept = (rank := np.arange(len(rows)) - starts[rows]) < k
    support = np.zeros((n, 1 + min(k, int(rank.max(initial=0)) + 1)), dtype=np.int64)
    held = np.zeros(support.shape, dtype=bool)
    support[:, 0], held[:, 0] = np.arange(n), True
    support[rows[kept], 1 + rank[kept]], held[rows[kept], 1 + rank[kept]] = columns[kept], True
    return support, held


class Entries:
    """Entries of a sparse matrix by arrays of rows and columns."""

    def __init__(self, matrix: sp.csr_matrix):
        self.n, self.values = matrix.shape[1], matrix.data
        rows = np.repeat(np.arange(matrix.shape[0], dtype=np.int64), np.diff(matrix.indptr))
        self.keys = rows * self.n + matrix.indices

    def __getitem__(self, places: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
        """Broadcast as NumPy's; 0 where the matrix holds no entry."""
        keys = places[0] * np.int64(self.n) + places[1]
        at = np.minimum(np.searchsorted(self.keys, keys), len(self.keys) - 1)
        return np.where(self.keys[at] == keys, self.values[at], 0.0)
