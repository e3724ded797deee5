"""What schemathesis cannot read off the OpenAPI; it imports this file for what it registers."""

from itertools import count

import schemathesis
from hypothesis import strategies as st
from schemathesis.core.parameters import ParameterLocation
from schemathesis.generation import GenerationMode

from hostile_images import seeds

FILES = seeds()
KEY = "Idempotency-Key"
numbers = count()

for kind in ("png", "jpeg", "webp", "bmp"):
    own = [data for name, data in FILES.items() if name.startswith(kind)]
    schemathesis.openapi.media_type(f"image/{kind}", st.sampled_from(own))
schemathesis.openapi.media_type("application/octet-stream", st.sampled_from(list(FILES.values())))


@schemathesis.hook
def filter_case(_: schemathesis.HookContext, case: schemathesis.Case) -> bool:
    """A form of parts that are no images is answered part by part, so it is not refused as a whole."""
    body = case.meta.components.get(ParameterLocation.BODY) if case.meta else None
    return not (body and body.mode is GenerationMode.NEGATIVE and case.media_type == "multipart/form-data")


@schemathesis.hook
def before_call(_: schemathesis.HookContext, case: schemathesis.Case, __: dict[str, object]) -> None:
    """A key for another request is refused, and no schema can say so: every good one is a new one."""
    if case.meta and case.meta.generation.mode is GenerationMode.POSITIVE and case.headers and KEY in case.headers:
        case.headers[KEY] = f"key-{next(numbers)}"
