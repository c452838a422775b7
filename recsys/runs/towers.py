"""A vector model's towers in ONNX: a history in, a user's vector out; content in, an item's vector out.

They are what a bundle does with new users and new items: a ridge regression on what a history's vectors add up to, and
the mean vector of an item's nearest warm items by each modality.
"""

from __future__ import annotations

import logging
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from recsys.files import atomic
from recsys.inputs.content import unit_rows
from recsys.runs.run import Run
from recsys.serving.cold import Resembling, Scaled
from recsys.serving.fold_in import FoldIn
from recsys.serving.parts import Vectors

USER_TOWER, ITEM_TOWER = "user_tower.onnx", "item_tower.onnx"


class UserTower(nn.Module):
    """(b, n_items) float32 of ones and zeros, what each user took -> (b, d); as `FoldIn`, in float32."""

    known: Tensor
    items: Tensor
    weights: Tensor
    mean_seen: Tensor
    mean_target: Tensor

    def __init__(self, fold_in: FoldIn):
        super().__init__()
        arrays = {
            "known": fold_in.known,
            "items": fold_in.items,
            "weights": fold_in.weights,
            "mean_seen": fold_in.mean_seen,
            "mean_target": fold_in.mean_target,
        }
        for name, array in arrays.items():
            self.register_buffer(name, torch.from_numpy(np.array(array, dtype=np.float32)))

    def forward(self, history: Tensor) -> Tensor:
        taken = history * self.known
        count = taken.sum(1, keepdim=True)
        seen = (taken @ self.items) / count.clamp(min=1).sqrt()
        folded = self.mean_target + (seen - self.mean_seen) @ self.weights
        return torch.where(count > 0, folded, self.mean_target)


class ItemTower(nn.Module):
    """(b, width) float32 of each modality, zero rows where an item lacks it -> (b, d).

    Args:
        banks: of each modality the warm items' unit rows (n_items, width), zero for the others.
        items: (n_items, d) vectors.
        mean: (d,) of the warm items, for who resembles none.
        k, weights: as `Neighbours`.
    """

    items: Tensor
    mean: Tensor

    def __init__(
        self, banks: list[np.ndarray], items: np.ndarray, mean: np.ndarray, k: int, weights: list[float]
    ):
        super().__init__()
        self.k, self.weights = min(k, len(items)), weights
        self.share = 1 / k
        for place, bank in enumerate(banks):
            self.register_buffer(f"bank_{place}", torch.from_numpy(np.ascontiguousarray(bank.T)))
        self.register_buffer("items", torch.from_numpy(np.array(items, dtype=np.float32)))
        self.register_buffer("mean", torch.from_numpy(np.array(mean, dtype=np.float32)))

    def forward(self, *modalities: Tensor) -> Tensor:
        total = torch.zeros_like(modalities[0][:, :1] @ self.mean[None])
        weight = torch.zeros_like(modalities[0][:, :1])
        counts = torch.zeros_like(weight)
        for place, (rows, each) in enumerate(zip(modalities, self.weights, strict=True)):
            length = rows.square().sum(1, keepdim=True).sqrt()
            cosines = (rows / length.clamp(min=1e-12)) @ self.get_buffer(f"bank_{place}")
            values, numbers = cosines.topk(self.k, dim=1)
            # On a grid of 2^-24, as the search itself: what is orthogonal up to rounding is no neighbour.
            near = (values > 2**-24).to(rows.dtype)
            total = total + each * self.share * (self.items[numbers] * near[:, :, None]).sum(1)
            weight = weight + each * (length > 0).to(rows.dtype)
            counts = counts + near.sum(1, keepdim=True)
        return torch.where(counts > 0, total / weight.clamp(min=1e-12), self.mean)


def towers(run: Run) -> tuple[UserTower, ItemTower | None, list[str]]:
    """A run's towers and the modalities that the second reads, in order; no second where the model ranks no cold items
    by content."""
    part: Vectors = run.model.vector_part(run.data.query_users(run.support("test")))
    vectors = run.model.forward()
    user = UserTower(run.model.fold_in(vectors._replace(items=torch.from_numpy(part.items)))).eval()
    scale, cold = (part.cold.scale, part.cold.rule) if isinstance(part.cold, Scaled) else (1.0, part.cold)
    if not isinstance(cold, Resembling):
        return user, None, []
    banks, names, near, table = [], list(cold.neighbours.weights), cold.neighbours, scale * cold.table
    for name in names:
        modality = run.data.modalities[name]
        rows = unit_rows(modality.features)
        dense = rows if isinstance(rows, np.ndarray) else rows.toarray()
        banks.append(dense * (modality.mask & run.data.warm_items)[:, None].astype(np.float32))
    mean = table[run.data.warm_items].mean(axis=0)
    return user, ItemTower(banks, table, mean, near.k, list(near.weights.values())).eval(), names


def write_towers(run: Run, folder: Path) -> None:
    """Write `user_tower.onnx` (input `history`, output `vector`) and, of a model that ranks cold items by content,
    `item_tower.onnx` (an input for each modality, output `vector`)."""
    user, item, names = towers(run)
    _write(user, (torch.zeros(2, run.dataset.n_items),), ["history"], folder / USER_TOWER)
    if item is not None:
        blank = tuple(torch.ones(2, run.data.modalities[name].width) for name in names)
        _write(item, blank, names, folder / ITEM_TOWER)


def _write(tower: nn.Module, example: tuple[Tensor, ...], names: list[str], path: Path) -> None:
    batch: Any = torch.export.Dim("batch")
    shapes: Any = tuple({0: batch} for _ in example)
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    with atomic(path) as temporary, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logger.setLevel(logging.ERROR)
        try:
            torch.onnx.export(
                tower,
                example,
                str(temporary),
                input_names=names,
                output_names=["vector"],
                dynamo=True,
                external_data=False,
                dynamic_shapes=(shapes,) if isinstance(tower, ItemTower) else shapes,
                verbose=False,
            )
        finally:
            logger.setLevel(level)
