"""BPR-MF: matrix factorisation trained to rank."""

from __future__ import annotations

from torch import Tensor

from recsys.inputs.sampler import Batch
from recsys.inputs.training_data import TrainingData
from recsys.models.base import Model, Vectors, triple_scores, triples
from recsys.objectives.l2 import l2
from recsys.objectives.ranking.bpr import bpr
from recsys.settings import Settings, setting


class BPRSettings(Settings):
    width: int = setting(64, "width of the vectors", low=1, high=4096, search=[64, 128, 256])
    reg: float = setting(
        1e-4, "weight of the L2 penalty on a batch's vectors", low=0, search=(1e-6, 1e-1), log=True
    )


class BPR(Model):
    """Score = u . i, trained by BPR.

    "BPR: Bayesian Personalized Ranking from Implicit Feedback", Rendle et al., UAI 2009, arXiv 1205.2618.
    An item without training interactions has only an untrained row: it scores lowest.
    """

    Settings = BPRSettings
    whole_graph = True
    paper = "BPR: Bayesian Personalized Ranking from Implicit Feedback, UAI 2009, arXiv 1205.2618"
    trains_in_shares = True
    trains_by_columns = True

    def __init__(self, settings: BPRSettings, data: TrainingData, seed: int):
        super().__init__(settings, data, seed)
        self.add_id_tables(settings.width)

    def forward(self) -> Vectors:
        return Vectors(self.user_table, self.item_table)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        rows = triples(*self.forward()[:2], batch)
        positive, negative, penalty = self.columns.sum(*triple_scores(*rows), l2(*rows))
        return {"bpr": bpr(positive, negative), "l2": self.settings.reg * penalty}
