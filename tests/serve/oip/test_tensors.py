"""Tensors on the wire against bytes written by hand."""

import tracemalloc

import numpy as np
import pytest

from goodcert.serve.core.errors import BadInference
from goodcert.serve.oip import tensors


def test_float32_is_read_little_endian_and_by_rows():
    raw = bytes.fromhex("0000003f0000803f")  # 0.5 and 1.0
    read = tensors.numbers(memoryview(raw), "FP32", (1, 1, 1, 2))
    assert read.tolist() == [[[[0.5, 1.0]]]]


def test_bytes_are_read_as_they_are():
    assert tensors.numbers(memoryview(b"\x00\xff"), "UINT8", (2, 1, 1, 1)).ravel().tolist() == [0, 255]


@pytest.mark.parametrize("size", [0, 3, 5, 8])
def test_a_tensor_of_another_size_is_refused(size):
    with pytest.raises(BadInference, match=f"got {size} bytes, expected 4"):
        tensors.numbers(memoryview(bytes(size)), "FP32", (1, 1, 1, 1))


@pytest.mark.parametrize("data", [[0, 0.5, 1, 1], [[[[0, 0.5], [1, 1]]]]])
def test_json_is_read_flat_or_nested(data):
    read = tensors.numbers_of_json(data, "FP32", (1, 1, 2, 2))
    assert read.dtype == np.float32
    assert read.tolist() == [[[[0, 0.5], [1, 1]]]]


def test_a_json_number_becomes_the_nearest_float32():
    assert tensors.numbers_of_json([0.1], "FP32", (1,))[0] == np.float32(0.1)


@pytest.mark.parametrize(
    "data",
    [None, 1, "1", ["1"], [None], [True], [{}], [[1], [1, 2]], [], [1, 2], [[[1]]], [[]], {"a": 1}, 10**400],
)
def test_anything_but_as_many_numbers_is_refused(data):
    with pytest.raises(BadInference):
        tensors.numbers_of_json(data, "FP32", (1,))


@pytest.mark.parametrize("data", [[-1], [256], [0.5], [1.0], [2**70], ["1"], [True]])
def test_uint8_takes_whole_numbers_up_to_255_only(data):
    with pytest.raises(BadInference):
        tensors.numbers_of_json(data, "UINT8", (1,))


def test_a_long_text_among_short_ones_costs_no_more_than_itself():
    data = ["a"] * 1000 + ["a" * 1_000_000]
    tracemalloc.start()
    try:
        with pytest.raises(BadInference):
            tensors.numbers_of_json(data, "FP32", (1001,))
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


def test_elements_follow_their_lengths():
    raw = bytes.fromhex("03000000") + b"abc" + bytes.fromhex("00000000")
    assert tensors.elements(memoryview(raw), 2) == [b"abc", b""]
    assert tensors.pack([b"abc", b""]) == raw


@pytest.mark.parametrize(
    ("raw", "count"),
    [
        (b"", 1),
        (b"\x01\x00\x00", 1),
        (b"\x02\x00\x00\x00a", 1),
        (b"\x01\x00\x00\x00a", 2),
        (b"\x01\x00\x00\x00ab", 1),
        (b"\xff\xff\xff\xffa", 1),
        (b"\x01\x00\x00\x00a\x01\x00\x00\x00b", 1),
    ],
)
def test_elements_that_do_not_fill_the_tensor_exactly_are_refused(raw, count):
    with pytest.raises(BadInference):
        tensors.elements(memoryview(raw), count)
