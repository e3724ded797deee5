"""Distinguishes settings among the environment variables from variables that only begin like them.

For every Service of a namespace, Kubernetes sets variables that begin with the Service's name
(`enableServiceLinks`, on by default). Those of a Service named `goodcert`, or `goodcert-web`, begin as settings
do, and its `GOODCERT_PORT` is no port but an address: `tcp://10.96.12.7:8000`.
"""

import logging
import os
import re

PREFIX = "GOODCERT_"
# Not the service's: the images for training and tests, and the key that the command line's client presents.
FOREIGN = frozenset({"GOODCERT_DATA", "GOODCERT_API_KEY"})

_LINK = re.compile(r"(\w+_)?(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)")
_PORT = re.compile(r"(\w+_)?PORT")
_ADDRESS = re.compile(r"\w+://")


def is_service_link(name: str, value: str | None) -> bool:
    """Whether a variable that begins with `PREFIX`, in letters of any size, tells of a Service."""
    rest = name.upper().removeprefix(PREFIX)
    told = _PORT.fullmatch(rest) and _ADDRESS.match(value or "")
    return bool(told or _LINK.fullmatch(rest))


def settings() -> set[str]:
    """The variables that mean settings, in capital letters, misspelt ones included."""
    return {name.upper() for name, value in _prefixed() if not is_service_link(name, value)} - FOREIGN


def warn(log: logging.Logger) -> None:
    """One line about what is ignored, if there is anything."""
    names = sorted(name for name, value in _prefixed() if is_service_link(name, value))
    if names:
        log.warning(
            "%s ignored: Kubernetes sets them for a Service; the pod's enableServiceLinks: false leaves them out",
            ", ".join(names),
        )


def _prefixed() -> list[tuple[str, str]]:
    return [(name, value) for name, value in os.environ.items() if name.upper().startswith(PREFIX)]
