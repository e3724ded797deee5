"""What a handler needs at hand, opened and closed with the application."""

import asyncio
from dataclasses import dataclass

from fastapi import Request

from goodcert.serve.admission.admission import BytesInFlight
from goodcert.serve.certifier.certifier import Certifier
from goodcert.serve.core.errors import NotReady, ShuttingDown
from goodcert.serve.core.lifecycle import Lifecycle, LifecyclePhase
from goodcert.serve.http.disconnects import DisconnectWatcher
from goodcert.serve.http.problems import Answers
from goodcert.serve.recording.recorder import Recorder
from goodcert.serve.repository.cluster import Changes
from goodcert.serve.repository.repository import Repository
from goodcert.serve.settings.settings import Settings
from goodcert.serve.telemetry.exposition import Exposition


@dataclass(frozen=True)
class Service:
    """The parts of a running service. changes: loads and unloads models, here or in every process."""

    settings: Settings
    repository: Repository
    certifier: Certifier
    exposition: Exposition
    answers: Answers
    lifecycle: Lifecycle
    disconnects: DisconnectWatcher
    in_flight: BytesInFlight
    recorder: Recorder
    changes: Changes

    def request_deadline(self) -> float:
        """Until when a request that begins now may take, a time of the event loop's clock."""
        return asyncio.get_running_loop().time() + self.settings.request_timeout_ms / 1000

    def require_ready(self) -> None:
        """Whether traffic should come: there is a model, none broke its guarantee, and the process is not ending.
        Raises ShuttingDown or NotReady."""
        if self.lifecycle.phase is not LifecyclePhase.SERVING:
            raise ShuttingDown
        if not self.repository.ready():
            raise NotReady


def service_of(request: Request) -> Service:
    """The service behind a request."""
    service: Service = request.app.state.service
    return service
