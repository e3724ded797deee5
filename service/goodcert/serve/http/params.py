"""The query of a certify request: what may be asked, each thing at most once."""

from collections.abc import Sequence
from typing import cast, get_args

from goodcert.engine import Method
from goodcert.serve.certifier.certifier import Question, parse_radius
from goodcert.serve.core.errors import BadRadius, BadSigned, MethodNotOffered, RepeatedParameter, UnknownParameter
from goodcert.serve.recording.recorder import JOSE

METHODS: tuple[str, ...] = get_args(Method)
PARAMETERS = ("epsilon", "method", "radius", "signed")
SEARCH = {"true": True, "false": False}


def parse_query(items: Sequence[tuple[str, str]], default_epsilon: str) -> Question:
    """What is asked of every image of the request. Raises QueryRefused."""
    given = dict(items)
    unknown = given.keys() - set(PARAMETERS)
    if unknown:
        raise UnknownParameter(f"{sorted(unknown)}")
    if len(given) < len(items):
        raise RepeatedParameter
    method, search = given.get("method", "ibp"), given.get("radius", "false")
    if method not in METHODS:
        raise MethodNotOffered
    if search not in SEARCH:
        raise BadRadius
    return Question(parse_radius(given.get("epsilon", default_epsilon)), cast(Method, method), SEARCH[search])


def asks_for_signature(signed: str | None, accept: str) -> bool:
    """Whether a signed certificate is wanted: by `signed` of the query, or else by the Accept header, which must
    name its type. Raises BadSigned."""
    if signed is not None:
        if signed not in SEARCH:
            raise BadSigned
        return SEARCH[signed]
    return any(item.split(";")[0].strip().lower() == JOSE for item in accept.split(","))
