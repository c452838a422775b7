"""Confluence: calibrated content channels, hypergraph contrast and a walk, each on its own scale, added up; ours."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from recsys.data import TrainingData
from recsys.datasets.dataset import Modality
from recsys.errors import UserError
from recsys.evaluation.scorers import Scorer, StandardScorer, SumScorer
from recsys.models.base import Model, Vectors
from recsys.models.cm3 import CM3
from recsys.models.hyperwalk import HyperWalk
from recsys.models.mmhcl import MMHCL
from recsys.newcomers import Arrivals, Audience
from recsys.sampling import Batch
from recsys.settings import Settings, build, divide, setting

PARTS = {"calibrated": CM3, "contrastive": MMHCL}
MULTIPLES = (0.0, 0.3, 0.6, 1.0, 1.6, 2.5)
"""Of a weight, which validation chooses among."""


class ConfluenceSettings(Settings):
    calibrated: float = setting(
        1.0, "weight of CM3's scores; 0 leaves the part out", low=0, search=(0.3, 2.0)
    )
    contrastive: float = setting(
        1.0, "weight of MMHCL's scores; 0 leaves the part out", low=0, search=(0.3, 2.0)
    )
    walk: float = setting(
        0.5, "weight of HyperWalk's scores; 0 leaves the part out", low=0, search=(0.0, 1.0)
    )
    settle: bool = setting(True, "let validation choose among multiples of the three weights")
    together: bool = setting(False, "train the parts on one loss to one best epoch, not each to its own")
    calibrated_options: dict[str, Any] = setting({}, "settings of CM3 and of its training by name")
    contrastive_options: dict[str, Any] = setting({}, "settings of MMHCL and of its training by name")
    walk_options: dict[str, Any] = setting({}, "settings of HyperWalk by name")


class Confluence(Model):
    """score = sum over parts of weight * (part's score / its standard deviation over the user's warm items).

    The parts see different things. CM3's items are their content alone, on the unit sphere, kept apart as far as
    content says (calibrated uniformity): what things are like. MMHCL's have ID tables whose norms carry
    popularity, contrasted with hypergraphs of users and of content neighbourhoods: who takes what. HyperWalk
    counts: where two or three interactions are all there is, no table learns what they say at once. Each errs
    elsewhere, and scores on one scale add up to better rankings than any of them gives.

    Standardised inner products are inner products still: with C the covariance of a part's warm items, a user's
    scores have the variance u^T C u, so that u / sqrt(u^T C u) does it, and the learned parts are one pair of
    tables side by side. The parts share no parameter: each is trained to its own best epoch, then the weights are
    settled on validation. A cold item has each part's content vector, a new one takes the same path.
    """

    Settings = ConfluenceSettings
    train_defaults: ClassVar[Mapping[str, Any]] = {"batch_size": 2048, "patience": 10}
    ranks_cold_items = True

    def __init__(self, settings: ConfluenceSettings, data: TrainingData, seed: int):
        super().__init__(settings, data, seed)
        self.parts, self.training = nn.ModuleDict(), {}
        for name, part in PARTS.items():
            if getattr(settings, name):
                own, self.training[name] = _divided(part, getattr(settings, f"{name}_options"), name)
                self.parts[name] = part(own, data, seed)
        if not self.parts:
            raise UserError("confluence: calibrated and contrastive are both 0; give one a weight above 0")
        weights = [getattr(settings, name) for name in (*PARTS, "walk")]
        self.register_buffer("mix", torch.tensor(weights, dtype=torch.float32))
        self.walker = None
        if settings.walk:
            options = build(HyperWalk.Settings, settings.walk_options, "walk_options")
            self.walker = HyperWalk(options, data, seed)
            self.walker.fit()
        self.register_buffer("warm", torch.from_numpy(np.flatnonzero(data.warm_items)), persistent=False)

    def stages(self, settings: Any) -> Mapping[str, tuple[Model, Any]]:
        if self.settings.together:
            return {}
        return {
            name: (part, settings.model_copy(update=self.training[name])) for name, part in self.parts.items()
        }

    def settle(self, validate: Callable[[], float]) -> None:
        """Try multiples of each weight in turn, twice over, and keep what validation likes best."""
        if not self.settings.settle:
            return
        best, start = validate(), self.mix.clone()
        for place in 2 * [n for n, weight in enumerate(start) if weight]:
            kept = self.mix[place].item()
            for multiple in MULTIPLES:
                self.mix[place] = multiple * start[place]
                value = validate()
                if value > best:
                    best, kept = value, self.mix[place].item()
            self.mix[place] = kept

    def start_epoch(self, epoch: int, generator: torch.Generator) -> None:
        for part in self.parts.values():
            part.start_epoch(epoch, generator)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        return {
            f"{name} {term}": value
            for name, part in self.parts.items()
            for term, value in part.loss(batch).items()
        }

    def forward(self) -> Vectors:
        users, items = [], []
        for name, weight in zip(PARTS, self.mix, strict=False):
            if name in self.parts:
                vectors = self.parts[name]()
                users.append(weight * self._standardised(vectors.users, vectors.items))
                items.append(vectors.items)
        return Vectors(torch.cat(users, dim=1), torch.cat(items, dim=1))

    def _standardised(self, users: Tensor, items: Tensor) -> Tensor:
        """Users scaled so that the inner products with the warm items have variance 1."""
        covariance = items.index_select(0, self.warm).T.cov(correction=0)
        variance = ((users @ covariance) * users).sum(1, keepdim=True)
        return users * variance.clamp_min(torch.finfo(users.dtype).tiny).rsqrt()

    @torch.no_grad()
    def scorer_for(self, audience: Audience, arrivals: Arrivals | None = None) -> Scorer:
        learned = super().scorer_for(audience, arrivals)
        if self.walker is None:
            return learned
        walk = StandardScorer(self.walker.scorer_for(audience, arrivals), self.data.warm_items)
        return SumScorer([learned, walk], [1.0, float(self.mix[-1])])

    def modality_vectors(self) -> Mapping[str, Tensor]:
        return next(iter(self.parts.values())).modality_vectors()

    @torch.no_grad()
    def item_vectors_for(self, features: Mapping[str, Modality]) -> Tensor:
        return torch.cat([part.item_vectors_for(features) for part in self.parts.values()], dim=1)


def _divided(part: type[Model], options: Mapping[str, Any], name: str) -> tuple[Any, dict[str, Any]]:
    """A part's settings, and what its training does otherwise than the others'."""
    from recsys.training import TrainSettings

    groups = divide(options, model=part.Settings, train=TrainSettings)
    build(TrainSettings, groups["train"], f"{name}_options")
    return build(part.Settings, groups["model"], f"{name}_options"), groups["train"]
