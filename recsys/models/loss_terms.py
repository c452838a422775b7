"""Terms of a model's loss that compare views of users or items, by configuration."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from recsys.encoders.content import ItemContent
from recsys.encoders.linear import linear
from recsys.encoders.perturbation import perturb
from recsys.errors import UserError, nearest
from recsys.graphs.operator import table_rows
from recsys.inputs.sampler import Batch
from recsys.objectives.calling import ViewObjective
from recsys.objectives.terms import ObjectiveSettings, Term, TermChange

MODALITY = "each modality"
"""Stands in a model's `views` for one view of each of its modalities, by the modality's name."""
PERTURBED, STRENGTH = "perturbed", 0.1
"""The view that is another copy each time that a term names it, and its strength where a model has none of its own."""
PAIRS = ("user", "item")
EVERY_MODALITY = "modalities"
"""Stands in a term's views for all modalities of the data set."""


class NodeViews:
    """The views of some users, items or others, row by row, each made when it is first asked for.

    Args:
        views: name -> (n, d), or what makes it.
        perturbed: number of a copy -> (n, d).
        ids: (n,) numbers of the items among all, for views of content that the model itself does not make.
        present: name -> (n,) bool, False where a node lacks that view.
        counts: (n,) how often each row stands for itself.
        anchors: draws the (a,) rows that a mean is taken over, once for a step; None: all rows.
    """

    def __init__(
        self,
        views: Mapping[str, Tensor | Callable[[], Tensor]],
        perturbed: Callable[[int], Tensor] | None = None,
        *,
        ids: Tensor | None = None,
        present: Mapping[str, Tensor] | None = None,
        counts: Tensor | None = None,
        anchors: Callable[[], Tensor | None] | None = None,
    ):
        self.views, self.perturbed = dict(views), perturbed
        self.counts, self.present = counts, dict(present or {})
        self.ids: Any = ids
        self._draw, self._anchors = anchors, list[Tensor | None]()
        self._copies: dict[int, Tensor] = {}
        self._some: Tensor | None = None

    def view(self, name: str) -> Tensor:
        """(n, d)."""
        view = self.views[name]
        if not isinstance(view, Tensor):
            self.views[name] = view = view()
        return view

    def copy(self, number: int, usual: str) -> Tensor:
        """(n, d): a perturbed copy of the view `usual`, unless the model perturbs otherwise."""
        if number not in self._copies:
            self._copies[number] = (
                self.perturbed(number)
                if self.perturbed
                else perturb(self.view(usual), STRENGTH, torch.default_generator)
            )
        return self._copies[number]

    def anchors(self) -> Tensor | None:
        """The step's rows that means are taken over."""
        if not self._anchors:
            self._anchors.append(self._draw() if self._draw else None)
        return self._anchors[0]

    def some(self, most: int, n: int) -> Tensor | None:
        """(most,) of the n rows, drawn once for a step; None: all of them, as where there are no more, or where means
        are taken over anchors."""
        if self._draw is not None or n <= most:
            return None
        if self._some is None:
            self._some = torch.randperm(n)[:most].sort().values
        return self._some


class LossTerms(nn.Module):
    """The terms of a model's loss that compare views: its own, as published or changed, and those added.

    A modality that the model makes no view of is projected to its width by a layer that these terms alone train.
    Noise comes from torch's generator, which the training seeds anew in each epoch.

    Args:
        model: the `Model`, built but for this: the weights that it starts from are the same with and without it.
        own: the published terms by name.

    Attributes:
        labels: "users" or "items" -> (n,) int64, pseudo labels of everybody, -1 of cold ones: where they are set, each
            step compares nodes of one label alone (`recsys.models.multistage`).
        most: nodes of a step that an objective compares with each other, at most; more are drawn from. None: all. The
            training sets it where it makes batches larger than asked for: all pairs of a batch's nodes would cost the
            square of it.

    Raises:
        UserError: an objective, view, term or argument that there is not, or one that does not fit.
    """

    def __init__(self, model: Any, own: Mapping[str, Term] | None = None):
        super().__init__()
        own = own or {}
        self.settings: ObjectiveSettings = model.settings.objectives
        self.model_name, self.usual = type(model).__name__, model.usual_views
        self.offered = offered_views(model)
        self.modalities = model.data.modalities
        self.objectives: dict[str, ViewObjective] = {}
        self.labels: dict[str, Tensor] = {}
        self.most: int | None = None
        every = self._all_terms(own)
        self.terms = {name: term for name, term in every.items() if term.weight}
        for name, term in self.terms.items():
            self._check(name, term, model)
        width, generator = model.settings.width, model.init_generator
        self.predicted = [name for name in self.terms if self.objectives[name].predicts]
        sizes = [model.view_widths.get(self.terms[name].views[0], width) for name in self.predicted]
        self.predictors = nn.ModuleList(linear(size, size, generator) for size in sizes)
        asked = {view for term in self.terms.values() if term.nodes == "items" for view in term.views}
        names = sorted(asked - set(self.offered.get("items", ())))
        self.content = ItemContent({name: self.modalities[name] for name in names})
        self.project = self.content.layers(width, generator)
        if names:
            model.reads_content = True
        if every != own or self.settings.harmonise:
            # An added term is over a batch's distinct nodes, and reconciled gradients are no means over rows.
            model.trains_in_shares = False
        if self.terms or self.settings.harmonise or self.settings.log_gradients:
            # Views and gradients are compared whole.
            model.trains_by_columns = False
        if self.settings.harmonise is True and len(self.terms) < 2:
            raise UserError(
                f"objectives.harmonise: {self.model_name} has {len(self.terms)} terms that compare views, and there is "
                "nothing to reconcile; add one, or list the terms of the loss"
            )

    def __len__(self) -> int:
        return len(self.terms)

    def _all_terms(self, own: Mapping[str, Term]) -> dict[str, Term]:
        known = [*own, *ObjectiveSettings.model_fields]
        for name in self.settings.own:
            if name not in own:
                rest = "" if own else ", nor any other of its own; add one by objectives.extra"
                near = nearest(name, known)
                raise UserError(f"objectives: {self.model_name} has no term '{name}'{rest}{near}")
        terms = {name: self._changed(term, self.settings.own.get(name)) for name, term in own.items()}
        for term in self.settings.extra:
            base = name = f"{term.objective}_{term.nodes}"
            number = 2
            while name in terms:
                name, number = f"{base}_{number}", number + 1
            views = self._expanded(term.views) or self._usual(term.nodes)
            terms[name] = term.model_copy(update={"views": views})
        return terms

    def _usual(self, nodes: str) -> list[str]:
        return list(PAIRS if nodes == "pairs" else self.usual)

    def _expanded(self, views: list[str]) -> list[str]:
        """`views` with each modality's name in place of "modalities"."""
        groups = {EVERY_MODALITY: list(self.modalities)}
        return [name for view in views for name in groups.get(view, [view])]

    def _changed(self, term: Term, change: TermChange | None) -> Term:
        """`term` with what `change` names; its views and arguments stay where the objective can take them."""
        if change is None:
            return term
        old, new = ViewObjective(term.objective, {}), ViewObjective(change.objective or term.objective, {})
        kept = {name: value for name, value in term.arguments.items() if name in new.accepts}
        nodes = change.nodes or term.nodes
        views = term.views
        if old.form.views == "two" and new.form.views == "each":
            views = views[:1]
        narrow = old.form.views != "several" and new.form.views == "several"
        if nodes != term.nodes or narrow or len(views) < new.fewest:
            views = self._usual(nodes)
        return Term(
            objective=new.name,
            views=self._expanded(change.views or []) or views,
            nodes=nodes,
            weight=term.weight if change.weight is None else change.weight,
            arguments=kept | change.arguments,
        )

    def _check(self, name: str, term: Term, model: Any) -> None:
        """UserError where the term cannot be computed: on its names, and on a trial call."""
        where = f"objectives: term '{name}'"
        objective = self.objectives[name] = ViewObjective(term.objective, term.arguments)
        if len(term.views) < objective.fewest:
            given = ", ".join(term.views) or "none"
            raise UserError(f"{where}: {term.objective} compares two views or more, and was given {given}")
        for side in sides(term):
            if side not in self.offered:
                others = ", ".join(sorted(self.offered))
                raise UserError(f"{where}: {self.model_name} offers no views of {side}, but of {others}")
            known = [*self.offered[side], *(self.modalities if term.nodes == "items" else ())]
            for view in term.views:
                if view not in known:
                    raise UserError(
                        f"{where}: {self.model_name} offers no view '{view}' of {side}{nearest(view, known)}"
                    )
        usual = model.settings.width
        widths = [model.view_widths.get(view, usual) for view in term.views]
        if objective.form.views == "several" and len(set(widths)) > 1:
            got = ", ".join(f"{view} {width}" for view, width in zip(term.views, widths, strict=True))
            raise UserError(f"{where}: {term.objective} compares views of one width, and got {got}")
        generator = torch.Generator().manual_seed(0)
        trial = [torch.randn(4, width, generator=generator) for width in widths]
        try:
            objective(trial, generator=generator, predict=nn.Identity())
        except UserError as error:
            raise UserError(f"{where}: {error}") from None
        except (
            Exception
        ) as error:  # a stranger's function, or an argument of another type, may raise anything
            reason = " ".join(f"{type(error).__name__}: {error}".split())[:160]
            given = f"{term.objective} cannot be computed with {term.arguments}"
            raise UserError(f"{where}: {given} ({reason})") from None

    def forward(self, nodes: Mapping[str, NodeViews]) -> dict[str, Tensor]:
        """The terms by name, weighted.

        Args:
            nodes: "users", "items", "pairs" or "bundles" -> the views of a step's rows.
        """
        if len(self.content):
            add_content(nodes["items"], self.content, self.project)
        values = {}
        for name, term in self.terms.items():
            parts = [self._value(name, term, nodes[side]) for side in sides(term)]
            values[name] = term.weight * sum(parts[1:], start=parts[0])
        return values

    def _value(self, name: str, term: Term, nodes: NodeViews) -> Tensor:
        views = []
        for place, view in enumerate(term.views):
            if view == PERTURBED:
                views.append(nodes.copy(term.views[:place].count(PERTURBED), self.usual[0]))
                continue
            views.append(nodes.view(view))
        present, counts = [nodes.present.get(view) for view in term.views], nodes.counts
        if self.most and not self.objectives[name].form.by_row:
            rows = nodes.some(self.most, len(views[0]))
            if rows is not None:
                rows = rows.to(views[0].device)
                views = [table_rows(rows, view) for view in views]
                present = [None if held is None else held[rows] for held in present]
                counts = None if counts is None else counts[rows]
        return self.objectives[name](
            views,
            present,
            counts=counts,
            anchors=nodes.anchors(),
            generator=torch.default_generator,
            predict=self.predictors[self.predicted.index(name)] if name in self.predicted else None,
        )

    def rows(self, side: str, ids: Tensor) -> Tensor:
        """The numbers of the users or items that a step compares: `ids`, unless `labels` are set; then as many, at
        most, of one label, which is drawn in proportion to its members."""
        labels = self.labels.get(side)
        if labels is None:
            return ids
        known = (labels >= 0).nonzero().squeeze(1)
        label = labels[known[torch.randint(len(known), ())]]
        members = (labels == label).nonzero().squeeze(1)
        return members[torch.randperm(len(members))[: len(ids)]].sort().values.to(ids.device)

    def batch_views(
        self, batch: Batch, users: Mapping[str, Tensor], items: Mapping[str, Tensor]
    ) -> dict[str, NodeViews]:
        """The views of a batch's distinct users, of its distinct positives, and of its pairs.

        Args:
            users, items: name -> (n_users, d) and (n_items, d), the views of everybody.
        """
        usual = self.usual[0]
        user_ids, item_ids = (
            self.rows("users", batch.users.unique()),
            self.rows("items", batch.positives.unique()),
        )
        return {
            "users": NodeViews(rows_of(user_ids, users), ids=user_ids),
            "items": NodeViews(rows_of(item_ids, items), ids=item_ids),
            "pairs": pair_views(
                lambda: table_rows(batch.users, users[usual]),
                lambda: table_rows(batch.positives, items[usual]),
            ),
        }

    def of_batch(
        self, batch: Batch, users: Mapping[str, Tensor], items: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        """`forward` over what `batch_views` gives."""
        return self(self.batch_views(batch, users, items)) if len(self) else {}


def add_content(nodes: NodeViews, content: ItemContent, layers: Iterable[nn.Module]) -> None:
    """Each modality's rows of the nodes, which are items, through its layer, as a view."""
    for name, rows, layer in zip(content.names, content, layers, strict=True):
        nodes.views[name] = partial(rows, layer, nodes.ids)
        if not rows.complete:
            nodes.present[name] = rows.present if nodes.ids is None else rows.present[nodes.ids]


def pair_views(users: Callable[[], Tensor], items: Callable[[], Tensor]) -> NodeViews:
    """The two views of interactions: who took, and what was taken."""
    return NodeViews(dict(zip(PAIRS, (users, items), strict=True)))


def rows_of(ids: Tensor, views: Mapping[str, Tensor]) -> dict[str, Callable[[], Tensor]]:
    """The rows `ids` of each view, made when they are asked for."""
    return {name: partial(table_rows, ids, view) for name, view in views.items()}


def sides(term: Term) -> tuple[str, ...]:
    """Whose views the term compares, one after another."""
    return ("users", "items") if term.nodes == "both" else (term.nodes,)


def offered_views(model: Any) -> dict[str, list[str]]:
    """Whose views a model offers, and their names: with its modalities, perturbed ones, and pairs of both sides."""
    modalities: Sequence[str] = list(getattr(model, "modalities", ()))
    offered = {}
    for side, names in model.views.items():
        spelled = [n for name in names for n in (modalities if name == MODALITY else [name])]
        offered[side] = [*spelled, PERTURBED]
    if {"users", "items"} <= set(offered):
        offered["pairs"] = list(PAIRS)
    return offered
