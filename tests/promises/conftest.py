"""The default model as it ships, in the service as it is started."""

import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from goodcert import engine, zoo
from goodcert.artifact import Artifact, read
from goodcert.client import Client
from goodcert.data import packs
from goodcert.data.images import centre_crop, grey, uniform_noise

LONGEST_SECONDS = 300


@pytest.fixture(scope="session")
def artifact() -> Artifact:
    """The default model, in the version that is served where none is asked for."""
    newest = max((zoo.folder() / "mnist-good100").iterdir(), key=lambda version: int(version.name))
    return read(newest / "model.onnx")


@pytest.fixture(scope="session")
def certifier(artifact: Artifact) -> engine.Engine:
    return engine.compile(artifact.model, threads=1)


@pytest.fixture(scope="session")
def address() -> Iterator[str]:
    """Where `goodcert serve` listens, started as a user starts it and stopped as a supervisor stops it."""
    command = [
        sys.executable,
        "-m",
        "goodcert.cli.main",
        "serve",
        "--port",
        "0",
        "--threads",
        "1",
        "--drain-ms",
        "0",
    ]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as service:
        try:
            yield from _listening(service)
            assert service.wait(LONGEST_SECONDS) == 0
        finally:
            service.kill()


def _listening(service: subprocess.Popen[str]) -> Iterator[str]:
    assert service.stderr
    watchdog = threading.Timer(LONGEST_SECONDS, service.kill)  # for the start alone: the tests take what they take
    watchdog.start()
    address = next(a[0] for line in service.stderr if (a := re.search(r"http://127\.0\.0\.1:\d+", line)))
    watchdog.cancel()
    drain = threading.Thread(target=service.stderr.read)  # so that a talkative service never blocks
    drain.start()
    yield address
    service.terminate()
    drain.join(LONGEST_SECONDS)


@pytest.fixture(scope="session")
def client(address: str) -> Iterator[Client]:
    with Client(address) as connected:
        yield connected


@pytest.fixture(scope="session")
def data() -> Path:
    """The folder of the image packs, or a reason to skip."""
    folder = os.environ.get("GOODCERT_DATA")
    if not folder:
        pytest.skip("GOODCERT_DATA names no folder of image packs")
    return Path(folder)


@pytest.fixture(scope="session")
def digits(data: Path) -> packs.Pack:
    return packs.load(data, "mnist_test")


def drawn(count: int) -> NDArray[np.uint8]:
    """Out-of-distribution images that need no pack: noise, flats, ramps, two-level noise, clouds."""
    noise = uniform_noise(count, (28, 28), seed=1)
    random = np.random.default_rng(2)
    noise[1::5] = random.integers(0, 256, (len(noise[1::5]), 1, 1))
    noise[2::5] = np.linspace(0, 255, 28).astype(np.uint8)[None, :] // random.integers(
        1, 9, (len(noise[2::5]), 1, 1)
    )
    noise[3::5] = (noise[3::5] > 128) * 255
    noise[4::5] = _clouds(noise[4::5])
    return noise[:, None]


def _clouds(noise: NDArray[np.uint8]) -> NDArray[np.uint8]:
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(28), np.fft.fftfreq(28)))
    smooth = np.fft.ifft2(np.fft.fft2(noise.astype(float) - 128) / np.maximum(frequency, 1 / 28) ** 1.5).real
    low, high = smooth.min(axis=(1, 2), keepdims=True), smooth.max(axis=(1, 2), keepdims=True)
    return np.rint(255 * (smooth - low) / (high - low)).astype(np.uint8)


@pytest.fixture(scope="session")
def scribbles() -> NDArray[np.uint8]:
    """Pen strokes that are no digits, (200, 1, 28, 28): the network is not constant on them."""
    random = np.random.default_rng(4)
    images = np.zeros((200, 1, 28, 28), np.uint8)
    places = np.clip(14 + np.cumsum(random.integers(-1, 2, (200, 60, 2)), axis=1), 4, 22)
    for image, path in zip(images, places, strict=True):
        for row, column in path:
            image[0, row : row + 2, column : column + 2] = 255
    return images


@pytest.fixture(scope="session")
def outliers(scribbles: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """1,000 or more images (N, 1, 28, 28) that are no digits; real ones too where the packs are."""
    images = [drawn(1000), scribbles]
    folder = os.environ.get("GOODCERT_DATA")
    for name in ("cifar10_test", "notmnist_a", "fashion_sample_a", "letters_a") if folder else ():
        pack = packs.load(Path(folder or ""), name).images[:125]
        images.append(grey(centre_crop(pack, 28))[:, None])
    return np.concatenate(images)
