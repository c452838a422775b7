"""WMF, ItemKNN and EASE beside implicit and NumPy: `python -m recsys.experiments.benchmarks.closed_forms ml-100k`.

CPU seconds, the least of a few fits, of ours and of the reference with equal settings in the same process, and the
recall at 20 on a tenth of the interactions. WMF is the model as it fits, from singular vectors and with all users
folded in; its sweeps alone, from random rows as implicit's, are told apart. The reference of ease-sparse, scores of all
users included, is EASE. Needs `pip install "recsys[benchmarks]"`.
Set OMP_NUM_THREADS=1 for ratios that the load of the machine does not move.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.sparse as sp

from recsys.datasets.cards import load_dataset
from recsys.graphs.cooccurrence import cooccurrence_graph
from recsys.inputs.training_data import TrainingData
from recsys.models.closed_form.ease import EASE, EASESettings
from recsys.models.closed_form.ease_sparse import SparseEASESettings, inverse_factor
from recsys.models.closed_form.wmf import WMF, WMFSettings
from recsys.optional_imports import require
from recsys.solvers.als import weighted_factors

WIDTH, SWEEPS, CONFIDENCE, REG, K, RIDGE = 128, 10, 10.0, 50.0, 100, 50.0


def timed(call: Callable[[], Any], repeats: int = 3) -> tuple[float, Any]:
    """The least CPU seconds of `repeats` calls, and what the last one gave."""
    took = []
    for _ in range(repeats):
        start = time.process_time()
        result = call()
        took.append(time.process_time() - start)
    return min(took), result


def recall(scores: np.ndarray, train: sp.csr_array, truth: sp.csr_array) -> float:
    """Mean recall at 20 of the users with an answer."""
    scores = np.array(scores, dtype=np.float64)
    scores[train.nonzero()] = -np.inf
    top = np.argpartition(-scores, 20, axis=1)[:, :20]
    held = truth.toarray()
    answers = held.sum(axis=1)
    hits = np.take_along_axis(held, top, axis=1).sum(axis=1)
    return float((hits / np.minimum(answers, 20).clip(1))[answers > 0].mean())


def bench(name: str) -> None:
    implicit = require("implicit", "benchmarks")
    require("implicit.nearest_neighbours", "benchmarks")
    dataset = load_dataset(name)
    rows = np.arange(len(dataset.interactions))
    held = np.random.default_rng(0).random(len(rows)) < 0.1
    train, truth = (
        sp.csr_array(dataset.matrix(part), dtype=np.float32) for part in (rows[~held], rows[held])
    )
    plain, data = sp.csr_matrix(train), TrainingData(train)
    print(f"{name}: {train.shape[0]:,} users, {train.shape[1]:,} items, {train.nnz:,} training interactions")

    def line(what: str, ours: float, other: float, scores: list[np.ndarray]) -> None:
        found = " and ".join(f"{recall(part, train, truth):.4f}" for part in scores)
        print(
            f"  {what:8s} {ours:8.3f} s, reference {other:8.3f} s, ratio {ours / other:5.2f}; recall {found}"
        )

    def als() -> Any:
        made = implicit.als.AlternatingLeastSquares(
            WIDTH, regularization=REG, alpha=1 + CONFIDENCE, iterations=SWEEPS, random_state=0, num_threads=1
        )
        made.fit(plain, show_progress=False)
        return made

    def wmf() -> list[np.ndarray]:
        model = WMF(WMFSettings(width=WIDTH, sweeps=SWEEPS, confidence=CONFIDENCE, reg=REG), data, 0)
        model.fit()
        return [part.numpy() for part in model()[:2]]

    def alternations() -> tuple[np.ndarray, np.ndarray]:
        return weighted_factors(train, WIDTH, confidence=CONFIDENCE, reg=REG, sweeps=SWEEPS)

    other, made = timed(als)
    reference = made.user_factors @ made.item_factors.T
    for what, fit in (("WMF", wmf), ("sweeps", alternations)):
        ours, vectors = timed(fit)
        line(what, ours, other, [vectors[0] @ vectors[1].T, reference])

    def cosine() -> Any:
        made = implicit.nearest_neighbours.CosineRecommender(
            K + 1, num_threads=1
        )  # it counts the item itself
        made.fit(plain, show_progress=False)
        return made

    ours, graph = timed(lambda: cooccurrence_graph(plain, K))
    other, made = timed(cosine)
    line("ItemKNN", ours, other, [(train @ matrix.T).toarray() for matrix in (graph, made.similarity)])

    def numpy_ease() -> np.ndarray:
        gram = (train.T.astype(np.float64) @ train).toarray()
        gram[np.diag_indices(len(gram))] += RIDGE
        inverse = np.linalg.inv(gram)
        weights = inverse / -inverse.diagonal()
        weights[np.diag_indices(len(weights))] = 0
        return weights

    def ease() -> np.ndarray:
        model = EASE(EASESettings(regularisation=RIDGE), data, 0)
        model.fit()
        return model.get_buffer("weights").numpy()

    (ours, weights), (other, reference) = timed(ease, 1), timed(numpy_ease, 1)
    line("EASE", ours, other, [train @ matrix for matrix in (weights, reference)])

    def sparse() -> np.ndarray:
        factor = inverse_factor(train, RIDGE, SparseEASESettings().k)
        diagonal = np.asarray(factor.multiply(factor).sum(axis=0)).ravel()
        return train - ((train @ factor.T) @ factor).toarray() / diagonal

    took, scores = timed(sparse, 1)
    line("sparse", took, ours, [scores, train @ weights])


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("datasets", nargs="+")
    for name in parser.parse_args(arguments).datasets:
        bench(name)


if __name__ == "__main__":
    main()
