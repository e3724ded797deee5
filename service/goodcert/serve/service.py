"""What a handler needs at hand, opened and closed with the application."""

from dataclasses import dataclass
from typing import Any

from fastapi import Request

from goodcert.serve.callers import Callers
from goodcert.serve.certify import Certificate, Certifier
from goodcert.serve.exposition import Exposition
from goodcert.serve.lifecycle import Lifecycle
from goodcert.serve.problems import Answers
from goodcert.serve.repository import Repository
from goodcert.serve.schemas import certificate_body
from goodcert.serve.settings import Settings


@dataclass(frozen=True)
class Service:
    """The parts of a running service."""

    settings: Settings
    repository: Repository
    certifier: Certifier
    exposition: Exposition
    answers: Answers
    lifecycle: Lifecycle
    callers: Callers

    async def issue(self, certificate: Certificate) -> dict[str, Any]:
        """The body of a certificate that is about to be sent: all of them leave through here, by whatever way
        they were asked for."""
        return certificate_body(certificate)


def service_of(request: Request) -> Service:
    """The service behind a request."""
    service: Service = request.app.state.service
    return service
