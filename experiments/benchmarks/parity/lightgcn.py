"""LightGCN."""

from __future__ import annotations

import importlib
import os
from pathlib import Path
from unittest import mock

import torch

from recsys.experiments.benchmarks.parity.compare import Comparison, Source, gradients, matrix, put
from recsys.experiments.benchmarks.parity.foreign import foreign, widened
from recsys.experiments.benchmarks.parity.material import WIDTH, Material
from recsys.models.collaborative.lightgcn import LightGCN

SOURCE = Source("gusye1234/LightGCN-PyTorch", ("LightGCN-PyTorch-orig", "LightGCN-PyTorch"))
SAME = {"user_table": "embedding_user.weight", "item_table": "embedding_item.weight"}


def compare(folder: Path, given: Material) -> Comparison:
    found, batch = Comparison(), given.batch()
    n_users = given.shape[0]
    ours = given.ours(LightGCN, modalities=False, layers=3, reg=1e-4)
    arguments = ("--layer", "3", "--recdim", str(WIDTH))
    with foreign(folder / "code", arguments=arguments) as work, mock.patch.object(os, "makedirs"):
        lines = [
            " ".join(map(str, (user, *items)))
            for user, items in enumerate(map(list, given.interactions.tolil().rows))
        ]
        for name in ("train", "test"):
            (work / f"{name}.txt").write_text("\n".join(lines if name == "train" else lines[:1]) + "\n")
        world, model = importlib.import_module("world"), importlib.import_module("model")
        loader = importlib.import_module("dataloader").Loader(world.config, str(work))
        torch.manual_seed(0)
        theirs = widened(model.LightGCN(world.config, loader))
        put(ours.user_table, theirs.embedding_user.weight)
        put(ours.item_table, theirs.embedding_item.weight)
        graph = theirs.Graph.to_dense()[:n_users, n_users:]
        found.graphs("interactions", matrix(ours.propagation), graph)
        users, items = theirs.computer()
        vectors = ours()
        found.vectors("users", vectors.users, users)
        found.vectors("items", vectors.items, items)
        bpr, penalty = theirs.bpr_loss(batch.users, batch.positives, batch.negatives[:, 0])
        loss, own_loss = bpr + 1e-4 * penalty, sum(ours.loss(batch).values())
        found.loss("all terms", own_loss, loss)
        expected, got = gradients(theirs, loss), gradients(ours, own_loss)
        found.parameters(SAME, got, expected)
    return found
