"""MGCN."""

from __future__ import annotations

from pathlib import Path

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
from recsys.models.multimodal.mgcn import MGCN

SOURCE = Source("demonph10/MGCN", ("MGCN-orig", "MGCN"))
SAME = {
    "user_table": "user_embedding.weight",
    "item_table": "item_id_embedding.weight",
    "project.0.weight": "image_trs.weight",
    "project.1.bias": "text_trs.bias",
    "purify.1.weight": "gate_t.0.weight",
    "prefer.0.weight": "gate_image_prefer.0.weight",
    "fuse.query.0.weight": "query_common.0.weight",
    "fuse.query.2.weight": "query_common.2.weight",
    "content.rows.0.dense": "image_embedding.weight",
    "content.rows.1.dense": "text_embedding.weight",
}


def compare(folder: Path, given: Material) -> Comparison:
    found, batch = Comparison(), given.batch()
    ours = given.ours(MGCN, layers=2, item_layers=1, k=5, contrast=0.01, reg=1e-4, features="trained")
    how = {"cl_loss": 0.01, "n_ui_layers": 2, "n_layers": 1, "reg_weight": 1e-4}
    with mmrec(folder, "MGCN", given.interactions, given.features, **how) as theirs:
        put_id_tables(ours, theirs)
        for layers, modules in (
            (ours.project, (theirs.image_trs, theirs.text_trs)),
            (ours.purify, (theirs.gate_v[0], theirs.gate_t[0])),
            (ours.prefer, (theirs.gate_image_prefer[0], theirs.gate_text_prefer[0])),
            (ours.fuse.query[::2], theirs.query_common[::2]),
        ):
            for own, other in zip(layers, modules, strict=True):
                put_linear(own, other)
        found.graphs("interactions", matrix(ours.propagation), theirs.R)
        for graph, name in zip(ours.graphs.graphs, ("image", "text"), strict=True):
            found.graphs(f"items, {name}", matrix(graph), getattr(theirs, f"{name}_original_adj"))
        users, items, *_ = theirs.forward(theirs.norm_adj, train=True)
        vectors = ours()
        found.vectors("users", vectors.users, users)
        found.vectors("items", vectors.items, items)
        loss, own_loss = theirs.calculate_loss(triple(batch)), sum(ours.loss(batch).values())
        found.loss("all terms", own_loss, loss)
        expected, got = gradients(theirs, loss), gradients(ours, own_loss)
        found.parameters(SAME, got, expected)
    found.depart(*UNTRAINED_FEATURES)
    return found
