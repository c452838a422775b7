"""Time the evaluator against a loop over users and against the bare matrix product and top-k.

Run `python -m recsys.experiments.benchmarks.evaluator`. Vectors are random; the ground truth is random too, at the
size of the tiktok data set, or that data set's own where `--data-root` names the folder that holds it.
All are timed in turn, several rounds, and the best of each is compared: on a shared machine the best round is
the one least disturbed.
"""

from __future__ import annotations

import argparse
import heapq
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
    from recsys.datasets.cards import load_dataset
    from recsys.datasets.splits import make_split

    dataset = load_dataset("tiktok", root)
    split = make_split(dataset, "predefined", seed=0)
    return dataset.matrix(np.union1d(split.train, split.valid)), dataset.matrix(split.test)


def by_sorting(scores: np.ndarray, seen: np.ndarray) -> list[int]:
    """Top K by sorting the whole row: the fastest plain loop."""
    scores[seen] = -np.inf
    return np.argsort(-scores)[:K].tolist()


def by_heap(scores: np.ndarray, seen: np.ndarray) -> list[int]:
    """Top K as the evaluation loop that NGCF published does it, and LATTICE and MMSSL after it: a dictionary of
    all candidates' scores, and a heap over it."""
    candidates = set(range(len(scores))) - set(seen.tolist())
    by_item = {item: scores[item] for item in candidates}
    return heapq.nlargest(K, by_item, key=by_item.get)


def user_loop(
    users: np.ndarray,
    items: np.ndarray,
    seen: sp.csr_array,
    truth: sp.csr_array,
    rank: Callable[[np.ndarray, np.ndarray], list[int]],
) -> dict[str, float]:
    """The same metrics one user at a time."""
    totals, n = dict.fromkeys(METRICS, 0.0), 0
    for user in range(truth.shape[0]):
        relevant = set(truth.indices[truth.indptr[user] : truth.indptr[user + 1]].tolist())
        if not relevant:
            continue
        known = seen.indices[seen.indptr[user] : seen.indptr[user + 1]]
        hits = [item in relevant for item in rank(items @ users[user], known)]
        ideal = sum(1 / np.log2(t + 2) for t in range(min(K, len(relevant))))
        totals[f"recall@{K}"] += sum(hits) / len(relevant)
        totals[f"precision@{K}"] += sum(hits) / K
        totals[f"ndcg@{K}"] += sum(1 / np.log2(t + 2) for t, hit in enumerate(hits) if hit) / ideal
        totals[f"hr@{K}"] += any(hits)
        totals[f"mrr@{K}"] += 1 / (hits.index(True) + 1) if any(hits) else 0.0
        precisions = [sum(hits[: t + 1]) / (t + 1) for t, hit in enumerate(hits) if hit]
        totals[f"map@{K}"] += sum(precisions) / min(K, len(relevant))
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
    loop = user_loop(users, items, seen, truth, by_sorting)
    for name in METRICS:
        if abs(ours[name] - loop[name]) > 1e-6:
            raise SystemExit(f"{name}: evaluator {ours[name]}, loop {loop[name]}")
    work = {
        "evaluator": lambda: evaluator.evaluate(scorer, block_size=args.block),
        "bare": lambda: product_and_top_k(user_vectors, item_vectors, test_users, args.block),
        "sorting": lambda: user_loop(users, items, seen, truth, by_sorting),
        "heap": lambda: user_loop(users, items, seen, truth, by_heap),
    }
    rounds = {"sorting": 3, "heap": 1}  # these take seconds, so few rounds tell as much
    best = dict.fromkeys(work, np.inf)
    for number in range(args.rounds):
        for name in work:
            if number < rounds.get(name, args.rounds):
                best[name] = min(best[name], seconds(work[name]))

    print(
        f"{len(test_users)} test users, {truth.shape[1]} items, width {WIDTH}, K {K}, {args.threads} threads"
    )
    print(f"evaluator ({len(METRICS)} metrics)         {1000 * best['evaluator']:9.1f} ms")
    print(f"matrix product + top-k        {1000 * best['bare']:9.1f} ms")
    print(f"loop over users, sorted rows  {1000 * best['sorting']:9.1f} ms")
    print(f"loop over users, heap         {1000 * best['heap']:9.1f} ms")
    print(f"evaluator / bare              {best['evaluator'] / best['bare']:9.2f}  (at most 2 wanted)")
    print(f"loop with heap / evaluator    {best['heap'] / best['evaluator']:9.1f}  (at least 20 wanted)")
    print(
        f"loop with sort / evaluator    {best['sorting'] / best['evaluator']:9.1f}  "
        f"(bare itself: {best['sorting'] / best['bare']:.1f})"
    )


if __name__ == "__main__":
    main()
