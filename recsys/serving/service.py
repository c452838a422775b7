"""The service: FastAPI over a bundle and what happened since."""

from __future__ import annotations

import math
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse, PlainTextResponse
from starlette.exceptions import HTTPException

from recsys.errors import UserError
from recsys.serving.bundle import Recipients, ServingBundle
from recsys.serving.gate import Gate, Meters, told_of_fault
from recsys.serving.requests import (
    ExplainAnswer,
    ExplainBody,
    Filters,
    InteractionsBody,
    ListAnswer,
    Listed,
    NewItemsBody,
    Reason,
    RecommendBody,
    SimilarBody,
    Who,
)
from recsys.serving.state import Snapshot, State, Unknown, need_items

FOUND = 20
"""Items that a search by title gives."""


class Limits(NamedTuple):
    """What a request may ask.

    Attributes:
        k: items at most.
        body: bytes of a request's body at most.
        token: what `Authorization: Bearer` must give; empty: nothing.
    """

    k: int = 1000
    body: int = 4 * 2**20
    token: str = ""


def make_service(state: State, limits: Limits, tell: Callable[..., None] = lambda **line: None) -> Any:
    """The ASGI application.

    Args:
        state: opened.
        tell: called with the fields of each line of the log.
    """
    app = FastAPI(
        title="recsys", docs_url=None, redoc_url=None, version=state.snapshot().bundle.about["version"]
    )
    meters = Meters()
    _errors(app, tell)

    @app.get("/", response_class=HTMLResponse, include_in_schema=False)
    def page() -> str:
        return files("recsys.serving").joinpath("page.html").read_text(encoding="utf-8")

    @app.get("/health")
    def health() -> dict[str, Any]:
        """Whether the service answers, and from what."""
        bundle, since, version = state.snapshot()
        about = {key: bundle.about[key] for key in ("model", "dataset", "answers", "new_users", "new_items")}
        new = bundle.n_items - bundle.n_catalogue
        return {"status": "ok", "bundle": version, "changed_users": len(since), "added_items": new, **about}

    @app.get("/metrics", response_class=PlainTextResponse)
    def metrics() -> PlainTextResponse:
        """Counts and seconds of requests, as Prometheus reads them."""
        return PlainTextResponse(meters.text(), media_type="text/plain; version=0.0.4")

    @app.post("/recommend")
    def recommend(body: RecommendBody) -> ListAnswer:
        """The items ranked highest for a user, or for who took the items of a history."""
        at = state.snapshot()
        bundle, recipients = at.bundle, recipient(at, body)
        allowed = allowed_of(bundle, body, limits)
        if body.pool == "new":
            allowed = np.ones(bundle.n_items, dtype=bool) if allowed is None else allowed
            allowed[: bundle.n_catalogue] = False
        _, _, items, scores = bundle.rank(recipients, body.k, allowed)
        return ListAnswer(
            items=listed(bundle, items, scores), notes=bundle.notes(recipients), bundle=at.version
        )

    @app.post("/similar-items")
    def similar_items(body: SimilarBody) -> ListAnswer:
        """The items most like one."""
        at = state.snapshot()
        need_items(at.bundle, [body.item])
        frame = at.bundle.similar_items(body.item, body.k, allowed_of(at.bundle, body, limits))
        items = listed(at.bundle, at.bundle.items.rows(frame["item"]), frame["similarity"].to_numpy())
        return ListAnswer(items=items, notes=[f"by {frame.attrs['by']}"], bundle=at.version)

    @app.post("/explain")
    def explain(body: ExplainBody) -> ExplainAnswer:
        """The items of the history that speak most for an item."""
        at = state.snapshot()
        need_items(at.bundle, [body.item])
        check_k(body.k, limits)
        reasons, by = at.bundle.explain(recipient(at, body), body.item, body.k)
        rows = attributes(at.bundle, at.bundle.items.rows([item for item, _ in reasons]))
        because = [
            Reason(item=item, weight=weight, attributes=own)
            for (item, weight), own in zip(reasons, rows, strict=True)
        ]
        return ExplainAnswer(because_of=because, by=by, bundle=at.version)

    @app.post("/interactions")
    def interactions(body: InteractionsBody) -> dict[str, int]:
        """Users took items: kept for good before this answers, and counted at the next request."""
        return {"kept": state.add_interactions([(one.user, one.item) for one in body.interactions])}

    @app.post("/new-items")
    def new_items(body: NewItemsBody) -> dict[str, list[str]]:
        """Items that arrived: kept for good before this answers, and ranked from the next request on."""
        return {"items": state.add_items(body.items)}

    @app.post("/reload")
    def reload() -> dict[str, str]:
        """Serve the bundle that is now where the service's was; a damaged one is refused, and the old one stays."""
        return {"bundle": state.reload()}

    @app.get("/items")
    def items(text: str) -> list[Listed]:
        """Items whose title or id contains a text."""
        bundle = state.snapshot().bundle
        named = bundle.attributes["title"] if "title" in bundle.attributes else pd.Series(bundle.items.names)
        held = named.astype(str).str.contains(text[:200], case=False, regex=False).to_numpy()
        rows = np.flatnonzero(held | (bundle.items.names == text))[:FOUND]
        return listed(bundle, rows, np.zeros(len(rows)))

    return Gate(app, limits.body, limits.token, meters, tell)


def recipient(at: Snapshot, who: Who) -> Recipients:
    """Raise Unknown where nobody knows the user, or an item of the history."""
    bundle = at.bundle
    if who.history is not None:
        need_items(bundle, who.history)
        return bundle.strangers(["-"], bundle.matrix([bundle.items.rows(who.history)]))
    if who.user not in at.since and bundle.users.rows([who.user])[0] < 0:
        raise Unknown(
            f"there is no user '{who.user:.100}'; give their history instead, or send /interactions"
        )
    return bundle.recipients([who.user], since=at.since)


def check_k(k: int, limits: Limits) -> None:
    if k > limits.k:
        raise UserError(f"k is {k}; this service gives at most {limits.k} items")


def allowed_of(bundle: ServingBundle, body: Filters, limits: Limits) -> np.ndarray | None:
    """The items that a request allows; see `ServingBundle.allowed`."""
    check_k(body.k, limits)
    need_items(bundle, [*body.exclude, *(body.include or [])])
    return bundle.allowed(body.exclude, body.include, body.where)


def listed(bundle: ServingBundle, items: np.ndarray, scores: np.ndarray) -> list[Listed]:
    """Items with their scores and attributes."""
    names = np.asarray(bundle.items.names)[items]
    return [
        Listed(item=str(name), score=float(score), new=bool(number >= bundle.n_catalogue), attributes=own)
        for number, name, score, own in zip(items, names, scores, attributes(bundle, items), strict=True)
    ]


def attributes(bundle: ServingBundle, items: np.ndarray) -> list[dict[str, Any]]:
    """The attributes of some items, without what they lack."""
    columns = bundle.attribute_columns
    return [
        {
            name: value
            for name, column in columns.items()
            if (value := _plain(column[item])) is not None and value != ""
        }
        for item in items
    ]


def _plain(value: Any) -> Any:
    """A cell as JSON can hold it; None where it is empty."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if isinstance(value, str | int | float | bool | None) else str(value)


def _errors(app: FastAPI, tell: Callable[..., None]) -> None:
    """What was wrong, in one line of JSON; of what is no fault of the client's, nothing but that it was."""

    @app.exception_handler(Unknown)
    def unknown(request: Request, error: Unknown) -> JSONResponse:
        return problem(404, str(error))

    @app.exception_handler(UserError)
    def refused(request: Request, error: UserError) -> JSONResponse:
        return problem(409 if request.url.path == "/reload" else 400, str(error))

    @app.exception_handler(RequestValidationError)
    def invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        fault = error.errors()[0]
        place = ".".join(str(part) for part in fault["loc"][1:] if isinstance(part, str | int))
        return problem(422, f"{place or 'body'}: {fault['msg']}"[:300])

    @app.exception_handler(HTTPException)
    def other(request: Request, error: HTTPException) -> JSONResponse:
        return problem(error.status_code, str(error.detail)[:300])

    @app.exception_handler(Exception)
    def fault(request: Request, error: Exception) -> JSONResponse:
        return JSONResponse({"error": told_of_fault(request.scope, error, tell)}, status_code=500)


def problem(status: int, message: str) -> JSONResponse:
    """An answer that says what was wrong."""
    clean = message.encode("utf-8", "replace").decode()
    return JSONResponse({"error": clean}, status_code=status)


def default_folder(bundle: Path) -> Path:
    """Where a service keeps its state unless it is told: beside the bundle."""
    return bundle.resolve().with_name(f"{bundle.resolve().name}.state")
