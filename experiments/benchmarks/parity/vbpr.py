"""VBPR."""

from __future__ import annotations

from pathlib import Path

import torch

from recsys.experiments.benchmarks.parity.compare import Comparison, Source, difference, gradients, put
from recsys.experiments.benchmarks.parity.foreign import mmrec
from recsys.experiments.benchmarks.parity.material import Material, triple
from recsys.models.multimodal.vbpr import VBPR

SOURCE = Source("enoche/MMRec", ("MMRec",), "MMRec's VBPR, not its authors'")


def compare(folder: Path, given: Material) -> Comparison:
    found, batch = Comparison(), given.batch()
    ours = given.ours(VBPR, reg=0.0, features="raw", biases=False)
    first, second = given.features
    with mmrec(folder, "VBPR", given.interactions, given.features, reg_weight=0.0) as theirs:
        put(ours.user_table, theirs.u_embedding)
        put(ours.item_table, theirs.i_embedding)
        # Theirs has one layer over both modalities, the second in front; ours one each, with a row for beta.
        theirs.item_linear.bias.data.zero_()
        behind = given.features[second].shape[1]
        weights = theirs.item_linear.weight.data.split([behind, given.features[first].shape[1]], dim=1)
        for place, weight in zip((1, 0), weights, strict=True):
            put(ours.projections[place].weight, torch.cat([weight, torch.zeros_like(weight[:1])]))
        users, items = theirs.forward()
        vectors = ours()
        found.vectors("scores", vectors.users @ vectors.items.T, users @ items.T)
        loss, own_loss = theirs.calculate_loss(triple(batch)).sum(), sum(ours.loss(batch).values())
        found.loss("BPR", own_loss, loss)
        expected, got = gradients(theirs, loss), gradients(ours, own_loss)
        found.gradients("user_table", got["user_table"], expected["u_embedding"])
        found.gradients("item_table", got["item_table"], expected["i_embedding"])
        of_first = expected["item_linear.weight"][:, behind:]
        found.gradients(f"E, {first}", got["projections.0.weight"][:-1], of_first)
        theirs.reg_weight, penalised = 1e-4, given.ours(VBPR, reg=1e-4, features="raw", biases=False)
        penalised.load_state_dict(ours.state_dict())
        apart = difference(penalised.loss(batch)["l2"], theirs.calculate_loss(triple(batch)).sum() - loss)
    found.depart(
        "the L2 penalty is squared, over the batch's own rows and E, as in the paper",
        "MMRec's is the norm itself, of the rows that enter the score",
        "`reg: 0` removes the penalty",
        apart,
    )
    found.depart(
        "raw features are unit rows",
        "modalities of other scales weigh alike",
        "`features: raw` (compared above)",
    )
    found.depart(
        "beta . f_i and b_i are part of the score, as in the paper",
        "MMRec leaves both out",
        "`biases: false` (compared above)",
    )
    return found
