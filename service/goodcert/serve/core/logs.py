"""Structured logging: one line for each event, as text or as JSON, with the id of the request.

No line holds a traceback, a path of a file, or the text of an exception, which may quote anything: an error is
named by its type and by the functions it went through, the innermost last.
"""

import logging
import traceback
import warnings
from contextvars import ContextVar
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Literal

import orjson

Format = Literal["text", "json"]

# The request that is being answered, "" outside of one.
request_id: ContextVar[str] = ContextVar("request_id", default="")
# Its span, as W3C Trace Context writes it (version-trace-span-flags), "" where none is made.
traceparent: ContextVar[str] = ContextVar("traceparent", default="")

_MOST_PLACES = 12


def configure(kind: Format) -> None:
    """Write everything from INFO up to standard error, uvicorn's lines included."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonLines() if kind == "json" else TextLines())
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    # Python writes them past the log, with paths; decoders give one for many a bad image.
    warnings.simplefilter("ignore")


class JsonLines(logging.Formatter):
    """time (RFC 3339, UTC), level, logger, pid, message; request_id and the `fields` of `extra`, if any."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "pid": record.process,
            "message": _message(record),
            **_fields(record),
        }
        return orjson.dumps(line, default=str).decode()


class TextLines(logging.Formatter):
    """The same for people: time, level, logger: message, and the rest as name=value."""

    def format(self, record: logging.LogRecord) -> str:
        time = self.formatTime(record)
        fields = "".join(f" {name}={value!r}" for name, value in _fields(record).items())
        return f"{time} {record.levelname} {record.name}: {_message(record)}{fields}"


def _message(record: logging.LogRecord) -> str:
    """One line; of a traceback, which the framework makes of a start that failed, what it ends with."""
    text = record.getMessage().strip()
    return text.splitlines()[-1] if text.startswith("Traceback ") else text.replace("\n", " ")


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    fields = dict(getattr(record, "fields", {}))
    if request := request_id.get():
        fields["request_id"] = request
    if parent := traceparent.get():
        fields["trace_id"] = parent.split("-")[1]
    if record.exc_info and record.exc_info[0]:
        fields |= {"error": record.exc_info[0].__name__, "at": _places(record.exc_info[2])}
    return fields


def _places(trace: TracebackType | None) -> list[str]:
    """`module.function:line` of every frame, the innermost last."""
    frames = [
        (frame.f_globals.get("__name__", "?"), frame.f_code.co_name, line)
        for frame, line in traceback.walk_tb(trace)
    ]
    return [f"{module}.{function}:{line}" for module, function, line in frames[-_MOST_PLACES:]]
