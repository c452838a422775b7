"""CM3."""

from __future__ import annotations

from pathlib import Path
from unittest import mock

import torch

from recsys.experiments.benchmarks.parity.compare import (
    Comparison,
    Source,
    gradients,
    matrix,
    put,
    put_linear,
)
from recsys.experiments.benchmarks.parity.foreign import mmrec
from recsys.experiments.benchmarks.parity.material import Material, triple
from recsys.models.multimodal import cm3
from recsys.models.multimodal.cm3 import CM3

SOURCE = Source("enoche/CM3", ("CM3",))
SAME = {
    "hidden.0.weight": "v_MLP.weight",
    "output.1.weight": "t_MLP_1.weight",
    "points.0.weight": "image_nn.weight",
    "points.1.bias": "text_nn.bias",
}


def compare(folder: Path, given: Material) -> Comparison:
    found, batch = Comparison(), given.batch()
    n_users, n_items = given.shape
    first, second = given.features
    how = {"n_mm_layers": 1, "n_ui_layers": 3, "dropout": 0.0, "min_sim": 0.0, "max_sim": 0.8, "alpha": 0.5}
    weights = {first: 0.1, second: 0.9}
    ours = given.ours(
        CM3, layers=3, k=5, gamma=0.9, alpha=0.5, s_max=0.8, weights=weights, features="raw", score_at="last"
    )
    data = given.interactions, given.features
    with mmrec(folder, "CM3", *data, gamma=0.9, lambda_coeff=0.9, mm_image_weight=0.1, **how) as theirs:
        tables = theirs.v_preference, theirs.t_preference, theirs.id_preference
        put(ours.user_table, torch.cat(tables, 1))
        put(ours.user_logits, theirs.theta[:, :, 0])
        for own, other in (
            (ours.hidden[0], theirs.v_MLP),
            (ours.hidden[1], theirs.t_MLP),
            (ours.output[0], theirs.v_MLP_1),
            (ours.output[1], theirs.t_MLP_1),
            (ours.points[0], theirs.image_nn),
            (ours.points[1], theirs.text_nn),
        ):
            put_linear(own, other)
        found.graphs("interactions", matrix(ours.propagation), theirs.norm_adj.to_dense()[:n_users, n_users:])
        found.graphs("items", matrix(ours.item_graph), theirs.mm_adj)
        theirs.pre_epoch_processing()
        half = torch.tensor(0.5, dtype=torch.float64)
        drawn = torch.distributions.Beta(half, half).sample((n_items,))
        same = mock.Mock(return_value=mock.Mock(sample=lambda shape: drawn))
        # Their forward keeps its unnormalised vectors in a parameter, which a tensor cannot replace today.
        theirs._parameters.pop("result_embed", None)
        with (
            mock.patch.object(torch.distributions.beta, "Beta", same),
            mock.patch.object(cm3, "symmetric_beta", lambda count, alpha, generator: drawn),
        ):
            _, _, fused = theirs.forward(theirs.masked_adj)
            state = ours._propagate(drawn)
            found.vectors("f", state.fused, fused)
            found.vectors("users", state.users, theirs.result_embed[:n_users])
            found.vectors("items", state.items, theirs.result_embed[n_users:])
            loss, own_loss = theirs.calculate_loss(triple(batch)), sum(ours.loss(batch).values())
        found.loss("all terms, same s", own_loss, loss)
        vectors, ranked = ours(), theirs.result_embed
        scores = ranked[:n_users] @ ranked[n_users:].T
        found.vectors("scores at the last s", vectors.users @ vectors.items.T, scores)
        expected, got = gradients(theirs, loss), gradients(ours, own_loss)
        of_users = [expected[f"{name}_preference"] for name in ("v", "t", "id")]
        found.gradients("user_table", got["user_table"], torch.cat(of_users, 1))
        found.gradients("user_logits", got["user_logits"], expected["theta"][:, :, 0])
        found.parameters(SAME, got, expected)
    found.depart(
        "scores take s = 1/2",
        "the code ranks with the s that the last training step drew: the same weights give other scores",
        "`score_at: last` (compared above)",
    )
    found.depart(
        "raw features are unit rows",
        "modalities of other scales weigh alike",
        "`features: raw` (compared above)",
    )
    found.depart("modalities weigh the same in the item graph", "no reason to prefer one", "`weights`")
    return found
