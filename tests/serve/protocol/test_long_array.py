"""Long arrays mean, piece by piece, what orjson says that they mean as a whole."""

import json
import math

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from goodcert.serve.errors import BadInference, ServeError
from goodcert.serve.protocol import long_array, tensors
from goodcert.serve.protocol.long_array import LongArray
from goodcert.serve.protocol.requests import Expected, parse

SHAPES = [(4, 1, 1, 1), (1, 1, 2, 3), (2, 1, 2, 2), (3, 2, 1, 2)]
ODD = ["[", "]", ",", "[[", "]]", "],[", " ", "\n", "0", "-", ".", "e", "1", "tru", "null", '"', "", "\f", "[]"]


def read(data, shape, datatype):
    try:
        return tensors.numbers_of_json(data, datatype, shape).tolist()
    except BadInference:
        return None


def read_whole(text, shape, datatype):
    try:
        data = orjson.loads(text)
    except orjson.JSONDecodeError:
        return None
    return read(data, shape, datatype) if isinstance(data, list) else None


@st.composite
def arrays(draw):
    """A shape, and the text of an array that has it, or nearly."""
    shape = draw(st.sampled_from(SHAPES))
    number = st.integers(-1, 300) | st.floats(0, 1) | st.sampled_from([0.5, 1e300, 2**64, 10**30])
    values = draw(st.lists(number, min_size=math.prod(shape), max_size=math.prod(shape)))
    nested = np.array(values, dtype=object).reshape(shape).tolist() if draw(st.booleans()) else values
    text = json.dumps(nested, separators=(draw(st.sampled_from([",", " ,\n"])), ":"))
    for _ in range(draw(st.integers(0, 2))):
        start = draw(st.integers(1, len(text) - 1))
        stop = draw(st.integers(start, min(start + 3, len(text) - 1)))
        text = text[:start] + draw(st.sampled_from(ODD)) + text[stop:]
    return shape, text.encode()


@given(arrays(), st.integers(0, 40), st.sampled_from(["FP32", "UINT8"]))
def test_any_text_is_read_in_pieces_as_it_is_read_whole_or_refused_both_ways(array, piece_bytes, datatype):
    shape, text = array
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(long_array, "PIECE_BYTES", piece_bytes)
        patch.setattr(long_array, "_PAUSE_SECONDS", 0)
        assert read(LongArray(text), shape, datatype) == read_whole(text, shape, datatype)


@pytest.mark.parametrize(
    "text",
    [
        b"[[[[1]]],[[[2]]],]",
        b"[[[[1]]],,[[[2]]]]",
        b"[1[[[]]],[[[2]]]]",
        b"[[[[1]]][[[2]]]]",
        b"[[[1]]],[[[2]]]",
        b"[[[[1]]],[[[2]]]] ]",
        b"[[[[1]]],2]",
        b"[1,[[[2]]]]",
        b"[1 2]",
        b"[1,]",
        b"[,1]",
        b"[1,2",
        b"[1,2]]",
        b"[1,2],[3]",
        b"[01,2]",
        b"[1.,2]",
        b"[+1,2]",
        b"[NaN,1]",
        b"[true,1]",
        b'["1",1]',
        b"[]",
        b"[[]]",
        b"[1,2,3]",
        b"[1]",
    ],
)
@pytest.mark.parametrize("piece_bytes", [0, 5, 100])
def test_what_is_no_array_of_the_shape_is_refused(text, piece_bytes, monkeypatch):
    monkeypatch.setattr(long_array, "PIECE_BYTES", piece_bytes)
    with pytest.raises(BadInference):
        tensors.numbers_of_json(LongArray(text), "FP32", (2, 1, 1, 1))


def test_a_shape_that_the_text_cannot_hold_costs_nothing():
    with pytest.raises(BadInference):
        tensors.numbers_of_json(LongArray(b"[1,2]"), "FP32", (2**40, 1, 1, 1))


IMAGES = np.random.default_rng(4).integers(0, 256, (1000, 1, 4, 6))
EXPECTED = Expected((1, 4, 6), "0.3", most_images=1024)


def message(data, **more):
    tensor = {"name": "images", "datatype": "UINT8", "shape": list(IMAGES.shape), "data": data} | more
    return {"id": "data", "inputs": [tensor], "outputs": [{"name": "label"}], "parameters": {"epsilon": "0.1"}}


def understood(text):
    return parse(text, None, "", EXPECTED)


@pytest.mark.parametrize("data", [IMAGES.tolist(), IMAGES.ravel().tolist()], ids=["nested", "flat"])
@pytest.mark.parametrize("options", [{}, {"separators": (",", ":")}, {"indent": 1}, {"sort_keys": True}])
def test_a_long_request_is_understood_however_it_is_written(data, options):
    text = json.dumps(message(data), **options).encode()
    assert len(text) > 64 * 2**10
    asked = understood(text)
    assert asked.images.tolist() == IMAGES.tolist()
    assert (asked.id, asked.question.radius.told, len(asked.outputs)) == ("data", 0.1, 1)


def test_the_pieces_of_a_long_array_are_short(monkeypatch):
    lengths = []
    loads = orjson.loads
    monkeypatch.setattr(orjson, "loads", lambda text: [lengths.append(len(text)), loads(text)][1])
    text = orjson.dumps(message(IMAGES.tolist()))
    assert understood(text).images.tolist() == IMAGES.tolist()
    assert max(lengths) < long_array.PIECE_BYTES + 100 < len(text) / 3
    assert sum(lengths) > len(text)


LONG = IMAGES.ravel().tolist()


@pytest.mark.parametrize(
    "odd",
    [
        message(LONG) | {"id": "a" * 70_000},
        {"inputs": message(LONG)["inputs"], "id": "a" * 70_000},
        message(LONG) | {"more": 1},
        message([1, 2]) | {"data": LONG},
        message([1, 2]) | {"parameters": {"data": LONG}},
        message([1, 2]) | {"outputs": [{"name": "label", "data": LONG}]},
        message(None, parameters={"data": LONG}),
        message(LONG, shape=LONG),
        message(LONG, more={"data": LONG}),
        message({"data": LONG}),
        message("0" * 70_000),
        message(LONG, datatype="BYTES", shape=[1000]),
        message(LONG) | {"inputs": [message(LONG)["inputs"][0]] * 2},
        {"inputs": {"data": LONG}},
        [{"data": LONG}],
        LONG,
    ],
)
def test_a_long_request_with_anything_else_than_its_data_in_it_is_refused(odd):
    with pytest.raises(ServeError):
        understood(orjson.dumps(odd))


@pytest.mark.parametrize("cut", [1, 2, 3, 100, 40_000])
def test_a_long_request_that_is_cut_is_refused(cut):
    with pytest.raises(BadInference):
        understood(orjson.dumps(message(LONG))[:-cut])


@pytest.mark.parametrize("text", [b'"data":', b'"data":[', b"[" * 40, b"0,", b"]", b'{"inputs":[', b" "])
def test_long_nonsense_is_refused(text):
    with pytest.raises(BadInference):
        understood(text * (100_000 // len(text)))


def test_nobody_can_say_that_the_array_stands_elsewhere():
    """The place of the array is named by a word that no request can know."""
    text = orjson.dumps(message(LONG)).replace(b'"data":[', b'"data":null,"dat\\u0061":[')
    with pytest.raises(BadInference):
        understood(text)
    twice = orjson.dumps({"parameters": {"data": LONG}}).removesuffix(b"}") + b"," + orjson.dumps(message("x"))[1:]
    with pytest.raises(BadInference):
        understood(twice)


def test_binary_data_beside_a_long_array_is_refused():
    text = orjson.dumps(message(LONG, parameters={"binary_data_size": 4}))
    with pytest.raises(BadInference, match="no data"):
        parse(text + bytes(4), str(len(text)), "", EXPECTED)
