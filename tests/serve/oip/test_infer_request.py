"""Infer requests: what is understood, and what is refused with which words."""

import struct

import numpy as np
import orjson
import pytest

from goodcert.serve.core.errors import BadEpsilon, BadInference, MethodNotOffered, NotSupported
from goodcert.serve.oip.infer_request import Expected, parse
from goodcert.serve.oip.infer_response import COLUMNS

SHAPE = (1, 2, 2)
EXPECTED = Expected(SHAPE, "0.3", most_images=8)
PIXELS = np.array([0, 0.25, 0.5, 1], dtype=np.float32)


def tensor(datatype="FP32", shape=(1, *SHAPE), **more):
    return {"name": "images", "datatype": datatype, "shape": list(shape)} | more


def read(inputs=None, binary=b"", header=True, **message):
    inputs = [tensor(data=PIXELS.tolist())] if inputs is None else inputs
    head = orjson.dumps({"inputs": inputs} | message)
    return parse(head + binary, str(len(head)) if header else None, "", EXPECTED)


def with_binary(raw, **changes):
    given = {"parameters": {"binary_data_size": len(raw)}} | changes
    return read([tensor(**given)], raw)


class TestImages:
    def test_float32_pixels_come_from_json(self):
        images = read().images
        assert (images.dtype, images.shape) == (np.float32, (1, *SHAPE))
        assert images.ravel().tolist() == PIXELS.tolist()

    def test_float32_pixels_come_from_binary_data(self):
        assert with_binary(PIXELS.tobytes()).images.tobytes() == PIXELS.tobytes()

    def test_uint8_pixels_stay_bytes(self):
        images = with_binary(bytes([0, 1, 254, 255]), datatype="UINT8").images
        assert (images.dtype, images.ravel().tolist()) == (np.uint8, [0, 1, 254, 255])

    @pytest.mark.parametrize("shape", [(2,), (2, 1)])
    def test_encoded_images_come_as_elements(self, shape):
        raw = struct.pack("<I", 2) + b"ab" + struct.pack("<I", 1) + b"c"
        assert with_binary(raw, datatype="BYTES", shape=shape).images == [b"ab", b"c"]

    def test_a_raw_body_is_one_encoded_image(self):
        asked = parse(b"\x89PNG", "0", "", EXPECTED)
        assert asked.images == [b"\x89PNG"]
        assert asked.question.radius.told == 0.3

    def test_without_a_header_length_the_whole_body_is_json(self):
        assert read(header=False).images.shape == (1, *SHAPE)

    @pytest.mark.parametrize("pixel", [-1e-45, np.nextafter(np.float32(1), 2), np.nan, np.inf, -np.inf, -1, 2])
    def test_a_pixel_outside_the_unit_interval_is_refused_by_its_image(self, pixel):
        pixels = np.concatenate([PIXELS, [0, 0, pixel, 0]]).astype(np.float32)
        with pytest.raises(BadInference, match=r"images\[1\]"):
            with_binary(pixels.tobytes(), shape=(2, *SHAPE))

    def test_a_json_number_that_float32_cannot_hold_is_no_pixel(self):
        with pytest.raises(BadInference, match=r"images\[0\]"):
            read([tensor(data=[0, 0, 0, 1e300])])

    @pytest.mark.parametrize(
        "shape", [(), (1,), (1, 2, 2), (1, 1, 2, 3), (0, *SHAPE), (-1, *SHAPE), (9, *SHAPE), (2**40, *SHAPE)]
    )
    def test_another_shape_is_refused(self, shape):
        with pytest.raises(BadInference):
            with_binary(PIXELS.tobytes(), shape=shape)

    @pytest.mark.parametrize("shape", [None, "1", [True, 1, 2, 2], [1.0, 1, 2, 2], ["1", 1, 2, 2], {}])
    def test_a_shape_that_is_none_is_refused(self, shape):
        with pytest.raises(BadInference):
            read([tensor(data=PIXELS.tolist()) | {"shape": shape}])

    @pytest.mark.parametrize("datatype", ["FP64", "FP16", "INT8", "BOOL", "fp32", "", None, 1, []])
    def test_other_datatypes_are_refused(self, datatype):
        with pytest.raises(BadInference, match="FP32, UINT8, BYTES"):
            with_binary(PIXELS.tobytes(), datatype=datatype)

    @pytest.mark.parametrize("size", [0, 15, 17, -1, "16", 16.5, True, None])
    def test_binary_data_must_be_announced_to_the_byte(self, size):
        with pytest.raises(BadInference):
            with_binary(PIXELS.tobytes(), parameters={"binary_data_size": size})

    def test_a_tensor_given_twice_is_refused(self):
        with pytest.raises(BadInference):
            with_binary(PIXELS.tobytes(), data=PIXELS.tolist())

    def test_json_cannot_hold_encoded_images(self):
        with pytest.raises(BadInference, match="binary"):
            read([tensor("BYTES", (1,), data=["abc"])])

    @pytest.mark.parametrize(
        "inputs",
        [[], "images", {}, [1], [tensor(), tensor()], [tensor() | {"name": "x"}], [tensor() | {"more": 1}]],
    )
    def test_exactly_one_input_named_images_is_taken(self, inputs):
        with pytest.raises(BadInference):
            read(inputs)


class TestParameters:
    @pytest.mark.parametrize(("given", "told"), [("0.1", 0.1), (0.1, 0.1), (0, 0), (1, 1), (1.0, 1), (1e-5, 1e-5)])
    def test_epsilon_is_a_text_or_a_number(self, given, told):
        radius = read(parameters={"epsilon": given}).question.radius
        assert radius.told == told
        assert radius.certified >= told

    @pytest.mark.parametrize("given", [-0.1, 1.5, 2, "", "x", "1e-3", True, None, [0.1], {}])
    def test_any_other_epsilon_is_refused(self, given):
        with pytest.raises(BadEpsilon):
            read(parameters={"epsilon": given})

    def test_a_method_may_be_named(self):
        assert read(parameters={"method": "auto"}).question.method == "auto"

    @pytest.mark.parametrize("given", ["IBP", "", 1, None, ["ibp"]])
    def test_another_method_is_refused(self, given):
        with pytest.raises(MethodNotOffered):
            read(parameters={"method": given})

    def test_the_timeout_is_in_microseconds(self):
        assert read(parameters={"timeout": 2_500_000}).timeout_ms == 2500
        assert read(parameters={"timeout": 0}).timeout_ms == 0
        assert read().timeout_ms == 0

    @pytest.mark.parametrize("name", ["timeout", "priority"])
    @pytest.mark.parametrize("given", [-1, 1.5, "soon", True, None, []])
    def test_any_other_timeout_or_priority_is_refused(self, name, given):
        with pytest.raises(BadInference, match=name):
            read(parameters={name: given})

    @pytest.mark.parametrize("name", ["sequence_id", "sequence_start", "sequence_end"])
    def test_sequences_are_refused_in_words(self, name):
        with pytest.raises(NotSupported, match=f"not supported.*leave {name} out"):
            read(parameters={name: 1})

    @pytest.mark.parametrize(("given", "lane"), [(0, "monitor"), (1, "monitor"), (2, "bulk"), (9, "bulk")])
    def test_the_highest_priority_is_one_and_the_default(self, given, lane):
        assert read(parameters={"priority": given}).question.priority == lane

    def test_several_images_at_once_are_bulk(self):
        pixels = np.concatenate([PIXELS, PIXELS])
        head = tensor(data=pixels.tolist(), shape=(2, *SHAPE))
        assert read([head], parameters={"priority": 1}).question.priority == "bulk"

    def test_a_misspelt_parameter_is_refused(self):
        with pytest.raises(BadInference, match="epsilon, method, priority, timeout"):
            read(parameters={"epsilom": "0.1"})

    def test_a_raw_body_has_its_parameters_in_the_query(self):
        asked = parse(b"x", "0", "epsilon=0.1&method=auto&timeout=1000000", EXPECTED)
        assert (asked.question.radius.told, asked.question.method, asked.timeout_ms) == (0.1, "auto", 1000)

    def test_a_query_is_never_silently_ignored(self):
        with pytest.raises(BadInference, match="query"):
            parse(orjson.dumps({"inputs": [tensor(data=PIXELS.tolist())]}), None, "epsilon=0.1", EXPECTED)
        with pytest.raises(BadInference, match="once"):
            parse(b"x", "0", "epsilon=0.1&epsilon=0.2", EXPECTED)

    @pytest.mark.parametrize("name", ["shared_memory_region", "shared_memory_byte_size", "shared_memory_offset"])
    def test_shared_memory_is_refused_in_words(self, name):
        with pytest.raises(NotSupported, match="shared memory is not supported"):
            read([tensor(parameters={name: 1})])
        with pytest.raises(NotSupported, match="shared memory is not supported"):
            read(outputs=[{"name": "label", "parameters": {name: 1}}])


class TestOutputs:
    def test_without_a_wish_all_are_given_as_json(self):
        assert read().outputs == tuple((name, False) for name in COLUMNS)

    def test_one_parameter_makes_all_of_them_binary(self):
        assert all(output.binary for output in read(parameters={"binary_data_output": True}).outputs)

    def test_only_those_asked_for_are_given_in_their_order(self):
        wishes = [{"name": "verdict", "parameters": {"binary_data": True}}, {"name": "label"}]
        assert read(outputs=wishes).outputs == (("verdict", True), ("label", False))

    @pytest.mark.parametrize(
        "outputs",
        [
            [{"name": "logits"}],
            [{}],
            [1],
            "label",
            [{"name": "label"}, {"name": "label"}],
            [{"name": "label", "parameters": {"binary_data": 1}}],
            [{"name": "label", "parameters": {"more": 1}}],
            [{"name": ["label"]}],
        ],
    )
    def test_other_outputs_are_refused(self, outputs):
        with pytest.raises(BadInference):
            read(outputs=outputs)

    def test_classifications_are_refused_in_words(self):
        with pytest.raises(NotSupported, match="classification"):
            read(outputs=[{"name": "label", "parameters": {"classification": 2}}])


class TestFraming:
    @pytest.mark.parametrize("length", ["-1", "", "ten", "9" * 30, "100000", "1"])
    def test_a_header_length_that_cannot_be_is_refused(self, length):
        with pytest.raises(BadInference):
            parse(orjson.dumps({"inputs": []}), length, "", EXPECTED)

    @pytest.mark.parametrize("body", [b"", b"[]", b"null", b"{", b"\xff", b'"x"', b"[" * 3000])
    def test_a_body_that_is_no_request_is_refused(self, body):
        with pytest.raises(BadInference):
            parse(body, None, "", EXPECTED)

    def test_the_id_is_a_text(self):
        assert read(id="seven").id == "seven"
        assert read(id=None).id == ""
        with pytest.raises(BadInference):
            read(id=7)

    def test_an_unknown_part_of_the_request_is_refused(self):
        with pytest.raises(BadInference):
            read(ouputs=[])
