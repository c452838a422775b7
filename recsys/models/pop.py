"""Pop: every user is offered what most users took."""

from __future__ import annotations

import torch
from torch import Tensor

from recsys.models.base import Model, Vectors
from recsys.newcomers import Arrivals
from recsys.settings import Settings, setting


class PopSettings(Settings):
    power: float = setting(
        1.0,
        "of the counts; ranks alike whatever it is, and tells when scores are added up",
        low=0.01,
        high=10,
    )


class Pop(Model):
    """Items by their number of training interactions; the same list for everybody.

    An item without training interactions scores lowest: popularity has nothing to say of it.
    """

    Settings = PopSettings
    closed_form = True

    def fit(self) -> None:
        counts = torch.from_numpy(self.data.item_counts()).float()
        self.register_buffer("counts", counts.pow(self.settings.power))

    def forward(self) -> Vectors:
        return Vectors(self.counts.new_ones(self.data.n_users, 1), self.counts.unsqueeze(1))

    def user_vectors_for(self, history, vectors=None):
        return self.counts.new_ones(history.shape[0], 1)

    def new_item_vectors(self, arrivals: Arrivals) -> Tensor:
        """Nobody has taken a new item yet."""
        return self.counts.new_zeros(len(arrivals), 1)
