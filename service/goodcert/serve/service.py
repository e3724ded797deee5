"""What a handler needs at hand, opened and closed with the application."""

from dataclasses import dataclass

from fastapi import Request

from goodcert.serve.access.in_flight import BytesInFlight
from goodcert.serve.callers import Callers
from goodcert.serve.certify import Certifier
from goodcert.serve.departure import Departure
from goodcert.serve.lifecycle import Lifecycle
from goodcert.serve.problems import Answers
from goodcert.serve.repository.everywhere import Changes
from goodcert.serve.repository.repository import Repository
from goodcert.serve.settings import Settings
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
    callers: Callers
    in_flight: BytesInFlight
    departure: Departure
    changes: Changes


def service_of(request: Request) -> Service:
    """The service behind a request."""
    service: Service = request.app.state.service
    return service
