"""Gauges read from the running service (models, queues, GPU memory), at every scrape and once a second.

Once a second, because the values of several processes are merged from files, without asking the processes.
"""

import asyncio
import platform
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from goodcert.engine import device
from goodcert.serve.core.version import version
from goodcert.serve.repository.repository import Repository, ServedModel
from goodcert.serve.telemetry.metrics import Metrics

SECONDS = 1.0


class Vitals:
    """Writes into `metrics` what it sees of `repository`. gpu_memory: (used, total) bytes."""

    def __init__(
        self, repository: Repository, metrics: Metrics, gpu_memory: Callable[[], tuple[int, int]] = device.memory
    ) -> None:
        self._repository = repository
        self._metrics = metrics
        self._gpu_memory = gpu_memory
        self._served: set[tuple[str, ...]] = set()
        metrics.build_info[version(), platform.python_version()].set(1)

    def refresh(self) -> None:
        """Set every gauge; on the event loop, like everything that reads a queue."""
        models = self._repository.all()
        self._show_models(models)
        self._show_queues(models)
        self._metrics.models_refused.set(len(self._repository.refused))
        if any(model.engine.device == "cuda" for model in models):
            used, total = self._gpu_memory()
            self._metrics.gpu_memory["used",].set(used)
            self._metrics.gpu_memory["total",].set(total)

    @asynccontextmanager
    async def every_second(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self._repeat())
        try:
            yield
        finally:
            task.cancel()

    async def _repeat(self) -> None:
        while True:
            self.refresh()
            await asyncio.sleep(SECONDS)

    def _show_models(self, models: list[ServedModel]) -> None:
        """A model that is gone reads 0: the values of several processes cannot be taken back."""
        served = {_labels(model): model.sound for model in models}
        for labels in self._served - served.keys():
            self._metrics.model_info[labels].set(0)
            self._metrics.model_ready[labels[:2]].set(0)
            self._metrics.model_unsound[labels[:2]].set(0)
        for labels, sound in served.items():
            self._metrics.model_info[labels].set(1)
            self._metrics.model_ready[labels[:2]].set(sound)
            self._metrics.model_unsound[labels[:2]].set(not sound)
        self._served |= served.keys()

    def _show_queues(self, models: list[ServedModel]) -> None:
        for name in {labels[0] for labels in self._served}:
            queues = [batcher for model in models if model.name == name for batcher in model.batchers]
            self._metrics.queue_items[name,].set(sum(map(len, queues)))
            self._metrics.queue_oldest[name,].set(max((queue.oldest_seconds() for queue in queues), default=0))


def _labels(model: ServedModel) -> tuple[str, ...]:
    return model.name, model.version, model.sha256, model.metadata.method
