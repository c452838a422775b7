"""Item vectors of what people did with items, trained before a bundle model that reads them."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from recsys.inputs.sampler import Sampler
from recsys.inputs.training_data import TrainingData
from recsys.models.collaborative.lightgcn import LightGCN, LightGCNSettings

BATCH, RATE = 1024, 0.01


def feedback_vectors(data: TrainingData, width: int, epochs: int, seed: int) -> tuple[Tensor, np.ndarray]:
    """The engine's LightGCN with BPR on the feedback that training may see.

    Returns:
        (n_items, width) float32 vectors, and the (n_items,) bool mask of items with any feedback; without
        feedback none.
    """
    matrix = data.use_feedback("item vectors")
    if not matrix.nnz or not epochs:
        return torch.zeros(data.n_items, width), np.zeros(data.n_items, dtype=bool)
    own = TrainingData(matrix)
    model = LightGCN(LightGCNSettings(width=width), own, seed)
    optimizer = torch.optim.Adam(model.parameters(), lr=RATE)
    sampler = Sampler(own, BATCH, 1, seed)
    for epoch in range(epochs):
        for batch in sampler.epoch(epoch):
            optimizer.zero_grad()
            sum(model.loss(batch).values(), start=torch.zeros(())).backward()
            optimizer.step()
    with torch.no_grad():
        return model().items.detach().clone(), own.warm_items
