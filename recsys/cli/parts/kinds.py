"""The kinds of parts that can be added, and the registry of each."""

from __future__ import annotations

from recsys.registry import Registry

KINDS = Registry(
    "kind of part",
    None,
    {
        "models": "recsys.models:MODELS",
        "objectives": "recsys.objectives:OBJECTIVES",
        "content": "recsys.datasets.content:CONTENT",
        "metrics": "recsys.evaluation:METRICS",
        "reranking": "recsys.reranking:RERANKERS",
        "readers": "recsys.datasets.readers:READERS",
        "splits": "recsys.datasets:SPLITS",
        "datasets": "recsys.datasets:CARDS",
        "commands": "recsys.cli.app:COMMANDS",
    },
)
