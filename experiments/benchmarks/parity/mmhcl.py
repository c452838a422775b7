"""MMHCL."""

from __future__ import annotations

import importlib
import json
import os
import types
from pathlib import Path
from typing import Any

import numpy as np
import torch

from recsys.experiments.benchmarks.parity.compare import (
    Comparison,
    Source,
    gradients,
    matrix,
    put,
    put_linear,
)
from recsys.experiments.benchmarks.parity.foreign import foreign, widened
from recsys.experiments.benchmarks.parity.material import BATCH, WIDTH, Material
from recsys.models.multimodal.mmhcl import MMHCL

SOURCE = Source("Xu107/MMHCL", ("MMHCL",))
SAME = {
    "user_table": "user_ui_embedding.weight",
    "item_table": "item_ui_embedding.weight",
    "user_second": "uu_embedding.weight",
    "item_second": "ii_embedding.weight",
}
ALL_ROWS = 10**6


def compare(folder: Path, given: Material) -> Comparison:
    found = Comparison()
    for backbone, theirs in (("lightgcn", "LightGCN"), ("mf", "MF"), ("ngcf-apart", "NGCF")):
        _with(backbone, theirs, folder, given, found)
    found.depart(
        "InfoNCE is averaged over 512 nodes drawn in each step",
        "an unbiased estimate of the same loss, many times faster",
        "`anchors: 0`",
    )
    found.depart(
        "the backbone ngcf is that of its own paper",
        "the code leaves a vector itself out of its message, and has an activation for each message",
        "`backbone: ngcf-apart` (compared above)",
    )
    return found


def _with(backbone: str, name: str, folder: Path, given: Material, found: Comparison) -> None:
    """Compare ours with `backbone` and theirs with the one that they call `name`."""
    n_users, batch = given.shape[0], given.batch()
    settings = {"layers": 2, "user_layers": 3, "item_layers": 2, "k": 5, "anchors": 0, "reg": 1e-3}
    ours = given.ours(MMHCL, backbone=backbone, **settings)
    sizes = f"[{WIDTH},{WIDTH},{WIDTH}]"
    arguments = ("--embed_size", str(WIDTH), "--batch_size", str(BATCH), "--cf_model", name)
    arguments += ("--UI_layers", "2", "--weight_size", sizes)
    with foreign(folder / "codes", arguments=arguments) as work:
        _write_data(work, given)
        main, models = importlib.import_module("main"), importlib.import_module("Models")
        data = main.data_generator
        graphs = data.get_UI_mat(), data.get_I2I_Hypergraph_mul_mat(), data.get_U2U_mat()
        interactions, of_items, of_users = (graph.double() for graph in graphs)
        torch.manual_seed(0)
        theirs = widened(models.MMHCL(*given.shape, WIDTH))
        for own, other in SAME.items():
            put(ours.get_parameter(own), theirs.get_parameter(other))
        same = SAME | _put_layers(ours, theirs)
        found.graphs("interactions", matrix(ours.backbone), interactions.to_dense()[:n_users, n_users:])
        found.graphs("user hypergraph", matrix(ours.user_graph), of_users)
        found.graphs("item hypergraph", matrix(ours.item_graph), of_items)
        users, items, second_items, second_users = theirs(interactions, of_items, of_users)
        state = ours._propagate()
        for vectors, own, other in (
            ("users", state.users, users),
            ("items", state.items, items),
            ("E_uu", state.second_users, second_users),
            ("E_ii", state.second_items, second_items),
        ):
            found.vectors(f"{vectors}, {name}", own, other)
        trainer = types.SimpleNamespace(batch_size=BATCH, decay=1e-3)
        rows = users[batch.users], items[batch.positives], items[batch.negatives[:, 0]]
        bpr, penalty, _ = main.Trainer.bpr_loss(trainer, *rows)
        contrast = 0.07 * theirs.batched_contrastive_loss(items, second_items, batch_size=ALL_ROWS)
        contrast = contrast + 0.03 * theirs.batched_contrastive_loss(users, second_users, batch_size=ALL_ROWS)
        loss, own_loss = bpr + penalty + contrast, sum(ours.loss(batch).values())
        found.loss(f"all terms, {name}", own_loss, loss)
        expected, got = gradients(theirs, loss), gradients(ours, own_loss)
        found.parameters(same, got, expected, f", {name}")


def _put_layers(ours: MMHCL, theirs: Any) -> dict[str, str]:
    """Give both the same layers of NGCF, of which none drops anything; the names of their weights, ours -> theirs."""
    if not hasattr(theirs, "GC_Linear_list"):
        return {}
    module, same = ours.encoder.module, {}
    module.drop = 0.0
    for layer in range(len(theirs.dropout_list)):
        theirs.dropout_list[layer] = torch.nn.Identity()
        for own, other in (("neighbours", "GC_Linear_list"), ("products", "Bi_Linear_list")):
            put_linear(getattr(module, own)[layer], getattr(theirs, other)[layer])
            for part in ("weight", "bias"):
                same[f"encoder.module.{own}.{layer}.{part}"] = f"{other}.{layer}.{part}"
    return same


def _write_data(work: Path, given: Material) -> None:
    """The files that their loader reads, and the current folder that it reads them from."""
    (work / "codes").mkdir()
    (work / "data/Tiktok/5-core").mkdir(parents=True)
    taken = {str(user): list(map(int, items)) for user, items in enumerate(given.interactions.tolil().rows)}
    for part in ("train", "val", "test"):
        path = work / f"data/Tiktok/5-core/{part}.json"
        path.write_text(json.dumps(taken if part == "train" else {}))
    for name, rows in zip(("image", "text"), given.features.values(), strict=True):
        np.save(work / f"data/Tiktok/{name}_feat.npy", rows)
    os.chdir(work / "codes")
