"""A plain transformer over item ids: no content, no feedback."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import embedding

from recsys.inputs.training_data import TrainingData
from recsys.models.bundle.base import SetModel, SetSettings
from recsys.models.bundle.sets import Sets
from recsys.settings import setting


class SetTransformerSettings(SetSettings):
    dropout: float = setting(0.2, "dropout in the layer", low=0, high=0.95, search=(0.0, 0.5))


class SetTransformer(SetModel):
    """One transformer layer over the set's item rows, their mean, and an item table of its own to score with.

    The baseline that CLHE's slots must pass ("Attention Is All You Need", Vaswani et al., NeurIPS 2017, without
    positions: a bundle has no order). Items in no training row score lowest.
    """

    Settings = SetTransformerSettings
    paper = "Attention Is All You Need, NeurIPS 2017, arXiv 1706.03762"
    item_keys: Tensor

    def __init__(self, settings: SetTransformerSettings, data: TrainingData, seed: int):
        super().__init__(settings, data, seed)
        self.table("item_table", data.n_items, settings.width)
        self.table("item_keys", data.n_items, settings.width)
        layer = nn.TransformerEncoderLayer(
            settings.width, 1, 4 * settings.width, settings.dropout, batch_first=True
        )
        self.layer = redrawn(layer, self.init_generator)

    def decode(self, items: Tensor | None = None) -> Tensor:
        return self.item_keys if items is None else embedding(items, self.item_keys)

    def encode(self, sets: Sets) -> Tensor:
        """The mean over the items present; zero for an empty set, which attends to its own padding."""
        masked = ~sets.present & sets.present.any(1, keepdim=True)
        vectors = self.layer(embedding(sets.items, self.item_table), src_key_padding_mask=masked)
        weight = sets.present.unsqueeze(2).to(vectors.dtype)
        return (vectors * weight).sum(1) / weight.sum(1).clamp(min=1)


def redrawn(module: nn.Module, generator: torch.Generator) -> nn.Module:
    """The module with Xavier-normal matrices from `generator` and biases zero; norms stay as they are."""
    for name, parameter in module.named_parameters():
        if parameter.ndim > 1:
            nn.init.xavier_normal_(parameter, generator=generator)
        elif name.endswith("bias"):
            nn.init.zeros_(parameter)
    return module
