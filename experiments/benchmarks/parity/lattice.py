"""LATTICE."""

from __future__ import annotations

import importlib
import json
import os
import types
from pathlib import Path

import torch

from recsys.experiments.benchmarks.parity.compare import (
    UNTRAINED_FEATURES,
    Comparison,
    Source,
    difference,
    gradients,
    matrix,
    put,
    put_id_tables,
    put_linear,
)
from recsys.experiments.benchmarks.parity.foreign import foreign, widened
from recsys.experiments.benchmarks.parity.material import BATCH, WIDTH, Material
from recsys.models.multimodal.lattice import LATTICE

SOURCE = Source("CRIPAC-DIG/LATTICE", ("LATTICE-orig", "LATTICE"))
SAME = {
    "user_table": "user_embedding.weight",
    "item_table": "item_id_embedding.weight",
    "logits": "modal_weight",
    "projections.0.weight": "image_trs.weight",
    "projections.1.bias": "text_trs.bias",
    "content.0.dense": "image_embedding.weight",
    "content.1.dense": "text_embedding.weight",
}


def compare(folder: Path, given: Material) -> Comparison:
    found, batch = Comparison(), given.batch()
    n_users = given.shape[0]
    settings = {"layers": 2, "item_layers": 1, "k": 5, "skip": 0.9, "reg": 1e-5}
    ours = given.ours(LATTICE, interactions="self-loops", features="trained", **settings)
    of_epoch = ours._operator
    ours._operator = lambda edges: of_epoch(edges).double()
    arguments = ("--embed_size", str(WIDTH), "--feat_embed_dim", str(WIDTH), "--topk", "5")
    with foreign(folder / "codes", arguments=(*arguments, "--weight_size", f"[{WIDTH},{WIDTH}]")) as work:
        adjacency = _adjacency(work, given)
        features = given.features.values()
        torch.manual_seed(0)
        model = importlib.import_module("Models").LATTICE
        theirs = widened(model(*given.shape, WIDTH, [WIDTH, WIDTH], [0.1, 0.1], *features))
        put_id_tables(ours, theirs)
        put(ours.logits, theirs.modal_weight)
        put_linear(ours.projections[0], theirs.image_trs)
        put_linear(ours.projections[1], theirs.text_trs)
        found.graphs("interactions, self loops", matrix(ours.propagation), adjacency)
        plain = matrix(given.ours(LATTICE, **settings).propagation)
        apart = difference(plain, adjacency.to_dense()[:n_users, n_users:])
        for name, graph, other in zip(
            given.features, ours.raw, (theirs.image_original_adj, theirs.text_original_adj), strict=True
        ):
            found.graphs(f"items, raw {name}", graph, other)
        users, items = theirs(adjacency, build_item_graph=True)
        edges = ours._edges()
        learned = torch.zeros_like(theirs.item_adj)
        learned = learned.index_put((edges.rows, edges.columns), edges.values, accumulate=True)
        found.graphs("items, learned and raw", learned, theirs.item_adj)
        vectors = ours()
        found.vectors("users", vectors.users, users)
        found.vectors("items", vectors.items, items)
        trainer = types.SimpleNamespace(batch_size=BATCH, decay=1e-5)
        bpr_loss = importlib.import_module("main").Trainer.bpr_loss
        ours.start_epoch(0, torch.Generator())
        for step in ("first step", "later step"):
            users, items = theirs(adjacency, build_item_graph=step == "first step")
            rows = users[batch.users], items[batch.positives], items[batch.negatives[:, 0]]
            loss, own_loss = sum(bpr_loss(trainer, *rows)), sum(ours.loss(batch).values())
            found.loss(f"all terms, {step}", own_loss, loss)
            expected, got = gradients(theirs, loss), gradients(ours, own_loss)
            for name, other in SAME.items():
                if other in expected:
                    found.gradients(f"{name}, {step}", got[name], expected[other])
    found.depart(
        "the interaction graph is D^-1/2 A D^-1/2",
        "LightGCN's own, as in the other models here",
        "`interactions: self-loops` (compared above)",
        apart,
    )
    found.depart(*UNTRAINED_FEATURES)
    found.depart(
        "learned edges have positive cosines", "a negative weight has no square root of a degree", "none"
    )
    return found


def _adjacency(work: Path, given: Material) -> torch.Tensor:
    """Their interaction graph of the material; leaves the current folder where their model looks for files."""
    (work / "codes").mkdir()
    path = work / "data/baby"
    (path / "5-core").mkdir(parents=True)
    taken = {str(user): list(map(int, items)) for user, items in enumerate(given.interactions.tolil().rows)}
    for part in ("train", "val", "test"):
        (path / f"5-core/{part}.json").write_text(json.dumps(taken if part == "train" else {}))
    os.chdir(work / "codes")
    data = importlib.import_module("utility.load_data").Data(str(path), BATCH)
    graph = data.get_adj_mat()[1].tocoo()
    ends = torch.stack(
        [torch.from_numpy(graph.row.astype("int64")), torch.from_numpy(graph.col.astype("int64"))]
    )
    return torch.sparse_coo_tensor(ends, torch.from_numpy(graph.data).double(), graph.shape)
