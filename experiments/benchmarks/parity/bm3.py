"""BM3."""

from __future__ import annotations

from pathlib import Path
from unittest import mock

import torch

from recsys.experiments.benchmarks.parity.compare import (
    UNTRAINED_FEATURES,
    Comparison,
    Source,
    gradients,
    matrix,
    put_id_tables,
    put_linear,
)
from recsys.experiments.benchmarks.parity.foreign import mmrec
from recsys.experiments.benchmarks.parity.material import WIDTH, Material, triple
from recsys.models.multimodal.bm3 import BM3

SOURCE = Source("enoche/BM3", ("BM3-orig", "BM3"))
SAME = {
    "user_table": "user_embedding.weight",
    "item_table": "item_id_embedding.weight",
    "predict.weight": "predictor.weight",
    "predict.bias": "predictor.bias",
    "project.0.weight": "image_trs.weight",
    "project.1.weight": "text_trs.weight",
    "content.rows.0.dense": "image_embedding.weight",
    "content.rows.1.dense": "text_embedding.weight",
}


def compare(folder: Path, given: Material) -> Comparison:
    found, batch, dropped = Comparison(), given.batch(), 0.5
    n_users, n_items = given.shape
    ours = given.ours(BM3, layers=1, dropout=dropped, contrast=2.0, reg=0.1, features="trained")
    how = {"n_layers": 1, "reg_weight": 0.1, "cl_weight": 2.0, "dropout": dropped}
    with mmrec(folder, "BM3", given.interactions, given.features, **how) as theirs:
        put_id_tables(ours, theirs)
        put_linear(ours.predict, theirs.predictor)
        put_linear(ours.project[0], theirs.image_trs)
        put_linear(ours.project[1], theirs.text_trs)
        found.graphs("interactions", matrix(ours.propagation), theirs.norm_adj.to_dense()[:n_users, n_users:])
        users, items = theirs.forward()
        vectors = ours()
        found.vectors("users", vectors.users, theirs.predictor(users))
        found.vectors("items", vectors.items, theirs.predictor(items))
        # The same entries are dropped: they draw for whole tables, we for the rows of the batch.
        draw = torch.Generator().manual_seed(0)
        of_users, of_items, of_second, of_first = (
            (torch.rand(rows, WIDTH, generator=draw) >= dropped).double()
            for rows in (n_users, n_items, n_items, n_items)
        )
        drawn = iter((of_users, of_items, of_second, of_first))
        with mock.patch.object(torch.nn.functional, "dropout", lambda x, p: x * next(drawn) / (1 - p)):
            loss = theirs.calculate_loss(triple(batch)).sum()
        places = batch.users, batch.positives, batch.positives, batch.positives
        masks = iter(
            mask[rows] for mask, rows in zip((of_users, of_items, of_first, of_second), places, strict=True)
        )
        with mock.patch.object(ours, "_target", lambda rows: rows.detach() * next(masks)):
            own_loss = sum(ours.loss(batch).values())
        found.loss("all terms, same entries dropped", own_loss, loss)
        expected, got = gradients(theirs, loss), gradients(ours, own_loss)
        found.parameters(SAME, got, expected)
    found.depart(*UNTRAINED_FEATURES)
    return found
