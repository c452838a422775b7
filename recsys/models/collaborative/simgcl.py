"""SimGCL: LightGCN, and agreement between two noisy views of every vector; the graph itself is left alone."""

from __future__ import annotations

from functools import cache
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import embedding, normalize

from recsys.graphs.operator import SparseOperator
from recsys.inputs.sampler import Batch
from recsys.inputs.training_data import TrainingData
from recsys.models.base import Model, Vectors, triple_scores, triples
from recsys.models.loss_terms import LossTerms
from recsys.objectives.l2 import l2
from recsys.objectives.ranking.bpr import bpr
from recsys.objectives.terms import ObjectiveSettings, Term, objectives_setting
from recsys.settings import Settings, setting


class SimGCLSettings(Settings):
    width: int = setting(64, "width of the vectors", low=1, high=4096, search=[64, 128, 256])
    layers: int = setting(2, "propagations over the bipartite graph", low=1, high=10, search=(1, 4))
    noise: float = setting(
        0.1, "length of the noise added to a vector in each layer", low=0, search=(0.01, 0.5), log=True
    )
    contrast: float = setting(0.01, "weight of the two InfoNCE terms", low=0, search=(1e-3, 1.0), log=True)
    temperature: float = setting(0.2, "temperature of InfoNCE", low=0.01, high=10, search=(0.1, 1.0))
    reg: float = setting(
        1e-4, "weight of the L2 penalty on a batch's layer-0 rows", low=0, search=(1e-6, 1e-1), log=True
    )
    objectives: ObjectiveSettings = objectives_setting()


class SimGCL(Model):
    """E^(l+1) = A E^(l) [+ noise]; vectors are the mean of layers 1..L; score = u . i.

    "Are Graph Augmentations Necessary? Simple Graph Contrastive Learning for Recommendation", Yu et al., SIGIR 2022,
    arXiv 2112.08679, section 3. A is LightGCN's D^-1/2 R D^-1/2. A view adds to each row e of each layer

        noise sign(e) * r / ||r||,  r uniform in [0, 1)^d,

    which keeps e's orthant; ' and '' are two views with noise of their own, BPR and scores take none:

        L = BPR + contrast (InfoNCE(u', u'') + InfoNCE(i', i'')) + reg L2.

    InfoNCE runs over the batch's distinct users and its distinct positives. Layer 0 is left out of all means, as in the
    paper. Departures: the L2 penalty is on layer 0, as in LightGCN, and `contrast` and the learning rate, 0.2 to 2
    and 0.001 in the paper, are chosen for small data: vectors are short at first, and a larger contrast outweighs BPR
    until they have grown. An item without training interactions has no edge: it scores lowest.
    """

    Settings = SimGCLSettings
    train_defaults: ClassVar = {"learning_rate": 0.01}
    whole_graph = True
    views: ClassVar = {"users": ("behaviour", "identity"), "items": ("behaviour", "identity")}
    paper = (
        "Are Graph Augmentations Necessary? Simple Graph Contrastive Learning for Recommendation, SIGIR "
        "2022, arXiv 2112.08679"
    )

    def __init__(self, settings: SimGCLSettings, data: TrainingData, seed: int):
        super().__init__(settings, data, seed)
        self.propagation = SparseOperator(data.bipartite_graph())  # (n_users, n_items)
        self.add_id_tables(settings.width)  # user_table (n_users, d) and item_table (n_items, d)
        self.generator = torch.Generator().manual_seed(seed)
        contrast = Term(
            objective="infonce",
            views=["perturbed", "perturbed"],
            nodes="both",
            weight=settings.contrast,
            arguments={"temperature": settings.temperature},
        )
        self.terms = LossTerms(self, {"contrast": contrast})

    def start_epoch(self, epoch: int, generator: torch.Generator) -> None:
        self.generator = generator

    def forward(self) -> Vectors:
        return self._propagate(noisy=False)

    def _propagate(self, noisy: bool) -> Vectors:
        """(n_users, d) and (n_items, d): the mean of layers 1..L."""
        users, items = self.user_table, self.item_table
        layers = []
        for _ in range(self.settings.layers):
            users, items = self.propagation @ items, self.propagation.T @ users
            if noisy:
                users, items = self._disturbed(users), self._disturbed(items)
            layers.append((users, items))
        users, items = (torch.stack(side).mean(0) for side in zip(*layers, strict=True))
        return Vectors(users, items)

    def _disturbed(self, vectors: Tensor) -> Tensor:
        """(n, d): each row moved by `noise` within its orthant."""
        uniform = torch.rand(vectors.shape, generator=self.generator, device=self.generator.device)
        return vectors + self.settings.noise * vectors.sign() * normalize(uniform.to(vectors), dim=1)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        vectors, noisy = self.forward(), cache(lambda copy: self._propagate(noisy=True))
        users = {"behaviour": vectors.users, "identity": self.user_table}
        items = {"behaviour": vectors.items, "identity": self.item_table}
        views = self.terms.batch_views(batch, users, items)
        views["users"].perturbed = lambda copy: embedding(views["users"].ids, noisy(copy).users)
        views["items"].perturbed = lambda copy: embedding(views["items"].ids, noisy(copy).items)
        return {
            "bpr": bpr(*triple_scores(*triples(vectors.users, vectors.items, batch))),
            **self.terms(views),
            "l2": self.settings.reg * l2(*triples(self.user_table, self.item_table, batch)),
        }
