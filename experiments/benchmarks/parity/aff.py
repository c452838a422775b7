"""AFF: there is no published code; the formulas of its docstring are written out slowly, instance by instance."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from recsys.experiments.benchmarks.parity.compare import Comparison, gradients, shaken
from recsys.experiments.benchmarks.parity.material import WIDTH, Material
from recsys.experiments.benchmarks.parity.slowly import infonce, unit
from recsys.inputs.sampler import Batch
from recsys.models.cold_start.aff import AFF

SOURCE = None
POPULARITY, VIEWS, PAIRS, TAU, MASKED, WITHOUT_ID, NEW = 0.7, 0.2, 0.3, 0.4, 0.5, 0.3, 0.5
SETTINGS = {
    "dropout": 0.0,
    "content_dropout": 0.0,
    "average": 0.0,
    "id_dropout": WITHOUT_ID,
    "new_users": NEW,
    "view_mask": MASKED,
    "view_weight": VIEWS,
    "interaction_weight": PAIRS,
    "popularity": POPULARITY,
    "temperature": TAU,
}
SAME = (
    "user_table",
    "item_table",
    "item_content.first.0.weight",
    "item_content.second.1.bias",
    "history_field.read.weight",
    "item_fusion.gates.first.weight",
    "user_fusion.attention.in_proj_weight",
    "item_fusion.default",
    "user_fusion.out.weight",
)
Fields = list[Tensor | None]
"""The fields of one user or item, in order; None where it lacks one."""


class Slowly:
    """The towers, one user or item at a time.

    Args:
        weights: name -> parameter, as in our model.
    """

    def __init__(self, weights: dict[str, Tensor], given: Material):
        self.weights, self.given = weights, given
        self.taken = [given.interactions[[user]].indices.tolist() for user in range(given.shape[0])]
        self.content = [unit(rows) for rows in given.features.values()]
        counts = torch.from_numpy(given.interactions.sum(0)).double()
        self.known = (1 + counts).log()
        self.usual, self.sigma = self.known.mean(), self.known.std(correction=0)

    def layer(self, name: str, x: Tensor) -> Tensor:
        """W x + b."""
        return self.weights[f"{name}.weight"] @ x + self.weights[f"{name}.bias"]

    def item_fields(self, item: int, with_id: bool) -> Fields:
        """Each modality, W2 gelu(W1 x + b1) + b2, and the ID."""
        fields: Fields = []
        for number, rows in enumerate(self.content):
            hidden = self.layer(f"item_content.first.{number}", rows[item])
            gelu = hidden * (1 + torch.erf(hidden / math.sqrt(2))) / 2
            fields.append(self.layer(f"item_content.second.{number}", gelu))
        return [*fields, self.weights["item_table"][item] if with_id else None]

    def user_fields(self, user: int, keys: list[Tensor], with_id: bool) -> Fields:
        """The items taken, W (sum of their keys / sqrt(their number)) + b, and the ID."""
        history = None
        if keys:
            history = self.layer("history_field.read", torch.stack(keys).sum(0) / math.sqrt(len(keys)))
        return [history, self.weights["user_table"][user] if with_id else None]

    def gates(self, noun: str, fields: Fields) -> Tensor:
        """Of all fields, zeros in the place of those missing."""
        name, zero = f"{noun}_fusion.gates", self.weights["user_table"].new_zeros(WIDTH)
        beside = torch.cat([zero if field is None else field for field in fields])
        return torch.sigmoid(self.layer(f"{name}.second", torch.relu(self.layer(f"{name}.first", beside))))

    def gated_content(self, fields: Fields) -> Tensor:
        """What a user's taste meets: the gated sum of an item's modalities."""
        total, gates = self.weights["user_table"].new_zeros(WIDTH), self.gates("item", fields)
        for gate, field in zip(gates[:-1], fields[:-1], strict=True):
            total = total if field is None else total + gate * field
        return total

    def taste(self, user: int, content: list[Tensor], with_id: bool) -> Tensor:
        """The content of the items taken, and the ID."""
        own = self.weights["user_table"][user]
        taste = own if with_id else torch.zeros_like(own)
        return taste + torch.stack(content).sum(0) / math.sqrt(len(content)) if content else taste

    def tower(self, noun: str, fields: Fields) -> Tensor:
        """Gates, attention over the fields there are and the default, layer norm, W x + b."""
        name, zero = f"{noun}_fusion", self.weights["user_table"].new_zeros(WIDTH)
        gates = self.gates(noun, fields)
        tokens = [gate * field for gate, field in zip(gates, fields, strict=True) if field is not None]
        tokens.append(self.weights[f"{name}.default"])
        projected = [
            (
                self.weights[f"{name}.attention.in_proj_weight"] @ x
                + self.weights[f"{name}.attention.in_proj_bias"]
            ).split(WIDTH)
            for x in tokens
        ]
        total = torch.zeros_like(zero)
        for x, (query, _, _) in zip(tokens, projected, strict=True):
            weights = torch.stack([query @ key / math.sqrt(WIDTH) for _, key, _ in projected]).exp()
            mixed = sum(
                w * value for w, (_, _, value) in zip(weights / weights.sum(), projected, strict=True)
            )
            total = total + x + self.layer(f"{name}.attention.out_proj", mixed)
        centred = total - total.mean()
        norm = centred / (centred.square().mean() + 1e-5).sqrt()
        scaled = norm * self.weights[f"{name}.norm.weight"] + self.weights[f"{name}.norm.bias"]
        return self.layer(f"{name}.out", scaled)


def compare(folder: Path | None, given: Material) -> Comparison:
    found = Comparison()
    ours = shaken(given.ours(AFF, **SETTINGS))
    slow = Slowly(dict(ours.named_parameters()), given)
    n_users, n_items = given.shape
    fields = [slow.item_fields(item, True) for item in range(n_items)]
    items, content = (
        [slow.tower("item", each) for each in fields],
        [slow.gated_content(each) for each in fields],
    )
    keys = [item[WIDTH + 1 :] for item in items]
    users = [
        slow.tower("user", slow.user_fields(user, [keys[i] for i in slow.taken[user]], True))
        for user in range(n_users)
    ]
    vectors = ours()
    tastes = [slow.taste(user, [content[i] for i in slow.taken[user]], True) for user in range(n_users)]
    found.vectors(
        "users and tastes", vectors.users[:, :-1], torch.cat([torch.stack(users), torch.stack(tastes)], 1)
    )
    rows = [item[:WIDTH] for item in items]
    scored = torch.cat([torch.stack(rows), torch.stack(content), slow.known[:, None]], 1)
    found.vectors("items, content and popularity", vectors.items, scored)

    # What a step draws is given to both sides.
    draws: list[Tensor] = []
    for name in ("_drawn", "_some"):
        object.__setattr__(ours, name, _recorded(getattr(ours, name), draws))
    asked = torch.arange(0, n_users, max(1, n_users // 20))
    own = ours.loss(Batch(asked, asked, asked[:, None]))
    terms = _terms(slow, asked.tolist(), iter(draws))
    for name, value in own.items():
        found.loss(name, value, terms[name])
    expected, got = gradients(ours, sum(terms.values())), gradients(ours, sum(own.values()))
    found.parameters({name: name for name in SAME}, got, expected)
    return found


def _recorded(function: Callable[..., Tensor], draws: list[Tensor]) -> Callable[..., Tensor]:
    def call(*arguments: Any) -> Tensor:
        draws.append(function(*arguments))
        return draws[-1]

    return call


def _terms(slow: Slowly, asked: list[int], drawn: Iterator[Tensor]) -> dict[str, Tensor]:
    """The loss of a step on the users `asked`, with what ours drew, in its order."""
    next(drawn)  # whether this step has a new catalogue: with probability 0
    bare = next(drawn) < WITHOUT_ID
    fields = [slow.item_fields(item, not bare[item]) for item in range(slow.given.shape[1])]
    items = [slow.tower("item", each) for each in fields]
    vectors = torch.stack([item[:WIDTH] for item in items])
    content = [slow.gated_content(each) for each in fields]
    expected = slow.usual + slow.sigma * torch.stack([item[WIDTH] for item in items])
    terms = {"popularity": POPULARITY * ((expected - slow.known) / slow.sigma)[bare].square().mean()}
    new, share, order = next(drawn) < NEW, next(drawn).square(), iter(next(drawn))
    users, user_fields, tastes, pairs = [], [], [], []
    for place, user in enumerate(asked):
        given = []
        for item in slow.taken[user]:
            if next(order) < share[place]:
                given.append(item)
            else:
                pairs.append((place, item))
        history = [items[item][WIDTH + 1 :] for item in given]
        user_fields.append(slow.user_fields(user, history, not new[place]))
        users.append(slow.tower("user", user_fields[-1]))
        tastes.append(slow.taste(user, [content[item] for item in given], not new[place]))
    losses = []
    for place, wanted in pairs:
        scores = vectors @ users[place] + torch.stack(content) @ tastes[place] + slow.known
        losses.append(scores.exp().sum().log() - scores[wanted])
    terms["rank"] = torch.stack(losses).mean()
    of_items, of_users = next(drawn).tolist(), next(drawn).tolist()
    views = _views(slow, "item", [fields[i] for i in of_items], next(drawn), next(drawn))
    views = views + _views(slow, "user", [user_fields[u] for u in of_users], next(drawn), next(drawn))
    terms["views"] = VIEWS * views / 2
    chosen = [pairs[place] for place in next(drawn).tolist()]
    sides = torch.stack([users[u] for u, _ in chosen]), torch.stack([vectors[i] for _, i in chosen])
    terms["interactions"] = PAIRS * _both_ways(*sides)
    return terms


def _views(slow: Slowly, noun: str, fields: list[Fields], *drawn: Tensor) -> Tensor:
    """InfoNCE between two views, in each of which a field is masked where the draw is below the share."""
    seen = []
    for draw in drawn:
        rows = []
        for each, row in zip(fields, draw.tolist(), strict=True):
            shown = [None if d < MASKED else field for d, field in zip(row, each, strict=True)]
            rows.append(slow.tower(noun, shown)[:WIDTH])
        seen.append(torch.stack(rows))
    return _both_ways(*seen)


def _both_ways(x: Tensor, y: Tensor) -> Tensor:
    return (infonce(x, y, TAU) + infonce(y, x, TAU)) / 2
