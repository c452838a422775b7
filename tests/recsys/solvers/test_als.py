"""Weighted factorisation against its objective and its normal equations."""

from itertools import pairwise

import numpy as np
import scipy.sparse as sp

from recsys.solvers.als import folded_in, weighted_factors


def interactions(seed=0):
    dense = (np.random.default_rng(seed).random((12, 9)) < 0.3).astype(np.float32)
    dense[3], dense[:, 4] = 0, 0
    return sp.csr_array(dense)


def objective(r, u, v, confidence, reg):
    total = 0.0
    for a in range(r.shape[0]):
        for b in range(r.shape[1]):
            total += (1 + confidence * r[a, b]) * (r[a, b] - u[a] @ v[b]) ** 2
    return total + reg * (np.square(u).sum() + np.square(v).sum())


def test_ends_where_each_row_solves_its_normal_equations():
    r = interactions()
    u, v = (x.astype(np.float64) for x in weighted_factors(r, 3, confidence=4.0, reg=0.5, sweeps=200))
    dense = r.toarray()
    for rows, x, other in ((dense, u, v), (dense.T, v, u)):
        for n, row in enumerate(rows):
            weight = np.diag(1 + 4.0 * row)
            solved = np.linalg.solve(
                other.T @ weight @ other + 0.5 * np.eye(3), other.T @ weight @ row.astype(np.float64)
            )
            np.testing.assert_allclose(x[n], solved, atol=2e-3)


def test_more_sweeps_never_raise_the_objective_and_empty_rows_stay_zero():
    r = interactions()
    values = []
    for sweeps in (1, 2, 4, 8, 16):
        u, v = weighted_factors(r, 3, confidence=4.0, reg=0.5, sweeps=sweeps)
        values.append(objective(r.toarray(), u, v, 4.0, 0.5))
    assert all(b <= a * (1 + 1e-5) for a, b in pairwise(values))
    assert not u[3].any()
    assert not v[4].any()
    assert u.dtype == v.dtype == np.float32


def test_a_row_depends_on_no_other_row_and_repeats():
    r = interactions()
    users, items = weighted_factors(r, 3, reg=0.5, seed=5)
    for a, b in zip((users, items), weighted_factors(r, 3, reg=0.5, seed=5), strict=True):
        np.testing.assert_array_equal(a, b)
    alone = [folded_in(r[[row]], items, confidence=10.0, reg=0.5)[0] for row in range(r.shape[0])]
    np.testing.assert_allclose(folded_in(r, items, confidence=10.0, reg=0.5), alone, atol=1e-6)


def test_users_that_are_nearly_right_end_where_they_do_from_nothing():
    r = sp.csr_array((np.random.default_rng(1).random((200, 90)) < 0.2).astype(np.float32))
    users, items = weighted_factors(r, 16, seed=None)
    options = {"confidence": 10.0, "reg": 50.0}
    warm, cold = (folded_in(r, items, start=start, **options) for start in (users, None))
    assert np.abs(users - cold).max() > 5e-4 * np.abs(cold).max()  # or there is nothing to be done
    np.testing.assert_allclose(warm, cold, atol=5e-5 * np.abs(cold).max())


def test_nobody_has_anything():
    empty = sp.csr_array((3, 4), dtype=np.float32)
    assert not any(x.any() for x in weighted_factors(empty, 2, seed=0))
    assert folded_in(empty[:0], np.ones((4, 2), np.float32), confidence=1.0, reg=1.0).shape == (0, 2)
