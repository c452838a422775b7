"""A test's figures, as attributes and as a frame."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from recsys.errors import UserError, nearest
from recsys.runs.artifacts import GROUPS, test_key


class Figures(dict[str, float]):
    """Metric -> value; one that was not measured is a UserError that says how to ask for it."""

    def __missing__(self, metric: str) -> float:
        if not self:
            raise UserError(
                "this run was trained on everything: nothing was held out, so nothing was measured"
            )
        raise UserError(
            f"'{metric}' was not measured{nearest(metric, self)}; ask for it with metrics=['{metric}']"
        )


class RunMetrics:
    """The test's figures by group: `test` for all answers, and `warm`, `cold`, `cold_pool`, `head`, `tail`,
    `warm_users`, `cold_users` where the split has such items or users.

    Args:
        values: what metrics.json holds.

    Stability: stable.

    Example:
        >>> metrics = RunMetrics({"test": {"ndcg@20": 0.25}, "chance": {"test": {"ndcg@20": 0.1}}})
        >>> metrics.test["ndcg@20"], metrics.chance.test["ndcg@20"]
        (0.25, 0.1)
    """

    def __init__(self, values: Mapping[str, Any]):
        self.values = dict(values)
        names = {group: test_key(group) for group in GROUPS}
        self._groups = {
            "test" if group == "overall" else group: Figures(values[key])
            for group, key in names.items()
            if values.get(key) is not None
        }

    def __getattr__(self, group: str) -> Figures:
        groups: dict[str, Figures] = self.__dict__.get("_groups", {})
        if group in groups:
            return groups[group]
        raise AttributeError(f"there are no figures of '{group}'; the test has {', '.join(groups)}")

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *self._groups]

    @property
    def chance(self) -> RunMetrics:
        """What a random order of the same candidates is expected to score."""
        return RunMetrics(self.values.get("chance", {}))

    @property
    def users(self) -> dict[str, int]:
        """How many users each group's figures are the mean of."""
        counts = self.values.get("users", {})
        return {("test" if key == "test" else key.removeprefix("test_")): n for key, n in counts.items()}

    @property
    def frame(self) -> pd.DataFrame:
        """A row for each group, a column for each metric."""
        return pd.DataFrame.from_dict(self._groups, orient="index")

    def __repr__(self) -> str:
        return str(self.frame.to_string(float_format="{:.4f}".format))

    def _repr_html_(self) -> str:
        return str(self.frame.to_html(float_format="{:.4f}".format))
