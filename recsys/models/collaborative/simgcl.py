"""SimGCL: contrastive learning between noisy views of the propagated vectors, without touching the graph."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import embedding, normalize

from recsys.graphs.operator import SparseOperator
from recsys.inputs.sampler import Batch
from recsys.inputs.training_data import TrainingData
from recsys.models.base import Model, Vectors, triple_scores, triples
from recsys.objectives.contrastive.infonce import infonce
from recsys.objectives.l2 import l2
from recsys.objectives.ranking.bpr import bpr
from recsys.settings import Settings, setting


class SimGCLSettings(Settings):
    width: int = setting(64, "width of the vectors", low=1, high=4096, search=[64, 128, 256])
    layers: int = setting(2, "propagations over the bipartite graph", low=1, high=10, search=(1, 4))
    noise: float = setting(
        0.1, "length of the noise added to a vector in each layer", low=0, search=(0.01, 0.5)
    )
    contrast: float = setting(0.5, "weight of the two InfoNCE terms", low=0, search=(0.01, 1.0), log=True)
    temperature: float = setting(
        0.2, "temperature of InfoNCE", low=0.01, high=10, search=(0.1, 1.0), log=True
    )
    reg: float = setting(
        1e-4, "weight of the L2 penalty on a batch's rows", low=0, search=(1e-6, 1e-1), log=True
    )


class SimGCL(Model):
    """BPR + contrast (InfoNCE(u', u'') + InfoNCE(i', i'')) + reg l2; score = u . i.

    "Are Graph Augmentations Necessary? Simple Graph Contrastive Learning for Recommendation", Yu et al., SIGIR 2022,
    arXiv 2112.08679, equations 7 to 9. With A the normalised bipartite adjacency, as in LightGCN,

        E^(l+1) = A E^(l) + noise sign(A E^(l)) * unit(r),  r uniform in [0, 1), drawn anew for each view and layer,

    and without noise for BPR and for scoring. Vectors are the mean of layers 1..L, as in the authors' code; the
    InfoNCE terms run over a batch's distinct users and distinct positives.
    """

    Settings = SimGCLSettings
    paper = (
        "Are Graph Augmentations Necessary? Simple Graph Contrastive Learning, SIGIR 2022, arXiv 2112.08679"
    )

    def __init__(self, settings: SimGCLSettings, data: TrainingData, seed: int):
        super().__init__(settings, data, seed)
        self.propagation = SparseOperator(data.bipartite_graph())
        self.add_id_tables(settings.width)
        self.noise = torch.Generator().manual_seed(seed)

    def start_epoch(self, epoch: int, generator: torch.Generator) -> None:
        self.noise = generator

    def _propagate(self, noisy: bool) -> Vectors:
        users, items = self.user_table, self.item_table
        layers = []
        for _ in range(self.settings.layers):
            users, items = self.propagation @ items, self.propagation.T @ users
            if noisy:
                users, items = self._disturbed(users), self._disturbed(items)
            layers.append((users, items))
        return Vectors(*(torch.stack(side).mean(0) for side in zip(*layers, strict=True)))

    def _disturbed(self, vectors: Tensor) -> Tensor:
        drawn = torch.rand(vectors.shape, generator=self.noise).to(vectors)
        return vectors + self.settings.noise * vectors.sign() * normalize(drawn, dim=1)

    def forward(self) -> Vectors:
        return self._propagate(noisy=False)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        settings, vectors = self.settings, self.forward()
        first, second = self._propagate(noisy=True), self._propagate(noisy=True)
        contrast = sum(
            infonce(embedding(rows, one), embedding(rows, other), settings.temperature)
            for rows, one, other in (
                (batch.users.unique(), first.users, second.users),
                (batch.positives.unique(), first.items, second.items),
            )
        )
        return {
            "bpr": bpr(*triple_scores(*triples(vectors.users, vectors.items, batch))),
            "contrast": settings.contrast * contrast,
            "l2": settings.reg * l2(*triples(self.user_table, self.item_table, batch)),
        }
