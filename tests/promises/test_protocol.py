"""The default model over the Open Inference Protocol, through the stock client: the numbers are the engine's."""

import io
from collections.abc import Iterator

import numpy as np
import pytest
import tritonclient.http as triton
from numpy.typing import NDArray
from PIL import Image

from goodcert.client import Client
from goodcert.engine import Certificates, Engine

MODEL = "mnist-good100"
EPSILON = 0.1


@pytest.fixture
def stock(address: str) -> Iterator[triton.InferenceServerClient]:
    client = triton.InferenceServerClient(address.removeprefix("http://"))
    yield client
    client.close()


def answered(
    stock: triton.InferenceServerClient, values: NDArray[np.generic], datatype: str
) -> triton.InferResult:
    given = triton.InferInput("images", list(values.shape), datatype).set_data_from_numpy(values)
    return stock.infer(MODEL, [given], parameters={"epsilon": EPSILON})


def assert_same(result: triton.InferResult, certificates: Certificates) -> None:
    """To the bit."""
    assert result.as_numpy("label_index").tolist() == certificates.index.tolist()
    for name in ("confidence", "confidence_upper_bound", "confidence_lower_bound"):
        assert result.as_numpy(name).tolist() == getattr(certificates, name).tolist()


def samples(count: int) -> NDArray[np.uint8]:
    """Half noise, half a square on black, which the model takes for a digit of some kind."""
    images = np.random.default_rng(11).integers(0, 256, (count, 1, 28, 28), dtype=np.uint8)
    images[::2] = 0
    images[::2, :, 6:22, 12:16] = 255
    return images


@pytest.mark.parametrize("count", [1, 3, 70])
def test_float32_tensors_have_the_answers_of_the_engine(
    stock: triton.InferenceServerClient, certifier: Engine, count: int
) -> None:
    """Of pixels that are no k/255: the ball is around the float32 values themselves."""
    pixels = (samples(count) / 257).astype(np.float32)
    assert_same(answered(stock, pixels, "FP32"), certifier.certify(pixels, EPSILON))


@pytest.mark.parametrize("count", [1, 3, 70])
def test_uint8_tensors_have_the_answers_of_the_engine(
    stock: triton.InferenceServerClient, certifier: Engine, count: int
) -> None:
    pixels = samples(count)
    assert_same(answered(stock, pixels, "UINT8"), certifier.certify(pixels, EPSILON))


def test_encoded_images_have_the_answers_of_v1(stock: triton.InferenceServerClient, client: Client) -> None:
    files = []
    for image in samples(5)[:, 0]:
        file = io.BytesIO()
        Image.fromarray(image).save(file, "PNG")
        files.append(file.getvalue())
    result = answered(stock, np.array(files, dtype=np.object_), "BYTES")
    certificates = [client.certify(file, epsilon=str(EPSILON)) for file in files]
    for name in ("confidence", "confidence_upper_bound", "confidence_lower_bound"):
        assert result.as_numpy(name).tolist() == [getattr(certificate, name) for certificate in certificates]
    assert [text.decode() for text in result.as_numpy("verdict")] == [str(c.verdict) for c in certificates]
    assert [text.decode() for text in result.as_numpy("label")] == [c.prediction.label for c in certificates]
