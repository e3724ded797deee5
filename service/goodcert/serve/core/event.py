"""The event that a trigger raises, with its payload in the form of a Standard Webhook."""

from base64 import b64encode
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple
from uuid import uuid4

import orjson

from goodcert.serve.core import timestamps
from goodcert.serve.core.logs import traceparent


class Event(NamedTuple):
    """id: the `webhook-id`, the same in every attempt. raised_at: in the form of `timestamp`. payload: JSON.
    traceparent: the span of the request that raised it, None where none was made."""

    id: str
    trigger: str
    raised_at: str
    payload: bytes
    traceparent: str | None


def event(kind: str, trigger: str, told: Mapping[str, Any], image: bytes | None) -> Event:
    """kind: the `type` of the payload. told: its `data`, beside the name of the trigger. image: the upload."""
    raised_at = timestamps.text_of(datetime.now(UTC))
    data = {"trigger": trigger, **told}
    if image is not None:
        data["image"] = b64encode(image).decode()
    payload = orjson.dumps({"type": kind, "timestamp": raised_at, "data": data})
    return Event(f"msg_{uuid4().hex}", trigger, raised_at, payload, traceparent.get() or None)
