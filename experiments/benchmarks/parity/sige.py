"""SIGE: there is no published code; the formulas of its docstring are written out slowly, item by item."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from recsys.experiments.benchmarks.parity.compare import Comparison, gradients, matrix, shaken
from recsys.experiments.benchmarks.parity.material import Material
from recsys.experiments.benchmarks.parity.slowly import (
    infonce,
    lightgcn,
    log_sigmoid,
    nearest,
    normalised,
    squares,
    unit,
)
from recsys.models.multimodal.sige import SIGE

SOURCE = None
K, TOGETHER, BETA, STRENGTH, TAU = 5, 4, 0.3, 0.1, 0.2
WEIGHTS = {"perturbed": 0.5, "anchored": 0.4, "fused": 0.3, "reg": 0.2}
SAME = ("user_table", "item_table", "project.0.weight", "project.1.bias", "fuse.query.2.weight")


def compare(folder: Path | None, given: Material) -> Comparison:
    found, batch = Comparison(), given.batch()
    settings = {"layers": 2, "item_layers": 2, "k": K, "k_collaborative": TOGETHER, "beta": BETA}
    ours = shaken(given.ours(SIGE, strength=STRENGTH, temperature=TAU, **settings, **WEIGHTS))
    weights = dict(ours.named_parameters())
    n_users, n_items = given.shape
    taken = torch.from_numpy(given.interactions.toarray()).double()

    together = nearest(taken.T, TOGETHER, itself=False)
    graphs = []
    for rows in given.features.values():
        similar = nearest(torch.from_numpy(rows).double(), K, itself=True)
        graphs.append(normalised((1 - BETA) * similar + BETA * together))
    for name, graph, own in zip(given.features, graphs, ours.graphs.graphs, strict=True):
        found.graphs(f"items, {name}", matrix(own), graph)

    both = torch.cat(
        [torch.cat([taken.new_zeros(n_users, n_users), taken], 1), torch.zeros(n_items, n_users + n_items)]
    )
    adjacency = normalised(both + both.T)
    users, items = lightgcn(adjacency, weights["user_table"], weights["item_table"], 2)
    of_items, of_users = [], []
    for number, (rows, graph) in enumerate(zip(given.features.values(), graphs, strict=True)):
        layer = weights[f"project.{number}.weight"], weights[f"project.{number}.bias"]
        projected = torch.stack([layer[0] @ row + layer[1] for row in unit(rows)])
        gated = weights["item_table"] * torch.sigmoid(projected)
        of_items.append(graph @ (graph @ gated))
        of_users.append(adjacency[:n_users, n_users:] @ of_items[-1])
    fused = [_fused(weights, semantics) for semantics in (of_users, of_items)]
    vectors = ours()
    found.vectors("users", vectors.users, users + fused[0])
    found.vectors("items", vectors.items, items + fused[1])

    final = users + fused[0], items + fused[1]
    triples = list(
        zip(*(ids.tolist() for ids in (batch.users, batch.positives, batch.negatives[:, 0])), strict=True)
    )
    bpr = -sum(log_sigmoid(final[0][u] @ (final[1][i] - final[1][j])) for u, i, j in triples) / len(triples)
    l2 = sum(squares(final[0][u], final[1][i], final[1][j]) for u, i, j in triples) / (2 * len(triples))
    terms = {"bpr": bpr, "l2": WEIGHTS["reg"] * l2}
    draws = torch.Generator().manual_seed(1)
    sides = (users, fused[0], of_users, batch.users), (items, fused[1], of_items, batch.positives)
    for behaviour, joined, semantics, ids in sides:
        rows = sorted(set(ids.tolist()))
        views = [_perturbed(joined[rows], draws) for _ in range(2)]
        parts = {
            "perturbed": infonce(*views, TAU),
            "anchored": sum(infonce(behaviour[rows].detach(), one[rows], TAU) for one in semantics),
            "fused": infonce(behaviour[rows], joined[rows], TAU),
        }
        for name, value in parts.items():
            terms[name] = terms.get(name, 0) + WEIGHTS[name] * value
    ours.start_epoch(0, torch.Generator().manual_seed(1))
    own = ours.loss(batch)
    for name, value in own.items():
        found.loss(name, value, terms[name])
    expected, got = gradients(ours, sum(terms.values())), gradients(ours, sum(own.values()))
    found.parameters({name: name for name in SAME}, got, expected)
    return found


def _fused(weights: dict[str, Tensor], semantics: list[Tensor]) -> Tensor:
    """sum_m a_m E_m, row by row."""
    inner, bias, query = (weights[f"fuse.query.{name}"] for name in ("0.weight", "0.bias", "2.weight"))
    rows = []
    for views in zip(*semantics, strict=True):
        logits = torch.stack([query[0] @ torch.tanh(inner @ view + bias) for view in views])
        shares = logits.exp() / logits.exp().sum()
        rows.append(sum(share * view for share, view in zip(shares, views, strict=True)))
    return torch.stack(rows)


def _perturbed(rows: Tensor, draws: torch.Generator) -> Tensor:
    """e + strength ||e|| / mean ||e|| sign(e) * |noise| / ||noise||, the second part a constant."""
    noise = torch.randn(rows.shape, generator=draws).double().abs()
    lengths = np.array([float(row.detach().norm()) for row in rows])
    shifted = []
    for row, drawn, length in zip(rows, noise, lengths, strict=True):
        shift = STRENGTH * length / lengths.mean() * row.detach().sign() * drawn / drawn.norm()
        shifted.append(row + shift)
    return torch.stack(shifted)
