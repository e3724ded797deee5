"""What is sent: one entry of `BODIES` is one more kind of request that is measured."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from goodcert.artifact import Metadata
from goodcert.bounds.ball import ByteBall, parse_epsilon
from goodcert.images.decode import decode, open_image
from goodcert.images.preprocess import Prepared, prepare

SIDE = 28
Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Body:
    """path: with the model's name to be put in. encode: an image to a body. understand: a body to what the engine
    takes, as the service does it. probe: a path that is there where the service has this kind."""

    path: str
    encode: Callable[[Pixels], bytes]
    understand: Callable[[bytes, Metadata], Prepared]
    headers: Callable[[bytes], Mapping[str, str]] = field(default=lambda body: {})  # noqa: ARG005  by default none
    probe: str = "/health/live"


def images(count: int) -> list[Pixels]:
    """Digits on black squares, (28, 28), a little different each: they compress as those of MNIST do."""
    rng, made = np.random.default_rng(0), []
    for i in range(count):
        image = Image.new("L", (SIDE, SIDE))
        left, top = rng.integers(6, 12, 2).tolist()
        font = ImageFont.load_default(16 + i % 7)
        ImageDraw.Draw(image).text((left, top - 4), str(i % 10), fill=255, font=font)
        made.append(np.array(image))
    return made


def _png(image: Pixels) -> bytes:
    file = BytesIO()
    Image.fromarray(image).save(file, "PNG")
    return file.getvalue()


def _decode(body: bytes, metadata: Metadata) -> Prepared:
    return prepare(decode(body, open_image(body, SIDE * SIDE)), metadata, parse_epsilon(metadata.epsilon))


_TENSOR = json.dumps(
    {
        "inputs": [
            {
                "name": "images",
                "shape": [1, 1, SIDE, SIDE],
                "datatype": "UINT8",
                "parameters": {"binary_data_size": SIDE * SIDE},
            }
        ],
        "parameters": {"binary_data_output": True},
    }
).encode()


def _tensor(body: bytes, metadata: Metadata) -> Prepared:
    pixels = np.frombuffer(body[len(_TENSOR) :], np.uint8).reshape(1, SIDE, SIDE)
    return Prepared(ByteBall(pixels, parse_epsilon(metadata.epsilon)), "model_input")


BODIES = {
    "PNG": Body("/v1/models/{model}/certify", _png, _decode, headers=lambda _: {"Content-Type": "image/png"}),
    "protocol, UINT8": Body(
        "/v2/models/{model}/infer",
        lambda image: _TENSOR + image.tobytes(),
        _tensor,
        headers=lambda _: {"Inference-Header-Content-Length": str(len(_TENSOR))},
        probe="/v2/health/live",
    ),
}
