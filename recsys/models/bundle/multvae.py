"""Mult-VAE: a variational autoencoder of rows of items."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import dropout, embedding, normalize

from recsys.encoders.linear import linear
from recsys.inputs.sampler import Batch
from recsys.inputs.training_data import TrainingData
from recsys.models.bundle.base import SetModel, SetSettings
from recsys.models.bundle.sets import Sets
from recsys.settings import setting


class MultVAESettings(SetSettings):
    find: str = setting("all", "what a set must predict: rest, its items not given; or all, given ones too")
    dropout: float = setting(
        0.5, "share of a row's items left out of the input in training", low=0, high=0.95
    )
    hidden: int = setting(128, "width of the hidden layer", low=1, high=8192, search=[64, 128, 256])
    beta: float = setting(0.2, "largest weight of the KL divergence", low=0, high=1, search=(0.0, 1.0))
    anneal: int = setting(20, "epochs over which that weight grows from 0", low=1)


class MultVAE(SetModel):
    """x -> unit row, dropout -> tanh layer -> N(mu, sigma^2) -> tanh layer -> softmax over the items.

    "Variational Autoencoders for Collaborative Filtering", Liang et al., WWW 2018, arXiv 1802.05814: multinomial
    likelihood, divergence annealed to beta. The likelihood is the mean over a row's items instead of their sum.
    Items in no training row score lowest.
    """

    Settings = MultVAESettings
    paper = "Variational Autoencoders for Collaborative Filtering, WWW 2018, arXiv 1802.05814"
    item_keys: Tensor

    def __init__(self, settings: MultVAESettings, data: TrainingData, seed: int):
        super().__init__(settings, data, seed)
        generator = self.init_generator
        self.table("item_table", data.n_items, settings.hidden)
        self.table("item_keys", data.n_items, settings.hidden)
        self.moments = linear(settings.hidden, 2 * settings.width, generator)
        self.back = linear(settings.width, settings.hidden, generator)
        self.weight, self.divergence = 0.0, torch.zeros(())

    def start_epoch(self, epoch: int, generator: torch.Generator) -> None:
        super().start_epoch(epoch, generator)
        self.weight = self.settings.beta * min(1.0, (epoch + 1) / self.settings.anneal)

    def decode(self, items: Tensor | None = None) -> Tensor:
        return self.item_keys if items is None else embedding(items, self.item_keys)

    def encode(self, sets: Sets) -> Tensor:
        row = normalize(sets.present.float(), dim=1)
        row = dropout(row, self.settings.dropout, self.training)
        hidden = torch.tanh((embedding(sets.items, self.item_table) * row.unsqueeze(2)).sum(1))
        mean, log_variance = self.moments(hidden).chunk(2, dim=1)
        if self.training:
            spread = log_variance.exp() + mean.square() - 1 - log_variance
            self.divergence = 0.5 * spread.sum(1).mean()
            mean = mean + torch.randn_like(mean) * (0.5 * log_variance).exp()
        return torch.tanh(self.back(mean))

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        return super().loss(batch) | {"divergence": self.weight * self.divergence}
