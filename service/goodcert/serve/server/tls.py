"""TLS from the settings: a certificate, its key, and the oldest version that is spoken."""

import asyncio
import ssl
from pathlib import Path
from typing import Any, Literal

from goodcert.serve.settings.settings import Settings, SettingsError

Version = Literal["1.2", "1.3"]
_VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}


def context(settings: Settings) -> ssl.SSLContext | None:
    """None without a certificate. Raises SettingsError when its files do not belong together."""
    certificate, key = settings.tls_certificate, settings.tls_key
    if certificate is None or key is None:
        return None
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.minimum_version = _VERSIONS[settings.tls_minimum_version]
    made.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
    made.set_alpn_protocols(["http/1.1"])
    try:
        # Without a password it would be asked for at the terminal, and the start hang there.
        made.load_cert_chain(certificate, key, password=_no_password)
    except (OSError, ssl.SSLError, ValueError) as error:
        raise SettingsError(_told(certificate, key)) from error
    return made


def _no_password() -> str:
    raise ValueError("the key is encrypted")


def _told(certificate: Path, key: Path) -> str:
    return (
        f"tls_certificate, tls_key: got {certificate} and {key}, expected PEM files, the key without a password, "
        "that belong together"
    )


def event_loop(handshake_seconds: float) -> asyncio.AbstractEventLoop:
    """A loop whose servers wait no longer than this for a handshake: asyncio would wait a minute, and connections
    that have not shaken hands are seen by nobody else."""

    class Loop(_base()):  # type: ignore[misc]  # known when it runs
        async def create_server(self, *args: Any, **options: Any) -> Any:
            if options.get("ssl"):
                options["ssl_handshake_timeout"] = handshake_seconds
            return await super().create_server(*args, **options)

    return Loop()


def _base() -> Any:
    """The class of loop that uvicorn would take."""
    try:
        import uvloop
    except ModuleNotFoundError:
        return asyncio.SelectorEventLoop
    return uvloop.Loop
