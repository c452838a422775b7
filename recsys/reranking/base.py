"""What every re-ranking step is: the candidates of a block of users in, the places of their new lists out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import scipy.sparse as sp

from recsys.errors import UserError
from recsys.evaluation.facts import Facts
from recsys.reranking import RERANKERS
from recsys.settings import Settings, build, setting

CELLS = 2**22
"""Numbers that a block of users holds at once, about."""


class RerankSettings(Settings):
    """Settings that every step has."""

    candidates: int = setting(
        100, "how many of a user's best items it chooses from", low=1, high=10_000, search=(50, 500), log=True
    )


class Reranker:
    """Chooses a list greedily, one place after another, from a user's best items.

    What it chooses for the first places does not depend on how long the list is to be. A step gives `gains`, and
    `begin` and `chosen` where its gains depend on what has been chosen.

    Args:
        settings: the step's own.
        facts: content and attributes of the items, new items behind the catalogue's.

    Raises:
        UserError: the items have no such modality or attribute.
    """

    Settings: ClassVar[type[RerankSettings]] = RerankSettings

    def __init__(self, settings: Any, facts: Facts):
        self.settings, self.facts = settings, facts

    def width(self) -> int:
        """Numbers that it holds of each candidate."""
        return 1

    def begin(self, items: np.ndarray, history: sp.csr_array) -> None:
        """Prepare for the users of a block.

        Args:
            items: (b, n) int64 candidates.
            history: (b, n_items) CSR, what each user is known to like of the catalogue.
        """

    def gains(self, relevance: np.ndarray) -> np.ndarray:
        """(b, n) float64: what each candidate would add to what has been chosen so far, for the next place.

        Args:
            relevance: (b, n) float64 scores, of each user's candidates from 0 to 1.
        """
        raise NotImplementedError

    def chosen(self, places: np.ndarray) -> None:
        """Take note of (b,) int64 places among the candidates that have been chosen."""

    def order(self, items: np.ndarray, scores: np.ndarray, history: sp.csr_array, k: int) -> np.ndarray:
        """The new lists: (b, min(k, n)) int64 places among the candidates. Of equal gains the first counts.

        Args:
            items: (b, n) int64 candidates, best first.
            scores: (b, n) their scores; one of -inf is none and comes last.
            history: (b, n_items) CSR, what each user is known to like.
        """
        n_users, n = items.shape
        order = np.empty((n_users, min(k, n)), dtype=np.int64)
        size = max(1, CELLS // max(1, n * self.width()))
        for low in range(0, n_users, size):
            block = slice(low, low + size)
            self._order(items[block], scores[block], history[block], order[block])
        return order

    def _order(self, items: np.ndarray, scores: np.ndarray, history: sp.csr_array, order: np.ndarray) -> None:
        real, rows = np.isfinite(scores), np.arange(len(items))
        scores = np.where(real, scores, np.nan).astype(np.float64)
        with np.errstate(invalid="ignore"):
            low = np.nanmin(np.where(real.any(1, keepdims=True), scores, 0.0), axis=1, keepdims=True)
            high = np.nanmax(np.where(real.any(1, keepdims=True), scores, 0.0), axis=1, keepdims=True)
        span = np.where(high > low, high - low, 1.0)
        relevance = np.where(real, (scores - low) / span, 0.0)
        left = np.where(real, 1, 0)
        self.begin(items, history)
        for place in range(order.shape[1]):
            # First what has not been chosen and is a candidate, then what is none.
            gains = np.where(left == 1, self.gains(relevance), -np.inf)
            best = np.where((left == 1).any(axis=1), gains.argmax(axis=1), (left == 0).argmax(axis=1))
            order[:, place], left[rows, best] = best, -1
            self.chosen(best)


def make_reranker(name: str, options: Mapping[str, Any], facts: Facts) -> Reranker:
    """The step called `name` with these settings.

    Raises:
        UserError: there is no such step or setting, or nothing in `facts` that it names.
    """
    step = RERANKERS.get(name)
    return step(build(step.Settings, options, f"re-ranking '{name}'"), facts)  # type: ignore[no-any-return]


def named(kind: str, name: str, step: str, facts: Facts) -> str:
    """The modality or attribute that a step reads: `name`, or the only modality where that is empty.

    Args:
        kind: "modality" or "item group".

    Raises:
        UserError: there is none of this name, or several and none was named.
    """
    known = facts.known(kind)
    if not name and kind == "modality" and len(known) == 1:
        return known[0]
    setting_name = "modality" if kind == "modality" else "attribute"
    if not name:
        there = f"one of {', '.join(known)}" if known else "this data set has none"
        raise UserError(
            f"re-ranking '{step}' reads one {setting_name}: name it with {setting_name}=NAME; {there}"
        )
    facts.check(kind, name, f"re-ranking '{step}'")
    return name
