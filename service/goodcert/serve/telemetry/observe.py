"""Counts certify requests by model and HTTP status, those that never reach a handler included."""

from collections.abc import Callable, Container

from goodcert.serve.telemetry.metrics import Metrics

UNKNOWN = "unknown"


class Observer:
    """A name that is not served counts as `unknown`, so that callers invent no labels."""

    def __init__(self, metrics: Metrics, names: Callable[[], Container[str]]) -> None:
        self._metrics = metrics
        self._names = names

    def count(self, path: str, status: int) -> None:
        """A request was answered; a status of 0 is none, which the server makes a 500."""
        if _asks_for_certificates(path):
            name = path.split("/")[3]
            label = name if name in self._names() else UNKNOWN
            self._metrics.requests[label, str(status or 500)].inc()


def _asks_for_certificates(path: str) -> bool:
    if path.startswith("/v1/models/"):
        return path.endswith("/certify")
    return path.startswith("/v2/models/") and path.endswith("/infer")
