"""The options of uvicorn from the settings: protocol class, timeouts, limit of connections, TLS."""

import ssl
from functools import partial
from typing import Any

from goodcert.serve.http.problems import Answers
from goodcert.serve.server import tls
from goodcert.serve.server.connections import Connection, Guard, Patience
from goodcert.serve.settings.settings import Settings


def options(settings: Settings, answers: Answers) -> dict[str, Any]:
    """Keyword arguments for `uvicorn.Config`. Raises SettingsError when the files for TLS are not good."""
    patience = Patience(
        settings.idle_timeout_ms / 1000,
        settings.header_timeout_ms / 1000,
        settings.body_timeout_ms / 1000,
        settings.max_connections,
    )
    context = tls.context(settings)
    return {
        "http": partial(Connection, guard=Guard(patience, answers)),
        "ws": "none",
        "timeout_keep_alive": patience.idle,
        "proxy_headers": False,  # nothing asks where a request came from
        **(_tls(context, patience.headers) if context else {}),
    }


def _tls(context: ssl.SSLContext, handshake_seconds: float) -> dict[str, Any]:
    return {
        "ssl_context_factory": lambda *_: context,
        "loop": partial(tls.event_loop, handshake_seconds),
    }
