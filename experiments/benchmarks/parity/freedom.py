"""FREEDOM."""

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
from recsys.experiments.benchmarks.parity.material import Material, triple
from recsys.models.multimodal.freedom import FREEDOM

SOURCE = Source("enoche/FREEDOM", ("FREEDOM-orig", "FREEDOM"))
SAME = {
    "user_table": "user_embedding.weight",
    "item_table": "item_id_embedding.weight",
    "projections.0.weight": "image_trs.weight",
    "projections.1.weight": "text_trs.weight",
    "content.rows.0.dense": "image_embedding.weight",
    "content.rows.1.dense": "text_embedding.weight",
}


def compare(folder: Path, given: Material) -> Comparison:
    found, batch = Comparison(), given.batch()
    n_users = given.shape[0]
    first, second = given.features
    ours = given.ours(
        FREEDOM,
        layers=2,
        item_layers=1,
        k=5,
        prune=0.8,
        content=1e-3,
        weights={first: 0.1, second: 0.9},
        features="trained",
    )
    how = {"n_mm_layers": 1, "n_ui_layers": 2, "reg_weight": 1e-3, "dropout": 0.8, "mm_image_weight": 0.1}
    with mmrec(folder, "FREEDOM", given.interactions, given.features, lambda_coeff=0.9, **how) as theirs:
        put_id_tables(ours, theirs)
        put_linear(ours.projections[0], theirs.image_trs)
        put_linear(ours.projections[1], theirs.text_trs)
        ours.start_epoch(0, torch.Generator().manual_seed(0))
        ours.pruned.double()
        kept = matrix(ours.pruned)[tuple(theirs.edge_indices)].nonzero()[:, 0]
        with mock.patch.object(torch, "multinomial", lambda weights, count: kept[:count]):
            theirs.pre_epoch_processing()
        theirs.masked_adj = theirs.masked_adj.double()
        found.graphs("interactions", matrix(ours.full), theirs.norm_adj.to_dense()[:n_users, n_users:])
        found.graphs("same edges kept", matrix(ours.pruned), theirs.masked_adj.to_dense()[:n_users, n_users:])
        found.graphs("items", matrix(ours.item_graph), theirs.mm_adj)
        users, items = theirs.forward(theirs.norm_adj)
        vectors = ours()
        found.vectors("users", vectors.users, users)
        found.vectors("items", vectors.items, items)
        loss, own_loss = theirs.calculate_loss(triple(batch)), sum(ours.loss(batch).values())
        found.loss("all terms", own_loss, loss)
        expected, got = gradients(theirs, loss), gradients(ours, own_loss)
        found.parameters(SAME, got, expected)
    found.depart(*UNTRAINED_FEATURES)
    found.depart("modalities weigh the same in the item graph", "no reason to prefer one", "`weights`")
    return found
