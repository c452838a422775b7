"""Objectives: tensors in, a scalar out; no model inside. Found by name in `OBJECTIVES`."""

from recsys.registry import Registry

OBJECTIVES = Registry(
    "objective",
    "recsys.objectives",
    {
        "bpr": "recsys.objectives.bpr:bpr",
        "l2": "recsys.objectives.l2:l2",
    },
)
