"""What every request passes: the token, the limit on its body, the log, the meters, and a last net for faults."""

from __future__ import annotations

import hmac
import os
import time
import traceback
import uuid
from collections.abc import Callable, MutableMapping
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

OPEN = ("/", "/health")
"""Paths that need no token."""
SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 5.0)
SHARED = "PROMETHEUS_MULTIPROC_DIR"
"""Environment variable that names the folder in which several workers' meters are added up."""


class Meters:
    """Counts and seconds of requests."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "recsys_requests_total", "Requests answered.", ["path", "status"], registry=self.registry
        )
        self.seconds = Histogram(
            "recsys_request_seconds", "Time to answer.", ["path"], buckets=SECONDS, registry=self.registry
        )

    def text(self) -> bytes:
        """As Prometheus reads them; of all workers where there are several."""
        if SHARED not in os.environ:
            return generate_latest(self.registry)
        registry = CollectorRegistry()
        MultiProcessCollector(registry)
        return generate_latest(registry)


def told_of_fault(scope: MutableMapping[str, Any], error: Exception, tell: Callable[..., None]) -> str:
    """Write a fault's traceback to the log, once a request; what the client is told instead."""
    if "fault" not in scope:
        scope["fault"] = uuid.uuid4().hex[:12]
        tell(level="error", id=scope["fault"], traceback="".join(traceback.format_exception(error)))
    return f"internal error; the service's log has it under {scope['fault']}"


class TooLarge(Exception):
    """A body beyond the limit."""


class Gate:
    """ASGI middleware.

    Args:
        app: what answers.
        body: bytes of a body at most.
        token: what `Authorization: Bearer` must give; empty: nothing.
        tell: called with the fields of each line of the log.
    """

    def __init__(self, app: ASGIApp, body: int, token: str, meters: Meters, tell: Callable[..., None]):
        self.app, self.body, self.token, self.meters, self.tell = app, body, token, meters, tell
        self.paths = {getattr(route, "path", "") for route in getattr(app, "routes", ())}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        start, status = time.perf_counter(), 0

        async def watched(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._answer(scope, receive, watched)
        except Exception as error:  # the application raises again what it has answered
            text = told_of_fault(scope, error, self.tell)
            if status == 0:
                await JSONResponse({"error": text}, status_code=500)(scope, receive, watched)
        finally:
            took = time.perf_counter() - start
            # What strangers may choose is no label: each new one would be kept for good.
            path = scope["path"] if scope["path"] in self.paths else "other"
            self.meters.requests.labels(path, str(status)).inc()
            self.meters.seconds.labels(path).observe(took)
            self.tell(
                level="info",
                method=scope["method"],
                path=scope["path"][:200],
                status=status,
                ms=round(1000 * took, 2),
            )

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self.token and scope["path"] not in OPEN and not self._may(scope):
            headers = {"WWW-Authenticate": "Bearer"}
            refused = JSONResponse({"error": "give the service's token"}, status_code=401, headers=headers)
            await refused(scope, receive, send)
            return
        try:
            body = await self._read(receive)
        except TooLarge:
            text = f"the body is beyond {self.body:,} bytes"
            await JSONResponse({"error": text}, status_code=413)(scope, receive, send)
            return
        if body is None:
            return
        given = False

        async def again() -> Message:
            nonlocal given
            if given:
                return await receive()
            given = True
            return {"type": "http.request", "body": body, "more_body": False}

        await self.app(scope, again, send)

    def _may(self, scope: Scope) -> bool:
        given = dict(scope["headers"]).get(b"authorization", b"")
        return hmac.compare_digest(given, f"Bearer {self.token}".encode())

    async def _read(self, receive: Receive) -> bytes | None:
        """The whole body; None where the client has gone."""
        body = bytearray()
        while True:
            message = await receive()
            if message["type"] != "http.request":
                return None
            body += message.get("body", b"")
            if len(body) > self.body:
                raise TooLarge
            if not message.get("more_body"):
                return bytes(body)
