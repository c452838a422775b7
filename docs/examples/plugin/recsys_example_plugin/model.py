"""A model: matrix factorisation, trained by whatever objective of two scores is asked for by name."""

from torch import Tensor

from recsys.inputs.sampler import Batch
from recsys.inputs.training_data import TrainingData
from recsys.models.base import Model, Vectors, triple_scores, triples
from recsys.objectives import OBJECTIVES
from recsys.settings import Settings, setting


class ExampleSettings(Settings):
    width: int = setting(8, "width of the vectors", low=1, high=4096, search=[8, 16, 32])
    objective: str = setting("bpr", "name of an objective of two scores, such as example-hinge")


class ExampleMF(Model):
    """Score = u . i, trained so that what a user took scores higher than what they did not."""

    Settings = ExampleSettings
    paper = "None: an example"
    trains_in_shares = True

    def __init__(self, settings: ExampleSettings, data: TrainingData, seed: int):
        super().__init__(settings, data, seed)
        self.add_id_tables(settings.width)
        self.objective = OBJECTIVES.get(settings.objective)

    def forward(self) -> Vectors:
        return Vectors(self.user_table, self.item_table)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        rows = triples(*self.forward()[:2], batch)
        return {self.settings.objective: self.objective(*triple_scores(*rows))}
