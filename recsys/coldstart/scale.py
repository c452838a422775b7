"""How long cold items' vectors are beside warm ones: a factor that validation chooses.

A mean of neighbours is shorter than they are, and what content predicts lies near the mean: inner products with cold
items vary less than those with warm ones, so that few lists reach down to them, however well they are ranked among
themselves. A factor leaves that order and changes how they stand beside warm items.
"""

from __future__ import annotations

from typing import Any, Literal

from recsys.settings import setting

SCALES = (1.0, 1.1, 1.25, 1.5, 1.75, 2.0, 2.5, 3.0)
"""Factors that are tried."""
ColdScale = Literal["none", "overall", "harmonic"]


def cold_scale_setting() -> Any:
    """The setting `calibrate_cold_scale` of a model whose cold items' vectors come from content."""
    return setting(
        "none",
        "what a factor of cold items' vectors is chosen by on validation: nothing, all answers, or the harmonic mean "
        "of warm and cold ones",
    )
