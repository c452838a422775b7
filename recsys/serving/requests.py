"""What the service is asked, and what it answers."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

MOST = 10_000
"""Ids in one list of a request."""

Id = Annotated[str, Field(min_length=1, max_length=200)]
Ids = Annotated[list[Id], Field(max_length=MOST)]
Value = str | int | float | None
Cell = Value | Annotated[list[float], Field(max_length=100_000)]
Condition = (
    Annotated[str, Field(max_length=200)] | float | Annotated[list[str | float], Field(max_length=1000)]
)
Limits = dict[str, float]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


class Who(_Body):
    """One user: by id, or by the items that they took."""

    user: Id | None = Field(
        None, description="raw id of a user, whom the bundle or the interactions since know"
    )
    history: Ids | None = Field(
        None, description="raw ids of the items that somebody took, in place of a user"
    )

    @model_validator(mode="after")
    def _one(self) -> Who:
        if (self.user is None) == (self.history is None):
            raise ValueError("give user or history, and not both")
        return self


class Filters(_Body):
    """Which items may be recommended."""

    k: int = Field(10, ge=1, description="how many items")
    exclude: Ids = Field([], description="items that are left out, such as those out of stock")
    include: Ids | None = Field(None, description="the only items that may be recommended")
    where: dict[str, Condition | Limits] = Field(
        {}, description='attribute -> value, list of values, or {"min": a, "max": b}', max_length=100
    )


class RecommendBody(Who, Filters):
    """POST /recommend."""

    pool: str = Field(
        "all", pattern="^(all|new)$", description="all items, or those alone that arrived since"
    )


class SimilarBody(Filters):
    """POST /similar-items."""

    item: Id


class ExplainBody(Who):
    """POST /explain."""

    item: Id
    k: int = Field(5, ge=1, description="how many items of the history")


class NewItemsBody(_Body):
    """POST /new-items: a mapping for each item, with its id under `item`, content under the modalities' names (numbers,
    or what the data set's encoder reads) and attributes."""

    items: list[dict[Annotated[str, Field(max_length=200)], Cell]] = Field(min_length=1, max_length=1000)

    @model_validator(mode="after")
    def _ids(self) -> NewItemsBody:
        for row in self.items:
            name = row.get("item")
            if not isinstance(name, str) or not 0 < len(name) <= 200:
                raise ValueError("each item needs its id, a text of 1 to 200 characters, under 'item'")
        return self


class Interaction(_Body):
    user: Id
    item: Id


class InteractionsBody(_Body):
    """POST /interactions."""

    interactions: list[Interaction] = Field(min_length=1, max_length=MOST)


class Listed(BaseModel):
    """An item of an answer, with its attributes."""

    item: str
    score: float
    new: bool = False
    attributes: dict[str, Any] = {}


class ListAnswer(BaseModel):
    items: list[Listed]
    notes: list[str] = []
    bundle: str


class Reason(BaseModel):
    item: str
    weight: float
    attributes: dict[str, Any] = {}


class ExplainAnswer(BaseModel):
    because_of: list[Reason]
    by: str
    bundle: str
