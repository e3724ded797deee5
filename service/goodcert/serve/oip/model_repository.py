"""The model repository over the network: what there is, and, where it is allowed, loading and unloading."""

from collections.abc import Mapping
from typing import Any

import orjson

from goodcert.serve.batching.threads import INLINE_BYTES
from goodcert.serve.core.errors import AdminDisabled, BadInference, NotSupported
from goodcert.serve.http.service import Service
from goodcert.serve.oip import json_fields
from goodcert.serve.repository.cluster import Changes
from goodcert.serve.repository.repository import ModelRefused


def changes_of(service: Service) -> Changes:
    """What changes the models, if callers may. Raises AdminDisabled."""
    if not service.settings.model_admin:
        raise AdminDisabled
    return service.changes


async def load(changes: Changes, name: str, body: bytes) -> None:
    """Load a model from the repository. Raises BadInference with the reason where it is refused."""
    if parameters_of(body):
        raise NotSupported("a model is loaded as it lies in the repository; its config and files cannot be sent")
    try:
        await changes.load(name)
    except ModelRefused as error:  # the reasons are written for people
        raise BadInference(f"{name}: {error}") from error


async def unload(changes: Changes, name: str, body: bytes) -> None:
    """Unload a model; `unload_dependents` may be either, as no model has any."""
    if parameters_of(body).keys() - {"unload_dependents"}:
        raise NotSupported("the parameter of unload is unload_dependents")
    await changes.unload(name)


def wants_ready_only(body: bytes) -> bool:
    """Whether a repository index is to leave out what does not answer."""
    return json_fields.flag(_object(body, "ready"), "ready", False)


def parameters_of(body: bytes) -> Mapping[str, Any]:
    """The `parameters` of a JSON body, which may be empty. Raises BadInference."""
    return json_fields.mapping(_object(body, "parameters").get("parameters"), "parameters")


def _object(body: bytes, known: str) -> Mapping[str, Any]:
    """A JSON object with nothing but what is known; empty where there is no body."""
    if len(body) > INLINE_BYTES:  # read on the event loop
        raise BadInference(f"the body: got {len(body)} bytes, expected {INLINE_BYTES} at most")
    try:
        message = orjson.loads(body or b"{}")
    except orjson.JSONDecodeError as error:
        raise BadInference("the body is not valid JSON") from error
    if not isinstance(message, dict):
        raise BadInference("the body: expected a JSON object")
    json_fields.require_known(message, (known,), "the body")
    return message
