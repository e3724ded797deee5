"""What every test shares: generators that repeat themselves, one thread, and the devices that are there."""

import os

# Before PyTorch is imported, and for the processes that tests start. Its threads wait for each other without
# letting go of their cores, and tests run side by side: beside other programs the smallest training took 30 times
# the processor time on two threads that it takes on one. Tests that are about threads say how many.
os.environ["OMP_NUM_THREADS"] = "1"

from collections.abc import Callable
from io import BytesIO
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import settings
from numpy.typing import NDArray
from PIL import Image

from goodcert.artifact import Metadata

settings.register_profile("goodcert", deadline=None, derandomize=True, database=None, max_examples=60)
settings.load_profile("goodcert")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--slow", action="store_true", help="also run the tests that take minutes, and every sweep")
    parser.addoption(
        "--sweep", action="store_true", help="also run sweeps as a whole, of which a share always runs"
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    reasons = {
        "slow": "takes minutes; run with --slow",
        "sweep": "a share of it ran; run the whole with --sweep",
    }
    if config.getoption("--slow"):
        reasons.clear()
    elif config.getoption("--sweep"):
        del reasons["sweep"]
    for item in items:
        for name, reason in reasons.items():
            if item.get_closest_marker(name):
                item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=pytest.mark.cuda)])
def device(request: pytest.FixtureRequest) -> str:
    if request.param == "cuda" and not torch.cuda.is_available():
        pytest.skip("there is no NVIDIA GPU")
    return str(request.param)


@pytest.fixture
def make_metadata() -> Callable[..., Metadata]:
    """Metadata of a tiny model for grey images of 4 x 6; keywords change it."""

    def make(**changes: Any) -> Metadata:
        given: dict[str, Any] = {
            "labels": tuple("abc"),
            "height": 4,
            "width": 6,
            "color": "grey",
            "epsilon": "0.01",
            "threshold": 0.7,
            "method": "GOOD_100",
            "recipe": {"seed": 1},
            "results": {"accuracy": 0.99},
        }
        return Metadata(**(given | changes))

    return make


@pytest.fixture
def pixels() -> NDArray[np.uint8]:
    """Grey pixels of the tiny model's size, the same in every run."""
    return np.random.default_rng(3).integers(0, 256, (4, 6), dtype=np.uint8)


@pytest.fixture
def encode() -> Callable[..., bytes]:
    """Pixels or a Pillow image to the bytes of a file."""

    def encode_it(image: Image.Image | NDArray[np.uint8], kind: str = "PNG", **options: Any) -> bytes:
        image = image if isinstance(image, Image.Image) else Image.fromarray(image)
        buffer = BytesIO()
        image.save(buffer, kind, **options)
        return buffer.getvalue()

    return encode_it


@pytest.fixture
def png(pixels: NDArray[np.uint8], encode: Callable[..., bytes]) -> bytes:
    return encode(pixels)
