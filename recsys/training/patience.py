"""When a training stops, and which of its epochs is kept."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from statistics import fmean
from typing import Any

RISEN = 1.1
"""A model has left popularity behind once it validates so many times as well."""


class Patience:
    """Follows the validations of one training: which is the best so far, and whether to stop.

    Many models learn popularity in their first epochs, and stay there for dozens before they learn tastes. A training
    stopped there says nothing of its model: as long as the best validation is not RISEN times popularity's, patience
    is `plateau` times as long.

    Args:
        patience: validations without improvement before training stops.
        plateau: how many times as long it is at popularity's level.
        smooth: validations whose mean is compared; the last of them is the one that is kept.
        popularity: gives popularity's value on the validation part; called when patience first runs out.

    Example:
        >>> rule = Patience(patience=2, plateau=1, smooth=1, popularity=lambda: 0.0)
        >>> [rule.better(value) for value in (0.1, 0.3, 0.2, 0.2)], rule.over()
        ([True, True, False, False], True)
    """

    def __init__(self, patience: int, plateau: int, smooth: int, popularity: Callable[[], float]):
        self.patience, self.plateau = patience, plateau
        self._popularity, self._popular = popularity, math.nan
        self.last: deque[float] = deque(maxlen=smooth)
        self.level, self.waited = -math.inf, 0

    def state_dict(self) -> dict[str, Any]:
        return {"last": list(self.last), "level": self.level, "waited": self.waited}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.last.extend(state["last"])
        self.level, self.waited = state["level"], state["waited"]

    def better(self, value: float) -> bool:
        """Add a validation; whether it is the best so far."""
        self.last.append(value)
        level = fmean(self.last)
        better = level > self.level
        self.level, self.waited = (level, 0) if better else (self.level, self.waited + 1)
        return better

    def over(self) -> bool:
        """Whether it has run out."""
        if self.waited < self.patience:
            return False
        if self.waited >= self.plateau * self.patience:
            return True
        if math.isnan(self._popular):
            self._popular = self._popularity()
        return self.level > RISEN * self._popular
