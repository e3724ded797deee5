"""What a handler needs at hand, opened and closed with the application."""

from dataclasses import dataclass

from fastapi import Request

from goodcert.serve.admission.in_flight import BytesInFlight
from goodcert.serve.certifier.certifier import Certifier
from goodcert.serve.core.lifecycle import Lifecycle
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


def service_of(request: Request) -> Service:
    """The service behind a request."""
    service: Service = request.app.state.service
    return service
