"""The thin typed client of the service: images in, certificates out, with or without `await`."""

from goodcert.client.aio import AsyncClient
from goodcert.client.errors import (
    BadRequest,
    ConnectionFailed,
    DeadlinePassed,
    Denied,
    GoodcertError,
    InvalidValue,
    NotFound,
    Overloaded,
    PartError,
    ServiceError,
    Timeout,
    TooLarge,
    UnreadableAnswer,
    UnreadableImage,
)
from goodcert.client.requests import Image, Options
from goodcert.client.results import Certificate, EngineInfo, ImageInfo, ModelInfo, ModelRef, Prediction
from goodcert.client.sync import Client

__all__ = [
    "AsyncClient",
    "BadRequest",
    "Certificate",
    "Client",
    "ConnectionFailed",
    "DeadlinePassed",
    "Denied",
    "EngineInfo",
    "GoodcertError",
    "Image",
    "ImageInfo",
    "InvalidValue",
    "ModelInfo",
    "ModelRef",
    "NotFound",
    "Options",
    "Overloaded",
    "PartError",
    "Prediction",
    "ServiceError",
    "Timeout",
    "TooLarge",
    "UnreadableAnswer",
    "UnreadableImage",
]
