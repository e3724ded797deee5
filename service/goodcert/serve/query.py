"""The query of a certify request: what may be asked, each thing at most once."""

from collections.abc import Sequence

from goodcert.serve.certify import Radius, parse_radius
from goodcert.serve.errors import MethodNotOffered, RepeatedParameter, UnknownParameter

METHODS = ("ibp",)
PARAMETERS = ("epsilon", "method")


def parse_query(items: Sequence[tuple[str, str]], default_epsilon: str) -> Radius:
    """The radius to certify. Raises QueryRefused."""
    given = dict(items)
    unknown = given.keys() - set(PARAMETERS)
    if unknown:
        raise UnknownParameter(f"{sorted(unknown)}")
    if len(given) < len(items):
        raise RepeatedParameter
    if given.get("method", METHODS[0]) not in METHODS:
        raise MethodNotOffered
    return parse_radius(given.get("epsilon", default_epsilon))
