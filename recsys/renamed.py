"""Settings and options of splits that were renamed: old -> new. An old name is refused, and the new one named."""

COMPONENTS = {
    "calibrated": "cm3",
    "contrastive": "mmhcl",
    "collaborative": "lightgcn",
    "adaptive": "aff",
    "tower": "twotower",
    "walk": "hyperwalk",
    "linear": "ease",
    "ridge": "contentridge",
    "factors": "wmf",
    "popularity": "pop",
}
"""What Confluence called its components, and the models that they are."""

RENAMED: dict[str, str] = {
    **{old: f"components.{model}.weight" for old, model in COMPONENTS.items()},
    **{f"{old}_options": f"components.{model}.settings" for old, model in COMPONENTS.items()},
    "cold_weights": "components.NAME.cold_weight",
    "cold_lift": "cold_offset",
    "lift": "calibrate_cold_offset",
    "members": "ensemble_size",
    "newcomers": "new_users",
    "settle": "calibrate",
    "shots": "support",
}
"""A key counts only where no setting has it and the first part of the new one is there."""
