"""Full-catalogue ranking, metrics with exact ties, groups, and lists made elsewhere. Metrics by name: `METRICS`."""

from recsys.registry import Registry, is_function

METRICS = Registry(
    "metric",
    "recsys.metrics",
    {name: f"recsys.evaluation.metrics:{name}" for name in ("recall", "ndcg", "precision", "hr", "mrr")}
    | {"map": "recsys.evaluation.metrics:average_precision"}
    | {name: f"recsys.evaluation.lists:{name}" for name in ("coverage", "popularity")},
    accepts=is_function,
    expected="a function metric(hits, k)",
)
"""A metric of each user's list is a function `metric(hits: RankedHits, k: int) -> (b,) float64`; one of all lists
together, marked with `recsys.evaluation.lists.of_all_lists`, is `metric(lists: ListStatistics, k: int) -> float`."""
