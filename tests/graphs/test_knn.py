"""k-NN search against fractions, a slow loop over pairs, other block sizes and other orders."""

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys.errors import GraphError
from recsys.graphs import similarity
from recsys.graphs.knn import item_graph, knn, knn_graph, neighbour_graph

# Four directions 0, 45, 90 and 180 degrees, and an item without features.
# Cosines: 0-1 and 1-2 are sqrt(1/2), 0-2 and 2-3 are 0, 1-3 is -sqrt(1/2), 0-3 is -1.
COMPASS = np.array([[1, 0], [2, 2], [0, 3], [-1, 0], [0, 0]], dtype=np.float32)


def slow_knn(queries, base, k, query_mask, base_mask, exclude_self, positive_only):
    """Every pair by itself, in float64, rounded to the stated grid."""
    found = np.full((len(queries), k), -1)
    for i, x in enumerate(queries.astype(np.float64)):
        pairs = []
        for j, y in enumerate(base.astype(np.float64)):
            if not (query_mask[i] and base_mask[j] and x.any() and y.any()) or (exclude_self and i == j):
                continue
            cosine = round(float(x @ y / np.linalg.norm(x) / np.linalg.norm(y)) * 2**24)
            if cosine > 0 or not positive_only:
                pairs.append((-cosine, j))
        nearest = [j for _, j in sorted(pairs)[:k]]
        found[i, : len(nearest)] = nearest
    return found


def test_neighbours_worked_out_on_paper():
    indices, similarities = knn(COMPASS, COMPASS, 2, exclude_self=True)
    # Item 2 is at cosine 0 from both 0 and 3: the lower index wins.
    assert indices.tolist() == [[1, 2], [0, 2], [1, 0], [2, 1], [-1, -1]]
    h = np.float32(0.5**0.5)
    np.testing.assert_allclose(similarities, [[h, 0], [h, h], [h, 0], [0, -h], [0, 0]], atol=1e-7)
    assert (indices.dtype, similarities.dtype) == (np.int64, np.float32)


def test_positive_only_and_too_few_rows_leave_places_empty():
    assert knn(COMPASS, COMPASS, 2, exclude_self=True, positive_only=True)[0][3].tolist() == [-1, -1]
    assert knn(COMPASS[:2], COMPASS, 9)[0][0].tolist() == [0, 1, 2, 3, -1, -1, -1, -1, -1]


def test_masked_rows_have_no_neighbours_and_are_nobodys():
    mask = np.array([True, False, True, True, True])
    indices, _ = knn(COMPASS, COMPASS, 4, query_mask=mask, base_mask=mask)
    assert (indices[[1, 4]] == -1).all()
    assert not np.isin(indices, [1, 4]).any()


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_equals_the_loop_over_pairs(data):
    rng = np.random.default_rng(data.draw(st.integers(0, 10**6)))
    n, width, k = data.draw(st.integers(1, 50)), data.draw(st.integers(1, 5)), data.draw(st.integers(1, 7))
    ties = data.draw(st.booleans())
    features = (rng.integers(-2, 3, (n, width)) if ties else rng.standard_normal((n, width))).astype(
        np.float32
    )
    mask = rng.random(n) > 0.2
    switches = data.draw(st.booleans()), data.draw(st.booleans())
    expected = slow_knn(features, features, k, mask, mask, *switches)
    kind = data.draw(st.sampled_from([np.asarray, sp.csr_matrix]))
    held = kind(features)
    got, _ = knn(
        held,
        held,
        k,
        query_mask=mask,
        base_mask=mask,
        exclude_self=switches[0],
        positive_only=switches[1],
        block=data.draw(st.sampled_from([None, 1, 7])),
    )
    np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize("cells", [similarity.DENSE_CELLS, 256 * 300])
@pytest.mark.parametrize("kind", ["few directions", "two directions", "copies", "continuous"])
def test_many_ties_fall_to_the_lower_index(kind, cells, monkeypatch):
    """Rows wide enough for the two-round top-k, with ties far beyond the spare candidates; in one chunk and in many."""
    monkeypatch.setattr(similarity, "DENSE_CELLS", cells)
    rng = np.random.default_rng(0)
    features = rng.standard_normal((1500, 3)).astype(np.float32)
    if kind == "few directions":
        features = (rng.integers(-1, 2, (1500, 3)) * rng.integers(1, 6, (1500, 1))).astype(np.float32)
    elif kind == "two directions":
        features = np.zeros((1500, 3), np.float32)
        features[np.arange(1500), np.arange(1500) // 1000] = rng.uniform(1, 2, 1500)
    elif kind == "copies":
        features[rng.random(1500) < 0.6] = features[700]
    wide = features.astype(np.float64)
    norm = np.linalg.norm(wide, axis=1)
    with np.errstate(invalid="ignore"):
        grid = np.round(wide @ wide.T / norm / norm[:, None] * 2**24)
    np.fill_diagonal(grid, -np.inf)
    grid[:, norm == 0] = -np.inf
    expected = np.argsort(-grid, axis=1, kind="stable")[:, :4]
    expected[norm == 0] = -1
    for block in (None, 100):
        np.testing.assert_array_equal(knn(features, features, 4, exclude_self=True, block=block)[0], expected)


def test_block_size_changes_no_bit():
    features = np.random.default_rng(1).standard_normal((900, 16)).astype(np.float32)
    whole = knn(features, features, 5)
    for block in (64, 401):
        for got, expected in zip(knn(features, features, 5, block=block), whole, strict=True):
            np.testing.assert_array_equal(got, expected)


def test_dense_and_sparse_features_agree():
    dense = sp.random(300, 40, 0.2, format="csr", rng=np.random.default_rng(2)).astype(np.float32)
    for positive in (True, False):
        one = knn(dense, dense, 6, positive_only=positive)
        two = knn(dense.toarray(), dense.toarray(), 6, positive_only=positive)
        np.testing.assert_array_equal(one[0], two[0])
        np.testing.assert_array_equal(one[1], two[1])


def test_a_sparse_product_that_rounds_to_nothing_ties_with_none():
    base = sp.csr_matrix([[0, 1, 0], [1e-9, 1, 0]])
    assert knn(sp.csr_matrix([[1.0, 0, 0]]), base, 1)[0].tolist() == [[0]]


def test_queries_may_be_other_rows_than_the_base():
    rng = np.random.default_rng(3)
    queries, base = rng.standard_normal((7, 4)), rng.standard_normal((20, 4))
    everyone = np.ones(7, bool), np.ones(20, bool)
    expected = slow_knn(queries.astype(np.float32), base.astype(np.float32), 3, *everyone, False, False)
    np.testing.assert_array_equal(knn(queries, base, 3)[0], expected)
    np.testing.assert_array_equal(knn(sp.csr_matrix(queries), base, 3)[0], expected)


def test_no_block_holds_all_pairs_and_chunks_of_the_base_change_no_bit(monkeypatch):
    """With room for 150 cells of 256 queries a block, the products are 256 by 192 at most: whole groups of 64."""
    features = np.random.default_rng(4).standard_normal((2000, 8)).astype(np.float32)
    features[1000:1400] *= (
        features[:400] > 0
    )  # ties of rows without anything in common, on both sides of a chunk
    whole = knn(features, features, 3, exclude_self=True)
    seen = []
    keep = similarity._grouped_topk
    monkeypatch.setattr(similarity, "DENSE_CELLS", 256 * 150)  # 19 queries by the whole base: too few
    monkeypatch.setattr(
        similarity, "_grouped_topk", lambda scores, k: (seen.append(scores.shape), keep(scores, k))[1]
    )
    for got, expected in zip(knn(features, features, 3, exclude_self=True), whole, strict=True):
        np.testing.assert_array_equal(got, expected)
    assert max(rows for rows, _ in seen) == 256 and max(width for _, width in seen) <= 192
    assert len(seen) == 8 * 11


def test_renaming_items_renames_the_graph():
    rng = np.random.default_rng(5)
    features, order = rng.standard_normal((200, 8)).astype(np.float32), rng.permutation(200)
    one, two = knn_graph(features, 5), knn_graph(features[order], 5)
    np.testing.assert_allclose(two.toarray(), one.toarray()[order][:, order], rtol=1e-6)


def test_graph_worked_out_on_paper():
    # Two edges a row, the item itself and its nearest: weight 1 over the square root of 2 times 2.
    graph = knn_graph(COMPASS, 2)
    expected = np.zeros((5, 5))
    expected[[0, 0, 1, 1, 2, 2, 3, 3], [0, 1, 1, 0, 2, 1, 3, 2]] = 1 / 2
    np.testing.assert_allclose(graph.toarray(), expected, rtol=1e-6)
    # Made mutual the edges are 0-1, 1-2, 2-3 and the loops: degrees 2, 3, 3, 2.
    mutual = knn_graph(COMPASS, 2, normalise="symmetric").toarray()
    np.testing.assert_allclose(mutual[0, 1], 6**-0.5, rtol=1e-6)
    np.testing.assert_allclose(mutual[2, 1], 1 / 3, rtol=1e-6)
    np.testing.assert_array_equal(mutual, mutual.T)


def test_cosine_weights_and_row_normalisation_worked_out_on_paper():
    # Item 2's neighbours are itself (1) and item 1 (sqrt 1/2); item 3 has no other of positive cosine.
    graph = knn_graph(COMPASS, 2, weight="cosine", normalise="row").toarray()
    h = 0.5**0.5
    np.testing.assert_allclose(graph[2], [0, h / (1 + h), 1 / (1 + h), 0, 0], rtol=1e-6)
    np.testing.assert_allclose(graph[3], [0, 0, 0, 1, 0], rtol=1e-6)
    raw = knn_graph(COMPASS, 1, include_self=False, weight="cosine", normalise=None).toarray()
    np.testing.assert_allclose(raw[1], [h, 0, 0, 0, 0], rtol=1e-6)


def test_missing_items_are_isolated_in_the_graph():
    rng = np.random.default_rng(6)
    features, mask = rng.standard_normal((50, 4)).astype(np.float32), rng.random(50) > 0.3
    features[~mask] = np.nan  # what a missing row holds is nobody's business
    graph = knn_graph(features, 4, mask).toarray()
    assert np.isfinite(graph).all()
    assert not graph[~mask].any() and not graph[:, ~mask].any()
    assert (np.count_nonzero(graph[mask], axis=1) == 4).all()


def test_every_item_is_its_own_first_neighbour_even_among_copies():
    graph = knn_graph(np.ones((30, 2), np.float32), 3, normalise=None)
    assert (graph.diagonal() == 1).all()
    assert (np.diff(graph.indptr) == 3).all()


def test_item_graph_is_the_weighted_sum():
    one, two = sp.csr_matrix([[0.5, 0.5], [0, 1.0]]), sp.csr_matrix([[1.0, 0], [0, 1.0]])
    np.testing.assert_allclose(item_graph([one, two], [0.2, 0.8]).toarray(), [[0.9, 0.1], [0, 1]], rtol=1e-6)
    with pytest.raises(GraphError, match="one weight a graph"):
        item_graph([one, two], [1.0])
    with pytest.raises(GraphError, match="different shapes"):
        item_graph([one, sp.csr_matrix((3, 3))], [0.5, 0.5])


def test_neighbour_lists_become_rows():
    graph = neighbour_graph(np.array([[2, 0], [-1, -1]]), np.array([[0.5, 0.25], [9, 9]]), 3)
    assert graph.toarray().tolist() == [[0.25, 0, 0.5], [0, 0, 0]]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: knn(COMPASS, COMPASS, 0), "k must be at least 1"),
        (lambda: knn(COMPASS, COMPASS[:, :1], 1), "2 wide and the base 1"),
        (lambda: knn(COMPASS[:2], COMPASS, 1, exclude_self=True), "same rows twice"),
        (lambda: knn(COMPASS, COMPASS, 1, base_mask=np.ones(3, bool)), r"shape \(3,\), expected \(5,\)"),
        (lambda: knn(COMPASS[0], COMPASS, 1), "must be a matrix"),
        (lambda: knn(COMPASS * [np.nan, 1], COMPASS, 1), "query row 0 holds NaN"),
        (lambda: knn_graph(COMPASS, 2, weight="heat"), "unknown weight 'heat'"),
        (lambda: knn_graph(COMPASS, 2, normalise="columns"), "unknown normalisation 'columns'"),
        (lambda: knn_graph(COMPASS, 0), "k must be at least 1"),
    ],
)
def test_bad_calls_say_what_is_wrong(call, message):
    with pytest.raises(GraphError, match=message):
        call()
