"""The user-item graph of interactions, symmetrically normalised."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp

from recsys.graphs.normalise import degrees, inverse_power, row_normalise, scale
from recsys.graphs.operator import canonical


def normalised_interactions(interactions: sp.csr_matrix) -> sp.csr_matrix:
    """D_u^-1/2 R D_i^-1/2 (n_users x n_items, float32) of the interactions R.

    It is the upper right block of the normalised bipartite adjacency; the lower left one is its transpose, so
    an encoder that multiplies by the two in turn needs half the memory of `bipartite_adjacency`.
    """
    csr = canonical(interactions, np.float64)
    return scale(csr, inverse_power(degrees(csr, 1), 0.5), inverse_power(degrees(csr, 0), 0.5))


def bipartite_adjacency(interactions: sp.csr_matrix) -> sp.csr_matrix:
    """D^-1/2 A D^-1/2 of A = [[0, R], [R^T, 0]], (n_users + n_items) squared, float32.

    No self loops; users and items without interactions keep empty rows. LightGCN (arXiv 2002.02126), eq. 8.
    """
    block = normalised_interactions(interactions)
    return canonical(sp.bmat([[None, block], [block.T, None]], format="csr"))


def self_loops(interactions: sp.csr_matrix) -> sp.csr_matrix:
    """D^-1 (A + I) of A = [[0, R], [R^T, 0]], D its row sums: (n_users + n_items) squared, float32.

    The interaction graph of the code published with LATTICE (arXiv 2104.09036). It is not symmetric.
    """
    block = canonical(interactions, np.float64)
    looped = sp.bmat([[None, block], [block.T, None]], format="csr") + sp.eye_array(sum(block.shape))
    return row_normalise(canonical(looped, np.float64))
