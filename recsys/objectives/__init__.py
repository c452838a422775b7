"""Objectives: tensors in, a scalar out; no model inside. Found by name in `OBJECTIVES`."""

from recsys.registry import Registry, is_function

_FOLDERS = {
    "ranking.": ("bce", "bpr", "sampled_softmax"),
    "contrastive.": (
        "anchored_infonce",
        "gram",
        "hard_negative",
        "infonce",
        "mixup",
        "mv_dhel",
        "mv_infonce",
    ),
    "alignment.": ("alignment", "calibrated_uniformity", "negative_free", "uniformity"),
    "": ("l2",),
}

# Each objective is a function of the same name as its file.
OBJECTIVES = Registry(
    "objective",
    "recsys.objectives",
    {
        name: f"recsys.objectives.{folder}{name}:{name}"
        for folder, names in _FOLDERS.items()
        for name in names
    },
    accepts=is_function,
    expected="a function of tensors",
)
