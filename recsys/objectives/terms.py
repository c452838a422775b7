"""Terms of a loss by configuration: an objective, the views that it compares, whose they are, and its weight."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import model_validator

from recsys.errors import nearest
from recsys.settings import Settings, setting

Nodes = Literal["items", "users", "both", "pairs", "bundles"]


class Term(Settings):
    """One term of a loss.

    Example:
        >>> Term(objective="gram", views=["image", "text", "behaviour"], weight=0.1).nodes
        'items'
    """

    objective: str = setting(meaning="registered name of the objective")
    views: list[str] = setting([], "views that it compares, an anchor first; empty: the model's usual ones")
    nodes: Nodes = setting(
        "items", "whose views: items', users', both (two terms added up), a batch's pairs', bundles'"
    )
    weight: float = setting(1.0, "factor of the term; 0 leaves it out", low=0)
    arguments: dict[str, Any] = setting({}, "arguments of the objective by name, such as temperature")


class TermChange(Settings):
    """What is changed of a model's own term; what is not named stays."""

    objective: str | None = setting(None, "registered name of the objective")
    views: list[str] | None = setting(None, "views that it compares")
    nodes: Nodes | None = setting(None, "whose views")
    weight: float | None = setting(None, "factor of the term; 0 leaves it out", low=0)
    arguments: dict[str, Any] = setting({}, "arguments of the objective that are set anew")

    @classmethod
    def written_out(cls, value: Any) -> Any:
        return {"objective": value} if isinstance(value, str) else value


class ObjectiveSettings(Settings):
    """The terms of a model's loss that compare views. `NAME: objective` is short for `own: {NAME: {objective: ...}}`.

    Example:
        >>> ObjectiveSettings(items="mv_dhel").own["items"].objective
        'mv_dhel'
    """

    others: ClassVar[Any] = TermChange
    own: dict[str, TermChange] = setting({}, "changes of the model's own terms, by their names")
    extra: list[Term] = setting([], "terms that are added to the model's own")
    harmonise: bool | list[str] = setting(
        False,
        "whether the terms' gradients are reconciled where they work against each other (PCGrad's projection, row by "
        "row); a list: those of these terms of the loss",
    )
    log_gradients: bool = setting(
        False, "whether each term's share of the gradient, and its conflicts with the others, are recorded"
    )

    @model_validator(mode="before")
    @classmethod
    def _short_forms(cls, values: Any) -> Any:
        if not isinstance(values, Mapping):
            return values
        known = {key: value for key, value in values.items() if key in cls.model_fields}
        named = {key: value for key, value in values.items() if key not in known}
        own = known.get("own", {})
        if not isinstance(own, Mapping):
            return values
        changes = {}
        for name, change in {**own, **named}.items():
            if not isinstance(change, str | Mapping | TermChange):
                raise ValueError(
                    f"'{name}' must be an objective or a mapping{nearest(name, cls.model_fields)}"
                )
            changes[name] = TermChange.written_out(change)
        return {**known, "own": changes}


def objectives_setting() -> Any:
    """The field `objectives` of a model's settings."""
    return setting(ObjectiveSettings(), "terms of the loss that compare views: replaced, added, logged")
