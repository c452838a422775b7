"""LightGCN: matrix factorisation on propagated embeddings."""

from __future__ import annotations

from typing import Any, ClassVar

from torch import Tensor

from recsys.encoders.backbone import Backbone, backbone_options_setting, backbone_setting
from recsys.graphs.operator import SparseOperator
from recsys.inputs.sampler import Batch
from recsys.inputs.training_data import TrainingData
from recsys.models.base import Model, Published, Vectors, triple_scores, triples
from recsys.models.loss_terms import LossTerms
from recsys.objectives.l2 import l2
from recsys.objectives.ranking.bpr import bpr
from recsys.objectives.terms import ObjectiveSettings, objectives_setting
from recsys.settings import Settings, setting


class LightGCNSettings(Settings):
    width: int = setting(64, "width of the vectors", low=1, high=4096, search=[64, 128, 256])
    layers: int = setting(2, "propagations over the bipartite graph", low=0, high=10, search=(1, 4))
    reg: float = setting(
        1e-4, "weight of the L2 penalty on a batch's layer-0 rows", low=0, search=(1e-6, 1e-1), log=True
    )
    backbone: str = backbone_setting()
    backbone_options: dict[str, Any] = backbone_options_setting()
    objectives: ObjectiveSettings = objectives_setting()


class LightGCN(Model):
    """E^(l+1) = D^-1/2 A D^-1/2 E^(l); vectors are the mean of layers 0..L; score = u . i, trained by BPR.

    "LightGCN: Simplifying and Powering Graph Convolution Network for Recommendation", He et al., SIGIR 2020,
    arXiv 2002.02126, equations 3, 4, 6 and 15. An item without training interactions has no edge and an
    untrained row: it scores lowest.
    """

    Settings = LightGCNSettings
    whole_graph = True
    paper = (
        "LightGCN: Simplifying and Powering Graph Convolution Network for Recommendation, SIGIR "
        "2020, arXiv 2002.02126"
    )
    published = Published(
        "github.com/gusye1234/LightGCN-PyTorch 947ca2b3b1",
        # It trains for all epochs.
        {"layers": 3, "sample_by": "users", "monitor": "recall@20", "eval_every": 10, "patience": 100},
    )
    trains_in_shares = True
    trains_by_columns = True
    views: ClassVar = {"users": ("behaviour", "identity"), "items": ("behaviour", "identity")}

    def __init__(self, settings: LightGCNSettings, data: TrainingData, seed: int):
        super().__init__(settings, data, seed)
        self.propagation = SparseOperator(data.bipartite_graph())
        self.add_id_tables(settings.width)
        self.encoder = Backbone(
            settings.backbone, settings.backbone_options, settings.width, settings.layers, self.init_generator
        )
        self.trains_by_columns = self.encoder.by_column
        self.terms = LossTerms(self)

    def forward(self) -> Vectors:
        return Vectors(*self.encoder(self.propagation, self.user_table, self.item_table))

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        vectors = self.forward()
        scores = triple_scores(*triples(vectors.users, vectors.items, batch))
        penalty = l2(*triples(self.user_table, self.item_table, batch))
        positive, negative, penalty = self.columns.sum(*scores, penalty)
        users = {"behaviour": vectors.users, "identity": self.user_table}
        items = {"behaviour": vectors.items, "identity": self.item_table}
        return {
            "bpr": bpr(positive, negative),
            **self.terms.of_batch(batch, users, items),
            "l2": self.settings.reg * penalty,
        }
