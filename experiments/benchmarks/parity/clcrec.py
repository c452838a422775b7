"""CLCRec."""

from __future__ import annotations

import importlib
from pathlib import Path
from unittest import mock

import torch

from recsys.experiments.benchmarks.parity.compare import Comparison, Source, gradients, put, put_linear
from recsys.experiments.benchmarks.parity.foreign import foreign, widened
from recsys.experiments.benchmarks.parity.material import WIDTH, Material
from recsys.models.cold_start.clcrec import CLCRec

SOURCE = Source("weiyinwei/CLCRec", ("CLCRec",))
NEGATIVES, HIDDEN = 4, 256


def compare(folder: Path, given: Material) -> Comparison:
    found, batch = Comparison(), given.batch(NEGATIVES)
    n_users, n_items = given.shape
    first, second = (torch.from_numpy(rows) for rows in given.features.values())
    with foreign(folder, stubs=("torch_geometric", "torch_geometric.utils", "tqdm")):
        module = importlib.import_module("model_CLCRec")
        torch.manual_seed(0)
        sizes = n_users, n_items, n_items
        theirs = widened(
            module.CLCRec(*sizes, None, 0.1, WIDTH, first, second, None, 2.0, NEGATIVES, 0.5, False)
        )
        slots = torch.cat([batch.positives[:, None], batch.negatives], 1)
        people = batch.users[:, None].repeat(1, 1 + NEGATIVES)
        empty = torch.tensor([], dtype=torch.float64)
        # None and all of the slots by content: the two ends of what both draw at random, each in its own way.
        for share in (0.0, 1.0):
            ours = given.ours(CLCRec, hidden=HIDDEN, balance=0.5, mixed=share, temperature=2.0, reg=0.1)
            users, items = theirs.id_embedding.split([n_users, n_items])
            put(ours.user_table, users)
            put(ours.item_table, items)
            widths = [first.shape[1], second.shape[1]]
            for own, weight in zip(ours.first, theirs.encoder_layer1.weight.split(widths, 1), strict=True):
                put(own.weight, weight)
            put(ours.bias, theirs.encoder_layer1.bias)
            put_linear(ours.second, theirs.encoder_layer2)
            theirs.num_sample = share
            with (
                mock.patch.object(torch, "tensor", lambda *_, **__: empty),
                mock.patch.object(torch, "randint", lambda high, size: torch.arange(high)[: size[0]]),
            ):
                found.vectors("content", ours._encode(ours.content), theirs.encoder())
                loss = theirs.loss(people, slots + n_users)[0]
            own_loss = sum(ours.loss(batch).values())
            found.loss(f"all terms, mixed {share:.0f}", own_loss, loss)
            expected, got = gradients(theirs, loss), gradients(ours, own_loss)
            tables = torch.cat([got["user_table"], got["item_table"]])
            found.gradients(f"tables, mixed {share:.0f}", tables, expected["id_embedding"])
            weights = torch.cat([got["first.0.weight"], got["first.1.weight"]], 1)
            found.gradients(f"W1, mixed {share:.0f}", weights, expected["encoder_layer1.weight"])
            last = got["second.weight"], expected["encoder_layer2.weight"]
            found.gradients(f"W2, mixed {share:.0f}", *last)
    found.depart(
        "each slot is drawn by itself with probability `mixed`",
        "the code draws that many slots of the batch with replacement, so that fewer are mixed",
        "`draws: replaced`",
    )
    return found
