"""What an experiment does to content: the steps of a sweep over missing modalities, and controls beside models."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any, Literal

from recsys.datasets.cards import dataset_label
from recsys.datasets.dataset import Dataset
from recsys.datasets.splits import Split, SplitOption
from recsys.errors import UserError
from recsys.inputs.corruption import ContentCorruption, check
from recsys.settings import Settings, setting


class Missing(Settings):
    """A sweep over missing and noisy modalities: every rate with every pattern, filling and noise."""

    rates: list[float] = setting([0.0, 0.25, 0.5, 0.75, 1.0], "shares of the items")
    patterns: list[Literal["random", "test", "tail", "modality"]] = setting(["random"], "who loses")
    fills: list[Literal["mask", "zero", "mean", "neighbours"]] = setting(["mask"], "what stands in the place")
    noise: list[float] = setting([0.0], "standard deviations of the noise that is added to the features")
    modality: str = setting("", "the one that pattern 'modality' takes away")

    def steps(self) -> list[ContentCorruption]:
        """What each step does. Where nothing is missing there is no pattern."""
        distinct = {}
        for pattern, fill, noise, rate in itertools.product(
            self.patterns, self.fills, self.noise, self.rates
        ):
            lost: dict[str, Any] = {"pattern": pattern} if rate else {}
            if rate and pattern == "modality":
                lost["modality"] = self.modality
            step = ContentCorruption(missing=rate, fill=fill, noise=noise, **lost)
            distinct[step.model_dump_json()] = step
        return list(distinct.values())


def check_steps(steps: list[ContentCorruption], controls: bool, dataset: Dataset, split: Split) -> None:
    """UserError where a step or a control cannot be."""
    for step in [*steps, *([ContentCorruption(control="ids")] if controls else [])]:
        check(dataset, split, step)


def config_title(
    dataset: str, split: str, options: Mapping[str, SplitOption], content: ContentCorruption, tested: str = ""
) -> str:
    """What stands above the table of runs that share these; a control stands beside what it controls.

    Args:
        tested: `RunConfig.tested`.
    """
    named = (
        f"{key} {value}" if isinstance(value, str) else f"{key} {value:g}"
        for key, value in sorted(options.items())
    )
    parts = [f"{dataset_label(dataset)}, {split}", *named]
    parts += [content.title] if content.title else []
    return ", ".join([*parts, *([tested] if tested else [])])


def check_missing(missing: Missing, where: str) -> None:
    """UserError for what a single value's type cannot tell."""
    for key in ("rates", "patterns", "fills", "noise"):
        values = getattr(missing, key)
        if not values or len(set(values)) < len(values):
            raise UserError(f"missing of {where}: {key}: expected at least one, each once, got {values}")
    if outside := [rate for rate in missing.rates if not 0 <= rate <= 1]:
        raise UserError(f"missing of {where}: rates: expected shares from 0 to 1, got {outside[0]}")
    if min(missing.noise) < 0:
        raise UserError(f"missing of {where}: noise: expected 0 or more, got {min(missing.noise)}")
