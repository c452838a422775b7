"""Objectives: tensors in, a scalar out; no model inside. Found by name in `OBJECTIVES`."""

from recsys.registry import Registry

_NAMES = (
    "alignment",
    "anchored_infonce",
    "bce",
    "bpr",
    "calibrated_uniformity",
    "gram",
    "hard_negative",
    "infonce",
    "l2",
    "mixup",
    "mv_dhel",
    "mv_infonce",
    "negative_free",
    "sampled_softmax",
    "uniformity",
)

# Each objective is a function of the same name as its file.
OBJECTIVES = Registry(
    "objective", "recsys.objectives", {name: f"recsys.objectives.{name}:{name}" for name in _NAMES}
)
