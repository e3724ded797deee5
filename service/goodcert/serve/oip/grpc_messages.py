"""The messages of the gRPC form, made of inference.binpb, which scripts/proto.py makes of inference.proto.

They live in a pool of their own: in the default one they would clash with those of any other library in the
process that speaks this protocol.
"""

from functools import cache
from importlib.resources import files
from typing import Any

from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass

PACKAGE = "inference"
SERVICE = f"{PACKAGE}.GRPCInferenceService"


@cache
def _pool() -> DescriptorPool:
    pool = DescriptorPool()
    data = files("goodcert.serve.oip").joinpath("inference.binpb").read_bytes()
    for file in FileDescriptorSet.FromString(data).file:
        pool.Add(file)
    return pool


@cache
def message(name: str) -> Any:
    """The class of a message, such as `ModelInferRequest`."""
    return GetMessageClass(_pool().FindMessageTypeByName(f"{PACKAGE}.{name}"))


@cache
def calls() -> dict[str, tuple[Any, Any]]:
    """The classes of request and response of every call of the service, by its name."""
    methods = _pool().FindServiceByName(SERVICE).methods
    return {
        method.name: (GetMessageClass(method.input_type), GetMessageClass(method.output_type))
        for method in methods
    }
