"""Multistage contrastive learning: later stages compare only what earlier ones could not tell apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import scipy.sparse as sp
import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from recsys.datasets.dataset import Modality
from recsys.errors import UserError
from recsys.inputs.sampler import Batch, derived_seed
from recsys.inputs.training_data import TrainingData
from recsys.models import MODELS
from recsys.models.base import Model, Vectors
from recsys.models.inner import inner_settings, inner_training, own_settings
from recsys.serving.fold_in import Beside
from recsys.settings import Settings, setting

SIDES = ("users", "items")


class MultistageSettings(Settings):
    base: str = setting(
        "mmhcl", "the model that each stage trains, one with vectors and a term that compares views"
    )
    base_settings: dict[str, Any] = setting({}, "its settings and those of its training, by name")
    n_stages: int = setting(2, "stages, each a model of its own", low=1, high=10)
    clusters: int = setting(
        10, "clusters that a stage's vectors fall into", low=2, high=1000, search=[5, 10, 20]
    )


class Concatenated(Model):
    """Some models' vectors side by side: a score is the sum of theirs.

    Args:
        parts: models of one class on the same data, which score together.
    """

    def __init__(self, settings: Any, data: TrainingData, seed: int, parts: Sequence[Model]):
        super().__init__(settings, data, seed)
        # A tuple is no part of the module: who trains and saves them is another matter.
        self.scored = tuple(parts)
        last = parts[-1]
        for name in (
            "reads_content",
            "ranks_cold_items",
            "serves_new_users",
            "popular_without_history",
            "personal",
        ):
            setattr(self, name, getattr(last, name))
        self.whole_graph = last.whole_graph
        if hasattr(last, "modalities"):
            self.modalities = last.modalities

    def _frozen(self) -> list[Vectors]:
        """Vectors of the parts before the last one; they are trained no more."""
        return [part() for part in self.scored[:-1]]

    def forward(self) -> Vectors:
        own = self.scored[-1]()
        every = [*self._frozen(), own]
        users = torch.cat([vectors.users.to(own.users.device) for vectors in every], 1)
        return Vectors(users, torch.cat([vectors.items.to(own.items.device) for vectors in every], 1))

    def cannot_score(self) -> np.ndarray:
        return self.scored[-1].cannot_score()

    @torch.no_grad()
    def encode_items(self, content: Mapping[str, Modality], attributes: pd.DataFrame | None = None) -> Tensor:
        encoded = [part.encode_items(content, attributes) for part in self.scored]
        return torch.cat([rows.to(encoded[-1].device) for rows in encoded], 1)

    @torch.no_grad()
    def encode_users(
        self, history: sp.csr_array, attributes: pd.DataFrame | None = None, vectors: Vectors | None = None
    ) -> Tensor:
        encoded = [part.encode_users(history, attributes) for part in self.scored]
        return torch.cat([rows.to(encoded[-1].device) for rows in encoded], 1)

    @torch.no_grad()
    def user_part(self, vectors: Vectors) -> Beside:
        return Beside([part.user_part(part.forward()) for part in self.scored])

    def modality_vectors(self) -> Mapping[str, Tensor]:
        return self.scored[-1].modality_vectors()


class Stage(Concatenated):
    """The training of one stage: its own model learns, what earlier ones learned is scored with it.

    Args:
        parts: the stages' models up to this one.
        clusters: of each earlier stage's vectors.
    """

    def __init__(self, settings: Any, data: TrainingData, seed: int, parts: Sequence[Model], clusters: int):
        super().__init__(settings, data, seed, parts)
        self.own, self.clusters = parts[-1], clusters
        self.kept: list[Vectors] = []

    @torch.no_grad()
    def _frozen(self) -> list[Vectors]:
        if not self.kept:
            self.kept = [part.eval()() for part in self.scored[:-1]]
        return self.kept

    def start_epoch(self, epoch: int, generator: torch.Generator) -> None:
        if len(self.scored) > 1 and not self.own.terms.labels:
            self.own.terms.labels = self._labels()
        self.own.start_epoch(epoch, generator)

    def _labels(self) -> dict[str, Tensor]:
        """Pseudo labels of the warm users and items from the clusters of all stages so far; -1 of cold ones."""
        known = {"users": self.data.warm_users, "items": self.data.warm_items}
        labels = {}
        for side in SIDES:
            warm = np.flatnonzero(known[side])
            codes = np.full(len(known[side]), -1, dtype=np.int64)
            codes[warm] = 0
            for number, vectors in enumerate(self._frozen()):
                rows = getattr(vectors, side)[torch.from_numpy(warm).to(vectors.users.device)]
                # By the clustered stage's seed: all later stages find the same clusters.
                seed = derived_seed(self.scored[number].seed, number) % 2**32
                codes[warm] = codes[warm] * self.clusters + clustered(rows, self.clusters, seed)
            labels[side] = torch.from_numpy(codes)
        return labels

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        return self.own.loss(batch)


class Multistage(Concatenated):
    """Stages of one model; from the second on a step compares only nodes that all earlier stages put together.

    "Learning the Unlearned: Mitigating Feature Suppression in Contrastive Learning" (MCL), ECCV 2024, arXiv 2402.11816.
    After a stage its unit vectors are clustered by mini-batch k-means, and a node's pseudo label takes in its cluster,
    label <- label clusters + cluster. The contrastive terms of the next stage, whatever they are (see
    `recsys.models.loss_terms`), compare nodes of one label in each step, drawn in proportion to its members, so that a
    node's negatives all share its label: what told the labels apart is of no use any more, and something else must be
    learned. Each stage is a model from a seed of its own, trained to its own best epoch and then frozen; the final
    vectors are all stages' side by side, and a score is the sum of the stages' scores.

    Departures: users are clustered like items; the ranking loss takes its ordinary batches, and compared nodes are
    drawn beside them; a label is drawn for each step, and a small one is compared whole (the code leaves labels with
    fewer members than a batch out of the epoch); a stage is validated together with those before it.
    """

    Settings = MultistageSettings
    paper = (
        "Learning the Unlearned: Mitigating Feature Suppression in Contrastive Learning, ECCV 2024, arXiv "
        "2402.11816"
    )
    train_defaults: ClassVar[Mapping[str, Any]] = {}
    reads_content = True
    ranks_cold_items = True

    def __init__(self, settings: MultistageSettings, data: TrainingData, seed: int):
        inner, training = _divided(settings)
        kind = MODELS.get(settings.base)
        seeds = [seed, *(derived_seed(seed, 1000 + number) for number in range(1, settings.n_stages))]
        parts = [kind(inner, data, each) for each in seeds]
        if not {term.nodes for term in parts[0].terms.terms.values()} & {*SIDES, "both"}:
            raise UserError(
                f"multistage: {settings.base} has no term that compares users or items; add one by "
                "base_settings={objectives.extra: [{objective: infonce, nodes: both}]}"
            )
        super().__init__(settings, data, seed, parts)
        self.parts = nn.ModuleList(parts)
        self.inner, self.stage_training = inner, training

    @classmethod
    def source_modules(cls, settings: Mapping[str, Any]) -> tuple[str, ...]:
        made = own_settings(cls, settings)
        inner = MODELS.get(made.base).source_modules(made.base_settings)
        return tuple(sorted({*super().source_modules(settings), *inner}))

    def stages(self, settings: Any) -> Mapping[str, tuple[Model, Any]]:
        """As the run says of training where it says other than the defaults, else as the stage's model does."""
        base = MODELS.get(self.settings.base)
        training = inner_training(base, settings, self.stage_training, "multistage")
        parts = list(self.scored)
        return {
            f"stage-{number}": (
                Stage(self.inner, self.data, part.seed, parts[:number], self.settings.clusters),
                training,
            )
            for number, part in enumerate(parts, 1)
        }


def _divided(settings: MultistageSettings) -> tuple[Any, dict[str, Any]]:
    """The settings of the stages' model, and what `settings` say of its training.

    Raises:
        UserError: a model that has no vectors, or compares no views.
    """
    kind = MODELS.get(settings.base)
    usable = not kind.closed_form and kind.exports_vectors and set(SIDES) <= set(kind.views)
    if not usable or kind.scores is not Model.scores:
        able = [name for name in MODELS.builtin if set(SIDES) <= set(MODELS.get(name).views)]
        raise UserError(
            f"multistage: {settings.base} offers no views of users and items; use one of {', '.join(sorted(able))}"
        )
    return inner_settings(kind, settings.base_settings, "multistage: base_settings")


def clustered(vectors: Tensor, clusters: int, seed: int) -> np.ndarray:
    """(n,) int64 cluster of each row, by mini-batch k-means on unit rows; at most as many clusters as rows.

    Example:
        >>> import torch
        >>> labels = clustered(torch.tensor([[1.0, 0.0], [5.0, 0.1], [0.0, 1.0], [0.1, 3.0]]), 2, 0)
        >>> bool(labels[0] == labels[1] != labels[2] == labels[3])
        True
    """
    from sklearn.cluster import MiniBatchKMeans

    rows = normalize(vectors.detach().float(), dim=1).cpu().numpy()
    return (
        MiniBatchKMeans(min(clusters, len(rows)), random_state=seed, n_init=3)
        .fit_predict(rows)
        .astype(np.int64)
    )
