"""Time the evaluator against a loop over users and against the bare matrix product and top-k.

Run `python -m recsys.experiments.bench_evaluator`. Vectors are random; the ground truth is random too, at the
size of the tiktok data set, or that data set's own where `--data-root` names the folder that holds it.
The three are timed in turn, several rounds, and the best of each is compared: on a shared machine the best
round is the one least disturbed.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import scipy.sparse as sp
import torch

from recsys.evaluation.evaluator import Evaluator
from recsys.evaluation.scorers import VectorScorer

N_USERS, N_ITEMS, N_TEST_USERS, WIDTH, K = 9308, 6710, 6130, 64, 20
METRICS = tuple(f"{name}@{K}" for name in ("recall", "ndcg", "precision", "hr", "mrr", "map"))


def synthetic(rng: np.random.Generator) -> tuple[sp.csr_array, sp.csr_array]:
    """(seen, truth) CSR: about six seen items a user, and one to find for each test user."""
    seen = sp.random_array((N_USERS, N_ITEMS), density=6.4 / N_ITEMS, rng=rng, format="csr", dtype=np.float32)
    seen.data[:] = 1.0
    users = rng.permutation(N_USERS)[:N_TEST_USERS]
    pairs = (users, rng.integers(0, N_ITEMS, N_TEST_USERS))
    truth = sp.csr_array((np.ones(N_TEST_USERS, np.float32), pairs), shape=seen.shape)
    truth = truth - truth.multiply(seen)
    truth.eliminate_zeros()
    return seen, truth.tocsr()


def tiktok(root: Path) -> tuple[sp.csr_array, sp.csr_array]:
    """(seen, truth) CSR of the data set's own split."""
    from recsys.datasets import load, make_split

    dataset = load("tiktok", root)
    split = make_split(dataset, "predefined", seed=0)
    return dataset.matrix(np.union1d(split.train, split.valid)), dataset.matrix(split.test)


def user_loop(
    users: np.ndarray, items: np.ndarray, seen: sp.csr_array, truth: sp.csr_array
) -> dict[str, float]:
    """The same metrics as most code bases compute them: one user at a time, scores sorted, sets compared."""
    totals, n = dict.fromkeys(METRICS, 0.0), 0
    for user in range(truth.shape[0]):
        relevant = set(truth.indices[truth.indptr[user] : truth.indptr[user + 1]].tolist())
        if not relevant:
            continue
        scores = items @ users[user]
        scores[seen.indices[seen.indptr[user] : seen.indptr[user + 1]]] = -np.inf
        hits = [item in relevant for item in np.argsort(-scores)[:K].tolist()]
        ideal = sum(1 / np.log2(t + 2) for t in range(min(K, len(relevant))))
        totals[f"recall@{K}"] += sum(hits) / len(relevant)
        totals[f"precision@{K}"] += sum(hits) / K
        totals[f"ndcg@{K}"] += sum(1 / np.log2(t + 2) for t, hit in enumerate(hits) if hit) / ideal
        totals[f"hr@{K}"] += any(hits)
        totals[f"mrr@{K}"] += 1 / (hits.index(True) + 1) if any(hits) else 0.0
        found = [sum(hits[: t + 1]) / (t + 1) for t, hit in enumerate(hits) if hit]
        totals[f"map@{K}"] += sum(found) / min(K, len(relevant))
        n += 1
    return {name: total / n for name, total in totals.items()}


def product_and_top_k(users: torch.Tensor, items: torch.Tensor, test_users: np.ndarray, block: int) -> None:
    """What no full ranking can do without."""
    for low in range(0, len(test_users), block):
        (users[torch.from_numpy(test_users[low : low + block])] @ items.T).topk(K, dim=1)


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description="Time the evaluator at the size of tiktok.")
    parser.add_argument("--data-root", type=Path, help="folder of data sets; without it, synthetic data")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--block", type=int, default=512)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    rng = np.random.default_rng(0)
    seen, truth = tiktok(args.data_root) if args.data_root else synthetic(rng)
    users, items = (rng.standard_normal((n, WIDTH), dtype=np.float32) for n in truth.shape)
    user_vectors, item_vectors = torch.from_numpy(users), torch.from_numpy(items)
    test_users = np.flatnonzero(np.diff(truth.indptr))
    evaluator, scorer = Evaluator(truth, seen, metrics=METRICS), VectorScorer(user_vectors, item_vectors)

    ours = evaluator.evaluate(scorer).metrics["overall"]
    loop = user_loop(users, items, seen, truth)
    for name in METRICS:
        if abs(ours[name] - loop[name]) > 1e-6:
            raise SystemExit(f"{name}: evaluator {ours[name]}, loop {loop[name]}")
    best = {"evaluator": np.inf, "bare": np.inf, "loop": np.inf}
    for number in range(args.rounds):
        best["evaluator"] = min(
            best["evaluator"], seconds(lambda: evaluator.evaluate(scorer, block_size=args.block))
        )
        bare = seconds(lambda: product_and_top_k(user_vectors, item_vectors, test_users, args.block))
        best["bare"] = min(best["bare"], bare)
        if number < 3:  # the loop takes seconds, so few rounds tell as much
            best["loop"] = min(best["loop"], seconds(lambda: user_loop(users, items, seen, truth)))

    print(
        f"{len(test_users)} test users, {truth.shape[1]} items, width {WIDTH}, K {K}, {args.threads} threads"
    )
    print(f"evaluator ({len(METRICS)} metrics)   {1000 * best['evaluator']:8.1f} ms")
    print(f"matrix product + top-k  {1000 * best['bare']:8.1f} ms")
    print(f"loop over users         {1000 * best['loop']:8.1f} ms")
    print(f"loop / evaluator        {best['loop'] / best['evaluator']:8.1f}  (at least 20 wanted)")
    print(f"evaluator / bare        {best['evaluator'] / best['bare']:8.2f}  (at most 2 wanted)")


if __name__ == "__main__":
    main()
