"""How many infer requests came, per version of a model, since the process started."""

import time
from dataclasses import dataclass, field
from typing import Any

from goodcert.serve.repository.repository import ServedModel


@dataclass
class _Duration:
    count: int = 0
    ns: int = 0

    def add(self, seconds: float) -> None:
        self.count += 1
        self.ns += round(seconds * 1e9)


@dataclass
class _Tally:
    last_inference_ms: int = 0
    images: int = 0
    success: _Duration = field(default_factory=_Duration)
    fail: _Duration = field(default_factory=_Duration)


class InferenceCounts:
    """Counts requests of this protocol only; /metrics has those of /v1, too, and the engine's own times."""

    def __init__(self) -> None:
        self._tallies: dict[tuple[str, str], _Tally] = {}

    def succeeded(self, model: ServedModel, images: int, seconds: float) -> None:
        tally = self._of(model)
        tally.last_inference_ms = time.time_ns() // 1_000_000
        tally.images += images
        tally.success.add(seconds)

    def failed(self, model: ServedModel, seconds: float) -> None:
        self._of(model).fail.add(seconds)

    def told(self, models: list[ServedModel]) -> dict[str, Any]:
        """As the protocol has them; times are of whole requests, in nanoseconds."""
        return {"model_stats": [_told(model, self._of(model)) for model in models]}

    def _of(self, model: ServedModel) -> _Tally:
        return self._tallies.setdefault((model.name, model.version), _Tally())


def _told(model: ServedModel, tally: _Tally) -> dict[str, Any]:
    return {
        "name": model.name,
        "version": model.version,
        "last_inference": tally.last_inference_ms,
        "inference_count": tally.images,
        "inference_stats": {"success": vars(tally.success), "fail": vars(tally.fail)},
    }
