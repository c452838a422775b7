"""A plain transformer over item ids: no content, no feedback."""

from __future__ import annotations

import torch
from torch import Tensor

from recsys.inputs.training_data import TrainingData
from recsys.models.bundle.base import SetModel, SetSettings, attend, attention_layer, pooled
from recsys.models.bundle.sets import Sets


class SetTransformer(SetModel):
    """One transformer layer over the set's item rows, their mean, and an item table of its own to score with.

    The baseline that CLHE's slots must pass ("Attention Is All You Need", Vaswani et al., NeurIPS 2017, without
    positions: a bundle has no order). Items in no training row score lowest.
    """

    paper = "Attention Is All You Need, NeurIPS 2017, arXiv 1706.03762"
    item_keys: Tensor

    def __init__(self, settings: SetSettings, data: TrainingData, seed: int):
        super().__init__(settings, data, seed)
        self.table("item_table", data.n_items, settings.width)
        self.table("item_keys", data.n_items, settings.width)
        self.layer = attention_layer(settings.width, settings.dropout, self.init_generator)

    def decode(self, items: Tensor | None = None) -> Tensor:
        return self.item_keys if items is None else torch.nn.functional.embedding(items, self.item_keys)

    def encode(self, sets: Sets) -> Tensor:
        vectors = torch.nn.functional.embedding(sets.items, self.item_table)
        return pooled(attend(self.layer, vectors, sets.present), sets.present)
