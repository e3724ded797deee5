"""The gRPC messages against those of the stock client."""

import importlib.util
from pathlib import Path

import pytest
from tritonclient.grpc import service_pb2

from goodcert.serve.oip import grpc_messages
from goodcert.serve.oip.grpc_translation import CALLS

ROOT = Path(__file__).parents[3]


def fields(descriptor):
    """Number, type and label of every field, nested messages unfolded."""
    return {
        field.name: (
            field.number,
            field.type,
            field.is_repeated,
            fields(field.message_type) if field.message_type else None,
        )
        for field in descriptor.fields
    }


@pytest.mark.parametrize("call", sorted(grpc_messages.calls()))
def test_messages_are_those_of_the_stock_client(call):
    theirs = service_pb2.DESCRIPTOR.services_by_name["GRPCInferenceService"].methods_by_name[call]
    for ours, known in zip(grpc_messages.calls()[call], (theirs.input_type, theirs.output_type), strict=True):
        assert ours.DESCRIPTOR.full_name == known.full_name
        assert fields(ours.DESCRIPTOR) == fields(known)


def test_every_call_is_answered():
    assert grpc_messages.calls().keys() == CALLS.keys()


def test_the_descriptors_are_those_of_the_source():
    path = ROOT / "scripts/proto.py"
    spec = importlib.util.spec_from_file_location("proto", path)
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    assert script.MADE.read_bytes() == script.descriptors(), "run scripts/proto.py"
