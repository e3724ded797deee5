"""Counts certify requests by model and HTTP status, those that never reach a handler included."""

from collections.abc import Callable, Container
from functools import lru_cache

from goodcert.serve.telemetry.metrics import Metrics

UNKNOWN = "unknown"
_ASKING = (("/v1/models/", "/certify"), ("/v2/models/", "/infer"))


class RequestCounter:
    """A name that is not served counts as `unknown`, so that callers invent no labels."""

    def __init__(self, metrics: Metrics, names: Callable[[], Container[str]]) -> None:
        self._metrics = metrics
        self._names = names

    def count(self, path: str, status: int) -> None:
        """A request was answered; a status of 0 is none, which the server makes a 500."""
        name = _named(path)
        if name is not None:
            label = name if name in self._names() else UNKNOWN
            self._metrics.requests[label, str(status or 500)].inc()


@lru_cache(maxsize=256)
def _named(path: str) -> str | None:
    """The model that certificates are asked of; None for any other request."""
    asks = (path.startswith(start) and path.endswith(end) for start, end in _ASKING)
    return path.split("/")[3] if any(asks) else None
