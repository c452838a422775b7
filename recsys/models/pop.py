"""Pop: every user is offered what most users took."""

from __future__ import annotations

import torch

from recsys.models.base import Model, Vectors


class Pop(Model):
    """Items by their number of training interactions; the same list for everybody.

    An item without training interactions scores lowest: popularity has nothing to say of it.
    """

    closed_form = True

    def fit(self) -> None:
        counts = torch.from_numpy(self.data.item_counts()).float()
        self.register_buffer("counts", counts)

    def forward(self) -> Vectors:
        return Vectors(self.counts.new_ones(self.data.n_users, 1), self.counts.unsqueeze(1))

    def user_vectors_for(self, history, vectors=None):
        return self.counts.new_ones(history.shape[0], 1)
