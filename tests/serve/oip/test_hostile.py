"""Whatever comes as an infer request is answered or refused; nothing else ever comes out of its reader."""

import struct
from contextlib import suppress

import numpy as np
import orjson
from hypothesis import given
from hypothesis import strategies as st

from goodcert.serve.core.errors import ServeError
from goodcert.serve.oip.infer_request import Expected, parse

EXPECTED = Expected((1, 2, 2), "0.3", most_images=8)
RAW = np.array([0, 0.25, 0.5, 1], dtype=np.float32).tobytes()
NAMES = st.sampled_from(
    ["id", "parameters", "inputs", "outputs", "name", "images", "shape", "datatype", "data", "epsilon", "label"]
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | NAMES | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES | st.text(max_size=4), inner, max_size=4),
    max_leaves=12,
)


def request(raw=RAW, **changes):
    tensor = {
        "name": "images",
        "datatype": "FP32",
        "shape": [1, 1, 2, 2],
        "parameters": {"binary_data_size": len(raw)},
    }
    return {
        "id": "a",
        "inputs": [tensor | changes],
        "outputs": [{"name": "label"}],
        "parameters": {"epsilon": 0.1},
    }


def read(message, raw=RAW):
    head = orjson.dumps(message)
    try:
        asked = parse(head + raw, str(len(head)), "", EXPECTED)
    except ServeError:
        return None
    if not isinstance(asked.images, list):
        assert np.all((asked.images >= 0) & (asked.images <= 255))
    return asked


@given(st.sampled_from(["id", "inputs", "outputs", "parameters"]), JSON)
def test_any_value_in_the_place_of_a_part(part, value):
    read(request() | {part: value})


@given(st.sampled_from(["name", "datatype", "shape", "parameters", "data"]), JSON)
def test_any_value_in_the_place_of_a_part_of_the_tensor(part, value):
    read(request(**{part: value}))


@given(st.sampled_from(["epsilon", "method", "timeout", "priority", "binary_data_output"]), JSON)
def test_any_value_in_the_place_of_a_parameter(name, value):
    read(request() | {"parameters": {name: value}})


@given(JSON)
def test_any_value_in_the_place_of_json_data(data):
    message = request(data=data, parameters={})
    read(message, b"")
    message["inputs"][0]["datatype"] = "UINT8"
    read(message, b"")


@given(st.binary(max_size=40), st.integers(0, 4))
def test_any_bytes_in_the_place_of_elements(raw, count):
    asked = read(request(raw, datatype="BYTES", shape=[count]), raw)
    if asked is not None:
        assert b"".join(struct.pack("<I", len(image)) + image for image in asked.images) == raw


@given(
    st.binary(max_size=60), st.none() | st.text(max_size=4) | st.integers(-1, 70).map(str), st.text(max_size=10)
)
def test_any_bytes_in_the_place_of_a_request(body, header_length, query):
    with suppress(ServeError):
        parse(body, header_length, query, EXPECTED)


@given(st.lists(st.floats(width=32), min_size=4, max_size=4))
def test_float32_pixels_are_taken_as_they_are_or_not_at_all(values):
    pixels = np.array(values, dtype=np.float32)
    asked = read(request(), pixels.tobytes())
    if all(0 <= value <= 1 for value in values):
        assert asked.images.tobytes() == pixels.tobytes()
    else:
        assert asked is None
