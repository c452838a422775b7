"""The one form in which every objective is called: views of some nodes in, what is missing left out.

Objectives differ in what they take: two views or any number, an anchor and others, scores. How one is called is read
off its leading parameters (`FORMS`), for built-in ones as for those of a package.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from recsys.errors import UserError, nearest
from recsys.objectives import OBJECTIVES

Views = Literal["several", "two", "each"]
"""What an objective compares: several views of one width; two, the second of any width; or each view alone."""


class Form(NamedTuple):
    """How an objective is called.

    Attributes:
        views: how many it compares.
        pairwise: it takes two, so that the first view is compared with each of the others, and the values are added up.
        call: the function, its views and the predictor -> the function with its views in their places.
        by_row: it compares no row with another: its cost grows with the rows, not with their pairs.
    """

    views: Views
    pairwise: bool
    call: Callable[..., Tensor]
    by_row: bool = False


def _predicted(
    function: Callable[..., Tensor], views: list[Tensor], predict: nn.Module, **others: Any
) -> Tensor:
    return function([predict(view) for view in views], [view.detach() for view in views], **others)


FORMS: dict[tuple[str, ...], Form] = {
    ("views",): Form("several", False, lambda f, views, predict, **kw: f(views, **kw)),
    ("anchor", "others"): Form(
        "several", False, lambda f, views, predict, **kw: f(views[0], views[1:], **kw)
    ),
    ("z", "other"): Form("several", True, lambda f, views, predict, **kw: f(*views, **kw)),
    ("x", "y"): Form("several", True, lambda f, views, predict, **kw: f(*views, **kw), by_row=True),
    ("z", "anchor"): Form("several", True, lambda f, views, predict, **kw: f(views[1], views[0], **kw)),
    ("predictions", "targets"): Form("several", False, _predicted, by_row=True),
    ("x", "features"): Form("two", True, lambda f, views, predict, **kw: f(*views, **kw)),
    ("x",): Form("each", False, lambda f, views, predict, **kw: f(*views, **kw)),
}
"""Names of an objective's leading parameters, those without a default -> how it is called."""

FILLED = {"generator", "mask", "counts", "anchors"}
"""Arguments that are filled by the caller, not by a configuration."""


class ViewObjective:
    """An objective that compares views, by name.

    Args:
        name: as it is registered.
        arguments: of the function, by name.

    Raises:
        UserError: there is no such objective or argument, or the objective compares no views.

    Example:
        >>> import torch
        >>> rows = torch.eye(3)
        >>> both = ViewObjective("alignment", {}), ViewObjective("gram", {"temperature": 0.1})
        >>> [round(float(objective([rows, rows.flip(0)])), 2) for objective in both]
        [1.33, 6.66]
    """

    def __init__(self, name: str, arguments: Mapping[str, Any]):
        self.name, self.arguments = name, dict(arguments)
        self.function: Callable[..., Tensor] = OBJECTIVES.get(name)
        taken = leading(self.function)
        if taken not in FORMS:
            takes = ", ".join(taken) or str(inspect.signature(self.function))
            raise UserError(
                f"objective '{name}' compares no views (it takes {takes}); use one of {', '.join(comparing())}"
            )
        self.form = FORMS[taken]
        self.accepts = set(inspect.signature(self.function).parameters) - set(taken)
        for argument in arguments:
            if argument not in self.accepts - FILLED:
                known = sorted(self.accepts - FILLED)
                raise UserError(f"objective '{name}' has no argument '{argument}'{nearest(argument, known)}")

    @property
    def predicts(self) -> bool:
        """Whether it needs a predictor, a layer that is trained with it."""
        return self.form.call is _predicted

    @property
    def fewest(self) -> int:
        """Views that it needs at least."""
        return 1 if self.form.views == "each" else 2

    def __call__(
        self,
        views: Sequence[Tensor],
        present: Sequence[Tensor | None] = (),
        *,
        counts: Tensor | None = None,
        anchors: Tensor | None = None,
        generator: torch.Generator | None = None,
        predict: nn.Module | None = None,
    ) -> Tensor:
        """A scalar; 0 where less than two rows are left to compare.

        Args:
            views: each (n, d), row i of each the same node.
            present: of each view (n,) bool, False where a node lacks it; None: nobody does. An objective of an anchor
                and others that takes a `mask` (others, n) leaves out what is missing; for all others only the rows
                that have all views compared are taken.
            counts: (n,) how often each row stands for itself, for an objective that can count.
            anchors: (a,) rows that the mean is taken over, against all; an objective that knows none is given these
                rows alone.
            generator: source of noise, for an objective that draws.
            predict: predictor, for one that `predicts`.
        """
        masks = list(present) or [None] * len(views)
        whole = all(mask is None for mask in masks)
        if anchors is not None and not (whole and "anchors" in self.accepts):
            views = [view[anchors] for view in views]
            masks = [None if mask is None else mask[anchors] for mask in masks]
            counts, anchors = None if counts is None else counts[anchors], None
        filled = {"counts": counts, "anchors": anchors, "generator": generator}
        filled = {name: v for name, v in filled.items() if v is not None and name in self.accepts}
        groups: list[tuple[int, ...]] = [tuple(range(len(views)))]
        if self.form.pairwise:
            groups = [(0, other) for other in range(1, len(views))]
        elif self.form.views == "each":
            groups = [(number,) for number in range(len(views))]
        parts = [
            self._of([views[n] for n in group], [masks[n] for n in group], filled, predict)
            for group in groups
        ]
        return sum(parts[1:], start=parts[0])

    def _of(
        self,
        views: list[Tensor],
        masks: list[Tensor | None],
        filled: dict[str, Any],
        predict: nn.Module | None,
    ) -> Tensor:
        """The value of one group of views."""
        if any(mask is not None for mask in masks):
            every = torch.ones(len(views[0]), dtype=torch.bool, device=views[0].device)
            held = torch.stack([every if mask is None else mask for mask in masks])
            rows = held.all(0)
            if "mask" in self.accepts:
                rows = held[0] & held[1:].any(0)
                filled = filled | {"mask": held[1:, rows]}
            views = [view[rows] for view in views]
            if "counts" in filled:
                filled = filled | {"counts": filled["counts"][rows]}
        if len(views[0]) < 2:
            return torch.stack([view.sum() for view in views]).sum() * 0
        return self.form.call(self.function, views, predict, **filled, **self.arguments)


def leading(function: Callable[..., Any]) -> tuple[str, ...]:
    """Names of the positional parameters without a default."""
    parameters = inspect.signature(function).parameters.values()
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return tuple(p.name for p in parameters if p.kind in kinds and p.default is p.empty)


def comparing() -> list[str]:
    """The built-in objectives that compare views."""
    return [name for name in sorted(OBJECTIVES.builtin) if leading(OBJECTIVES.get(name)) in FORMS]
