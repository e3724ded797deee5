"""Counts certify requests by model and HTTP status, those that never reach a handler included."""

from collections.abc import Callable, Container

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from goodcert.serve.telemetry.metrics import Metrics

UNKNOWN = "unknown"


class Observer:
    """ASGI middleware; a name that is not served counts as `unknown`, so that callers invent no labels."""

    def __init__(self, app: ASGIApp, *, metrics: Metrics, names: Callable[[], Container[str]]) -> None:
        self._app = app
        self._metrics = metrics
        self._names = names

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not _asks_for_certificates(scope["path"]):
            await self._app(scope, receive, send)
            return
        name = scope["path"].split("/")[3]
        label = name if name in self._names() else UNKNOWN
        started = False

        async def noted(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                self._metrics.requests[label, str(message["status"])].inc()
            await send(message)

        try:
            await self._app(scope, receive, noted)
        finally:
            if not started:  # the server will answer for an application that did not
                self._metrics.requests[label, "500"].inc()


def _asks_for_certificates(path: str) -> bool:
    if path.startswith("/v1/models/"):
        return path.endswith("/certify")
    return path.startswith("/v2/models/") and path.endswith("/infer")
