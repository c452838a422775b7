"""Tuning: settings in, validation value out. The test set is not there: its rows are cut out beforehand."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from recsys.datasets.bundles import BundleView
from recsys.datasets.dataset import Dataset
from recsys.datasets.splits import NO_ROWS, Split, make_split
from recsys.models import MODELS
from recsys.runs.config import RunConfig, resolve, resolve_settings
from recsys.runs.run import check_device, training_data, validator

MONITOR = "ndcg@20"
"""What a closed-form model is tuned by; a trained one goes by its setting `monitor`."""


def without_test(dataset: Dataset, split: Split) -> tuple[Dataset, Split]:
    """The data set with the rows of training and validation alone, and the split over them.

    Which items and users are cold stays known (they have no training row); which of them the test asks for
    does not.
    """
    kept = np.sort(np.concatenate([split.train, split.valid, split.valid_support]))
    parts = {
        name: np.searchsorted(kept, getattr(split, name)) for name in ("train", "valid", "valid_support")
    }
    untested = replace(
        split, **parts, test=NO_ROWS, test_support=NO_ROWS, test_pool=np.zeros_like(split.test_pool)
    )
    changed = {"interactions": dataset.interactions.iloc[kept].reset_index(drop=True)}
    if isinstance(dataset, BundleView):
        tested = np.isin(np.arange(dataset.n_users), dataset.interactions["user"].iloc[split.test])
        changed["feedback"] = dataset.feedback and dataset.feedback.without(tested)
        changed["given"] = None if dataset.given is None else dataset.given[kept]
    return replace(dataset, **changed), untested


@dataclass(frozen=True, eq=False)
class Tuning:
    """What a trial has: one data set and split without test rows. Use `of`.

    Attributes:
        config: the run's configuration; its settings are what trials do not vary.
    """

    config: RunConfig
    dataset: Dataset
    split: Split

    @classmethod
    def of(cls, config: RunConfig, dataset: Dataset | None = None) -> Tuning:
        """Load, split, and forget the test.

        Raises:
            UserError, DataError: as `recsys.runs.run.prepare`.
        """
        check_device(config.device)
        resolved = resolve(config, dataset)
        config, dataset = resolved.config, resolved.dataset
        split = make_split(dataset, config.split, config.split_seed, **config.split_options)
        return cls(config, *without_test(dataset, split))

    def value(self, settings: Mapping[str, Any], folder: Path, callbacks: tuple[Any, ...] = ()) -> float:
        """Train with the configuration's settings overlaid by `settings`; the best validation value.

        Args:
            folder: where checkpoints and history go; a killed training goes on there.
            callbacks: of pytorch-lightning; what they raise ends the training.
        """
        model_class = MODELS.get(self.config.model)
        own, training = resolve_settings(model_class, {**self.config.settings, **settings})
        data = training_data(self.config, self.dataset, self.split)
        model = model_class(own, data, self.config.seed)
        validate = validator(self.dataset, self.split, data, training.monitor if training else MONITOR)
        if training is None:
            model.fit()
            return validate(model)
        from recsys.training.loop import train

        folder.mkdir(parents=True, exist_ok=True)
        record = train(
            model,
            training,
            folder,
            validate,
            self.config.seed,
            device=self.config.device,
            callbacks=callbacks,
        )
        data.ledger.audit(self.split.cold_users, self.split.cold_items)
        return float(record["best"])
