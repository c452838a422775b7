"""Full-catalogue ranking, metrics with exact ties, groups, and lists made elsewhere. Metrics by name: `METRICS`."""

from recsys.registry import Registry, is_function

OF_ALL_LISTS = (
    "coverage",
    "popularity",
    "popularity_lift",
    "gini",
    "entropy",
    "exposure_gap",
    "opportunity_gap",
    "user_gap",
)
OF_EACH_LIST = ("novelty", "long_tail", "ild", "serendipity")
METRICS = Registry(
    "metric",
    "recsys.metrics",
    {name: f"recsys.evaluation.metrics:{name}" for name in ("recall", "ndcg", "precision", "hr", "mrr")}
    | {"map": "recsys.evaluation.metrics:average_precision"}
    | {name: f"recsys.evaluation.exposure:{name}" for name in OF_ALL_LISTS}
    | {name: f"recsys.evaluation.diversity:{name}" for name in OF_EACH_LIST},
    accepts=is_function,
    expected="a function metric(hits, k)",
)
"""A metric of each user's list is a function `metric(hits: RankedHits, k: int) -> (b,) float64`. One of what is listed,
relevant or not, marked with `recsys.evaluation.lists.of_each_list`, is `metric(lists: RankedLists, k: int) -> (b,)
float64`; one of all lists together, marked with `of_all_lists`, is `metric(lists: ListStatistics, k: int) -> float`.
One that is marked with `takes` gets the name that stands behind its dot as a third argument."""
