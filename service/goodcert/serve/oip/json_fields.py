"""The fields of a JSON message: each is what it should be, or is refused with what was expected."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from goodcert.serve.core.errors import BadInference, NotSupported

_SHARED = "shared memory is not supported; send the tensor with the request"
_REFUSED = {
    "sequence_id": "sequences are not supported: every image is answered by itself; leave sequence_id out",
    "sequence_start": "sequences are not supported; leave sequence_start out",
    "sequence_end": "sequences are not supported; leave sequence_end out",
    "classification": "the classification extension is not supported; ask for the outputs label and confidence",
    "shared_memory_region": _SHARED,
    "shared_memory_byte_size": _SHARED,
    "shared_memory_offset": _SHARED,
}


def require_known(given: Iterable[str], known: Sequence[str], where: str) -> None:
    """Raises NotSupported for what the protocol has and this service has not, BadInference for other names."""
    for name in given:
        if name in _REFUSED:
            raise NotSupported(_REFUSED[name])
        if name not in known:
            raise BadInference(f"{where}: got a name that is not one of {', '.join(known)}")


def array(value: object, where: str) -> list[Mapping[str, Any]]:
    """A JSON array of objects. Raises BadInference, as do those below."""
    if not isinstance(value, list):
        raise BadInference(f"{where}: expected a JSON array")
    return [mapping(item, where) for item in value]


def mapping(value: object, where: str) -> Mapping[str, Any]:
    """A JSON object; null is an empty one."""
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise BadInference(f"{where}: expected a JSON object")
    return value


def flag(parameters: Mapping[str, Any], name: str, default: bool) -> bool:
    """True or false, and nothing that is like them."""
    value = parameters.get(name, default)
    if not isinstance(value, bool):
        raise BadInference(f"{name}: expected true or false")
    return value


def text(value: object, where: str) -> str:
    """A string; null is an empty one."""
    if value is None:
        return ""
    if not isinstance(value, str):
        raise BadInference(f"{where}: expected a string")
    return value
