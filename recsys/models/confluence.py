"""Confluence: calibrated content channels, hypergraph contrast and a walk, each on its own scale, added up; ours."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import scipy.sparse as sp
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
from recsys.sampling import Batch
from recsys.settings import Settings, build, setting

PARTS = {"calibrated": CM3, "contrastive": MMHCL}


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
    calibrated_options: dict[str, Any] = setting({}, "settings of CM3 by name")
    contrastive_options: dict[str, Any] = setting({}, "settings of MMHCL by name")
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
    tables side by side. Losses add up; the parts share batches and the epoch at which validation is best, not
    parameters. A cold item has each part's content vector, a new one takes the same path.
    """

    Settings = ConfluenceSettings
    train_defaults: ClassVar[Mapping[str, Any]] = {"batch_size": 2048, "patience": 10}
    ranks_cold_items = True

    def __init__(self, settings: ConfluenceSettings, data: TrainingData, seed: int):
        super().__init__(settings, data, seed)
        self.weights = {name: getattr(settings, name) for name in PARTS if getattr(settings, name)}
        if not self.weights:
            raise UserError("confluence: calibrated and contrastive are both 0; give one a weight above 0")
        self.parts = nn.ModuleDict()
        for name in self.weights:
            part, options = PARTS[name], getattr(settings, f"{name}_options")
            self.parts[name] = part(build(part.Settings, options, f"{name}_options"), data, seed)
        self.walker = None
        if settings.walk:
            options = build(HyperWalk.Settings, settings.walk_options, "walk_options")
            self.walker = HyperWalk(options, data, seed)
            self.walker.fit()
        self.register_buffer("warm", torch.from_numpy(np.flatnonzero(data.warm_items)), persistent=False)

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
        for name, part in self.parts.items():
            vectors = part()
            users.append(self.weights[name] * self._standardised(vectors.users, vectors.items))
            items.append(vectors.items)
        return Vectors(torch.cat(users, dim=1), torch.cat(items, dim=1))

    def _standardised(self, users: Tensor, items: Tensor) -> Tensor:
        """Users scaled so that the inner products with the warm items have variance 1."""
        covariance = items.index_select(0, self.warm).T.cov(correction=0)
        variance = ((users @ covariance) * users).sum(1, keepdim=True)
        return users * variance.clamp_min(torch.finfo(users.dtype).tiny).rsqrt()

    @torch.no_grad()
    def scorer(self, support: sp.csr_array | None = None) -> Scorer:
        learned = super().scorer(support)
        if self.walker is None:
            return learned
        walk = StandardScorer(self.walker.scorer(support), self.data.warm_items)
        return SumScorer([learned, walk], [1.0, self.settings.walk])

    def modality_vectors(self) -> Mapping[str, Tensor]:
        return next(iter(self.parts.values())).modality_vectors()

    @torch.no_grad()
    def item_vectors_for(self, features: Mapping[str, Modality]) -> Tensor:
        return torch.cat([part.item_vectors_for(features) for part in self.parts.values()], dim=1)
