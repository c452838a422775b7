"""Re-ranking: the best items of a user's list in another order, for diversity. Steps by name: `RERANKERS`."""

from recsys.registry import Registry

RERANKERS = Registry(
    "re-ranking step",
    "recsys.reranking",
    {
        "calibrated": "recsys.reranking.calibrated:Calibrated",
        "caps": "recsys.reranking.caps:Caps",
        "mmr": "recsys.reranking.mmr:MMR",
    },
    accepts=lambda part: isinstance(part, type) and hasattr(part, "Settings"),
    expected="a subclass of recsys.reranking.base.Reranker",
)
"""A step is a class with `Settings`, made from them and from `recsys.evaluation.facts.Facts`; see
`recsys.reranking.base.Reranker`."""
