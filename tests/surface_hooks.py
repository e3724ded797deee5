"""What schemathesis cannot read off the OpenAPI; it imports this file for what it registers."""

import json
import math
import os
from itertools import count

import schemathesis
from hypothesis import strategies as st
from schemathesis.core.parameters import ParameterLocation
from schemathesis.generation import GenerationMode

from hostile_images import seeds

FILES = seeds()
KEY = "Idempotency-Key"
MODEL = json.loads(os.environ["SURFACE_MODEL"])
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
    """Of good requests: a key for another request is refused, so every one is new; a model that is not there is
    not found, so every other one asks a model that is; and a body of the protocol fits its framing."""
    if not (case.meta and case.meta.generation.mode is GenerationMode.POSITIVE):
        return
    if case.headers and KEY in case.headers:
        case.headers[KEY] = f"key-{next(numbers)}"
    if next(numbers) % 2 and "model" in (case.path_parameters or {}):
        case.path_parameters |= {name: MODEL[name] for name in case.path_parameters}
    if case.path.endswith("/infer"):
        fit(case)


def fit(case: schemathesis.Case) -> None:
    """A tensor of the model's shape as JSON, or an encoded image, which alone may have a query."""
    if case.media_type == "application/json" and isinstance(case.body, dict):
        shape, datatype = MODEL["shape"], case.body["inputs"][0]["datatype"]
        data = [1] * math.prod(shape)
        case.body["inputs"] = [{"name": "images", "shape": shape, "datatype": datatype, "data": data}]
        case.query, case.headers = {}, {}
    else:
        case.headers = {"Inference-Header-Content-Length": "0"}
