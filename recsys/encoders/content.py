"""Items' content as the constant input of a linear layer: dense rows, or sparse ones that stay sparse."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor, nn
from torch.nn import functional

from recsys.datasets.dataset import Modality
from recsys.graphs.operator import SparseOperator
from recsys.inputs.content import unit_rows


class ContentRows(nn.Module):
    """One modality's rows, scaled to unit length, held as buffers that are not saved with the model.

    A sparse modality is multiplied as it is: reducing it first (`Modality.dense`) would give items that arrive
    later another basis than the items trained on.

    Args:
        modality: features (n_items, width) and mask.
        rows: (n,) item numbers to hold; all where None.
    """

    def __init__(self, modality: Modality, rows: np.ndarray | None = None):
        super().__init__()
        features, mask = modality.features, modality.mask
        if rows is not None:
            features, mask = features[rows], mask[rows]
        unit = unit_rows(features)
        self.sparse = SparseOperator(unit) if sp.issparse(unit) else None
        self.complete = bool(np.all(mask))
        self.register_buffer("present", torch.from_numpy(np.array(mask)), persistent=False)
        dense = None if self.sparse else torch.from_numpy(unit)
        self.register_buffer("dense", dense, persistent=False)

    def forward(self, layer: nn.Linear, rows: Tensor | None = None) -> Tensor:
        """(n, d): W x + b of the rows held, or of those numbered `rows` (b,) among them; zero where an item lacks
        the modality."""
        if self.sparse is not None:
            out = self.sparse @ layer.weight.T
            out = out if rows is None else functional.embedding(rows, out)
            out = out if layer.bias is None else out + layer.bias
        else:
            dense = self.dense if rows is None else functional.embedding(rows, self.dense)
            out = functional.linear(dense, layer.weight, layer.bias)
        if self.complete:
            return out
        return out * (self.present if rows is None else self.present[rows]).unsqueeze(1)
