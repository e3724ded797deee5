"""What the protocol does, whoever asks: HTTP and gRPC read requests into these values, and write these out."""

import asyncio
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from time import perf_counter

from goodcert.serve.core.errors import AdminDisabled, BadInference, NotSupported
from goodcert.serve.http.params import timeout_seconds
from goodcert.serve.http.service import Service
from goodcert.serve.oip import metadata
from goodcert.serve.oip.infer import infer
from goodcert.serve.oip.infer_request import Expected, InferRequest
from goodcert.serve.oip.infer_response import InferAnswer
from goodcert.serve.oip.schemas import IndexEntry, ModelConfig, ModelMetadata, ServerMetadata, Statistics
from goodcert.serve.oip.statistics import InferenceCounts
from goodcert.serve.repository.cluster import Changes
from goodcert.serve.repository.repository import ModelRefused, ServedModel

ReadInfer = Callable[[Expected], AbstractAsyncContextManager[InferRequest]]
"""Reads a request, given what the model expects; while the context lasts, its bytes count as under way."""


class Dataplane:
    """One for a running service. Whatever names a model raises UnknownModel."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self._statistics = InferenceCounts()

    def require_ready(self) -> None:
        """Raises ShuttingDown or NotReady."""
        self.service.require_ready()

    def server(self) -> ServerMetadata:
        return metadata.server()

    def model(self, name: str, version: str | None) -> ServedModel:
        """None: the newest version."""
        return self.service.repository.get(name, version)

    def describe(self, model: ServedModel) -> ModelMetadata:
        return metadata.model(model, self.service.repository.versions(model.name))

    def config(self, model: ServedModel) -> ModelConfig:
        return metadata.config(model, self.service.settings.max_queue_items)

    def statistics(self, name: str | None = None, version: str | None = None) -> Statistics:
        """Of all models, of all versions of one, or of one version."""
        repository = self.service.repository
        if name is None:
            return self._statistics.told(repository.all())
        return self._statistics.told([repository.get(name, version)] if version else repository.versions(name))

    def index(self, ready_only: bool) -> list[IndexEntry]:
        return metadata.index(self.service.repository, ready_only)

    async def load(self, name: str, parameters: Mapping[str, object]) -> None:
        """Raises AdminDisabled, NotSupported, and BadInference with the reason where the model is refused."""
        changes = self.changes()
        if parameters:
            raise NotSupported(
                "a model is loaded as it lies in the repository; its config and files cannot be sent"
            )
        try:
            await changes.load(name)
        except ModelRefused as error:  # the reasons are written for people
            raise BadInference(f"{name}: {error}") from error

    async def unload(self, name: str, parameters: Mapping[str, object]) -> None:
        """`unload_dependents` may be either, as no model has any. Raises AdminDisabled, NotSupported."""
        changes = self.changes()
        if parameters.keys() - {"unload_dependents"}:
            raise NotSupported("the parameter of unload is unload_dependents")
        await changes.unload(name)

    def changes(self) -> Changes:
        """What changes the models, if callers may. Raises AdminDisabled."""
        if not self.service.settings.model_admin:
            raise AdminDisabled
        return self.service.changes

    async def infer(self, model: ServedModel, read: ReadInfer) -> InferAnswer:
        """Certify the images of a request. Raises ServeError."""
        started, begun = perf_counter(), asyncio.get_running_loop().time()
        settings = self.service.settings
        try:
            model.require_sound()
            expected = Expected(model.engine.input_shape, model.metadata.epsilon, settings.max_queue_items)
            async with read(expected) as asked:
                model.require_method(asked.question.method)
                most_ms = settings.request_timeout_ms
                deadline = begun + timeout_seconds(asked.timeout_ms or most_ms, most_ms)
                rows = await infer(self.service, model, asked.images, asked.question, deadline)
        except BaseException:
            self._statistics.failed(model, perf_counter() - started)
            raise
        self._statistics.succeeded(model, len(rows), perf_counter() - started)
        return InferAnswer(asked.id, model, asked.question, asked.outputs, rows)
