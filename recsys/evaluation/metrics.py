"""Metrics of a user's list: each a few lines over `RankedHits`, one value a user, the expected value over tied orders.

Notation: R relevant items of the user; rel_t is 1 if the item at rank t is relevant; the sums run over the
ranks t = 1..k. Every metric lies in [0, 1].
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from recsys.errors import UserError, nearest
from recsys.evaluation import METRICS
from recsys.evaluation.facts import Facts
from recsys.evaluation.hits import RankedHits

DEFAULT_METRICS = tuple(
    f"{name}@{k}"
    for name in ("recall", "ndcg", "precision", "hr", "mrr", "map", "coverage", "popularity")
    for k in (10, 20)
)
BUNDLE_METRICS = tuple(
    f"{name}@{k}" for name in ("recall", "ndcg", "coverage", "popularity") for k in (5, 10, 20, 40, 80)
)
"""What every run reports, of items for users and of items for bundles."""


@dataclass(frozen=True)
class MetricName:
    """A metric at a cut-off, such as `ndcg@20`, or of something that is named behind a dot, such as `ild.image@20`."""

    name: str
    k: int
    argument: str = ""

    def __str__(self) -> str:
        return f"{self.name}.{self.argument}@{self.k}" if self.argument else f"{self.name}@{self.k}"

    @property
    def of_all_lists(self) -> bool:
        """Whether it is a property of all lists together, with no value for each user."""
        return getattr(METRICS.get(self.name), "of_all_lists", False)

    @property
    def of_each_list(self) -> bool:
        """Whether it reads which items are listed, and not only which of them are relevant."""
        return getattr(METRICS.get(self.name), "of_each_list", False)

    @property
    def needs(self) -> tuple[MetricName, ...]:
        """The metrics whose values of each user it reads."""
        name = getattr(METRICS.get(self.name), "needs", "")
        return (MetricName(name, self.k),) if name else ()

    def of(self, lists: Any) -> Any:
        """Its value, of whatever it reads."""
        return METRICS.get(self.name)(lists, self.k, *([self.argument] if self.argument else []))


LONGEST = 100_000
"""Items of a list, at most."""


def parse_metric(text: str) -> MetricName:
    """Read "ndcg@20" or "ild.image@20". UserError where there is no such metric, the cut-off is not a positive integer,
    or what stands behind the dot is missing or too much."""
    whole, at, cut = text.partition("@")
    name, _, argument = whole.partition(".")
    if name not in METRICS and whole in METRICS:  # a package's own name may hold a dot
        name, argument = whole, ""
    if name not in METRICS:
        raise UserError(f"there is no metric '{name}'{nearest(name, METRICS)}")
    if not at or not cut.isascii() or not cut.isdigit() or len(cut) > 18 or int(cut) < 1:
        raise UserError(f"metric '{text:.80}' needs a positive integer cut-off, such as '{whole}@20'")
    if int(cut) > LONGEST:
        raise UserError(f"metric '{text}': lists of more than {LONGEST:,} items are not measured")
    kind = getattr(METRICS.get(name), "takes", "")
    if kind and not argument:
        raise UserError(f"metric '{text}' is of one {kind}: name it, as in '{name}.NAME@{cut}'")
    if argument and not kind:
        raise UserError(f"metric '{text:.80}': '{name}' takes no '.{argument:.40}'; ask for '{name}@{cut}'")
    return MetricName(name, int(cut), argument)


def check_metrics(metrics: Iterable[str], facts: Facts) -> None:
    """UserError where a metric is of a modality or a group that `facts` do not have."""
    for metric in map(parse_metric, metrics):
        if metric.argument:
            facts.check(getattr(METRICS.get(metric.name), "takes", ""), metric.argument, f"metric '{metric}'")


def _weighted(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    # Not `@`: BLAS adds in an order that depends on the number of rows, so that a user's value would
    # change in its last bits with the users beside them.
    return (values * weights).sum(axis=1)


def recall(hits: RankedHits, k: int) -> np.ndarray:
    """sum rel_t / R. The denominator is R, not min(k, R): with R > k even a perfect list stays below 1.
    Manning, Raghavan and Schuetze, Introduction to Information Retrieval (2008), section 8.3."""
    return hits.expected[:, :k].sum(axis=1) / hits.n_relevant


def precision(hits: RankedHits, k: int) -> np.ndarray:
    """sum rel_t / k, also where fewer than k items could be ranked.
    Manning, Raghavan and Schuetze (2008), section 8.4."""
    return hits.expected[:, :k].sum(axis=1) / k


def ndcg(hits: RankedHits, k: int) -> np.ndarray:
    """sum rel_t / log2(t + 1), divided by its value for the best list, whose first min(k, R) are relevant.
    Jarvelin and Kekalainen, Cumulated gain-based evaluation of IR techniques, ACM TOIS 20 (2002), with the
    discount log2(t + 1) and binary gains, as in the public code of LightGCN and MMRec."""
    discount = 1.0 / np.log2(np.arange(2, k + 2))
    ideal = np.cumsum(discount)[np.minimum(hits.n_relevant, k) - 1]
    return _weighted(hits.expected[:, :k], discount) / ideal


def hr(hits: RankedHits, k: int) -> np.ndarray:
    """1 if at least one relevant item stands in the first k, else 0 (hit ratio, success@k).
    Deshpande and Karypis, Item-based top-N recommendation algorithms, ACM TOIS 22 (2004)."""
    return 1.0 - hits.none[:, k]


def mrr(hits: RankedHits, k: int) -> np.ndarray:
    """1 / t of the first relevant item, 0 if there is none in the first k.
    Voorhees, The TREC-8 question answering track report (1999)."""
    return _weighted(hits.none[:, :k] * hits.hazard[:, :k], 1.0 / np.arange(1, k + 1))


def average_precision(hits: RankedHits, k: int) -> np.ndarray:
    """sum rel_t precision@t / min(k, R); its mean over users is MAP@k.
    Manning, Raghavan and Schuetze (2008), section 8.4, cut at k.

    Under ties E[rel_t sum_{s<=t} rel_s] is needed: ranks of different groups are independent; two ranks
    of one group of g items, r of them relevant, are both relevant with probability r(r-1) / (g(g-1)).
    """
    p, offset = hits.expected[:, :k], hits.offset[:, :k]
    above = np.cumsum(p, axis=1) - p * (offset + 1)
    pair = p * (hits.relevant[:, :k] - 1) / np.maximum(hits.size[:, :k] - 1, 1)
    total = _weighted(p * (1.0 + above) + offset * pair, 1.0 / np.arange(1, k + 1))
    return total / np.minimum(hits.n_relevant, k)
