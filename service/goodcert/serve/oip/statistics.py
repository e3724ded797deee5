"""How many infer requests came, per version of a model, since the process started."""

import time
from dataclasses import dataclass, field

from goodcert.serve.oip.schemas import Duration, ModelStatistics, Statistics
from goodcert.serve.repository.repository import ServedModel


@dataclass
class _Tally:
    last_inference_ms: int = 0
    images: int = 0
    success: Duration = field(default_factory=lambda: Duration(count=0, ns=0))
    fail: Duration = field(default_factory=lambda: Duration(count=0, ns=0))


class InferenceCounts:
    """Counts requests of this protocol only; /metrics has those of /v1, too, and the engine's own times."""

    def __init__(self) -> None:
        self._tallies: dict[tuple[str, str], _Tally] = {}

    def succeeded(self, model: ServedModel, images: int, seconds: float) -> None:
        tally = self._of(model)
        tally.last_inference_ms = time.time_ns() // 1_000_000
        tally.images += images
        _add(tally.success, seconds)

    def failed(self, model: ServedModel, seconds: float) -> None:
        _add(self._of(model).fail, seconds)

    def told(self, models: list[ServedModel]) -> Statistics:
        """As the protocol has them; times are of whole requests, in nanoseconds."""
        return {"model_stats": [_told(model, self._of(model)) for model in models]}

    def _of(self, model: ServedModel) -> _Tally:
        return self._tallies.setdefault((model.name, model.version), _Tally())


def _add(duration: Duration, seconds: float) -> None:
    duration["count"] += 1
    duration["ns"] += round(seconds * 1e9)


def _told(model: ServedModel, tally: _Tally) -> ModelStatistics:
    return {
        "name": model.name,
        "version": model.version,
        "last_inference": tally.last_inference_ms,
        "inference_count": tally.images,
        "inference_stats": {"success": tally.success, "fail": tally.fail},
    }
